"""Hostile requests to Paddle Serving run no code, and later requests are answered correctly."""

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.releases import ReferenceRequest
from services.rank.paddle_serving import wire
from tests.paddle_serving.conftest import INFERENCE, NAME, Gateway
from tests.servers import wait_until
from tests.unit.rank.test_paddle_serving_wire import PICKLE, pickled

REFUSALS = {51, 3002, 5000, 7000, 8000, 10000}


@pytest.fixture(params=["gateway", "pipeline"])
def channel(request: pytest.FixtureRequest, paddle_serving: Gateway) -> Iterator[grpc.Channel]:
    """A channel to the gateway, and one that bypasses it: the pipeline must be safe on its own."""
    address = paddle_serving.address if request.param == "gateway" else paddle_serving.pipeline_address()
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


def test_a_pickle_is_refused_and_not_loaded(channel: grpc.Channel, reference: ReferenceRequest, tmp_path: Path) -> None:
    request = wire.make_request("", reference.inputs)
    request.tensors[0].elem_type = PICKLE
    request.tensors[0].byte_data = pickled(tmp_path / "run")
    answer = INFERENCE.on(channel)(request, timeout=10)

    assert answer.err_no == wire.REFUSED
    assert not (tmp_path / "run").exists()
    np.load(io.BytesIO(request.tensors[0].byte_data), allow_pickle=True)
    assert (tmp_path / "run").exists(), "the pickle has no effect, so this test proves nothing"


def test_hostile_requests_do_no_harm(
    channel: grpc.Channel,
    reference: ReferenceRequest,
    paddle_serving: Gateway,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    before = (paddle_serving.pid, [pipeline.pid for pipeline in paddle_serving.pipelines()])
    call: grpc.UnaryUnaryMultiCallable[bytes, Response] = channel.unary_unary(
        wire.INFERENCE, response_deserializer=Response.FromString
    )
    draw = random.Random(11)
    refused = answered = 0
    for number in range(request.config.getoption("--hostile") // 2):
        content = draw.choice(ATTACKS)(draw, reference, tmp_path / "run")
        try:
            answer = call(content, timeout=10)
        except grpc.RpcError as error:
            assert error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED, f"request {number} got no answer"
            refused += 1
        else:
            assert answer.err_no in REFUSALS | {wire.OK}
            refused += answer.err_no != wire.OK
            answered += answer.err_no == wire.OK

    assert refused > 4 * answered, "too many of these requests are valid"
    assert not (tmp_path / "run").exists(), "a request ran code"
    wait_until(lambda: paddle_serving.serving(NAME), paddle_serving, "Paddle Serving", seconds=20)
    answer = INFERENCE.call(paddle_serving.address, wire.make_request("", reference.inputs))
    reference.check(wire.read_response(answer), 1e-5)
    after = (paddle_serving.pid, [pipeline.pid for pipeline in paddle_serving.pipelines()])
    assert after == before, "a process was restarted"


Attack = Callable[[random.Random, ReferenceRequest, Path], bytes]


def noise(draw: random.Random, _reference: ReferenceRequest, _path: Path) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 10, 1000, 100_000)))


def truncated(draw: random.Random, reference: ReferenceRequest, _path: Path) -> bytes:
    content = wire.make_request("", reference.inputs).SerializeToString()
    return content[: draw.randrange(len(content))]


def flipped(draw: random.Random, reference: ReferenceRequest, _path: Path) -> bytes:
    content = bytearray(wire.make_request("", reference.inputs).SerializeToString())
    for _ in range(draw.choice((1, 5, 50))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def wrong_type(draw: random.Random, reference: ReferenceRequest, path: Path) -> bytes:
    request = wire.make_request("", reference.inputs)
    for tensor in request.tensors:
        tensor.elem_type = draw.choice((PICKLE, PICKLE, 12, 10, 9, 3, 2, -1, 2**31 - 1))
        tensor.byte_data = pickled(path)
    return request.SerializeToString()


def only_a_pickle(draw: random.Random, _reference: ReferenceRequest, path: Path) -> bytes:
    request = Request()
    for _ in range(draw.randrange(1, 4)):
        name = draw.choice(("dense", "sparse", "x", "", "a" * 10_000))
        request.tensors.add(name=name, elem_type=PICKLE, byte_data=pickled(path))
    return request.SerializeToString()


def wrong_shape(draw: random.Random, reference: ReferenceRequest, _path: Path) -> bytes:
    request = wire.make_request("", reference.inputs)
    sizes = (-1, 0, 1, 7, 2001, 2**31 - 1, -(2**31))
    for tensor in request.tensors:
        del tensor.shape[:]
        tensor.shape.extend(draw.choice(sizes) for _ in range(draw.choice((0, 1, 2, 3, 40))))
    return request.SerializeToString()


def extreme_values(draw: random.Random, reference: ReferenceRequest, _path: Path) -> bytes:
    request = wire.make_request("", reference.inputs)
    for tensor in request.tensors:
        if tensor.int64_data:
            extremes = (-(2**63), 2**63 - 1, -1, 2**31)
            tensor.int64_data[:] = [draw.choice(extremes) for _ in tensor.int64_data]
        else:
            value = draw.choice((np.nan, np.inf, -np.inf))
            tensor.float_data = np.full(len(tensor.float_data) // 4, value, np.float32).tobytes()
    return request.SerializeToString()


def wrong_names(draw: random.Random, reference: ReferenceRequest, _path: Path) -> bytes:
    request = wire.make_request(draw.choice(("", "../../etc", "x" * 100_000)), reference.inputs)
    request.tensors[0].name = draw.choice(("", "dense.lod", "sparse", "__class__", "\u2603" * 1000))
    return request.SerializeToString()


def key_value_strings(draw: random.Random, reference: ReferenceRequest, _path: Path) -> bytes:
    """Key and value strings (fields 1 and 2), which Paddle Serving's own message has and recmesh's does not."""
    strings = b"".join(b"\x0a\x03key\x12\x0a__import__" for _ in range(draw.choice((1, 100, 10_000))))
    return strings + (wire.make_request("", {}).SerializeToString() if draw.random() < 0.5 else b"")


def too_large(draw: random.Random, _reference: ReferenceRequest, _path: Path) -> bytes:
    """A message above the limit of 4 MiB, or one below it."""
    size = (5 << 20) if draw.random() < 0.5 else (1 << 20)
    return Request(tensors=[{"name": "dense", "elem_type": 1, "float_data": bytes(size)}]).SerializeToString()


ATTACKS: list[Attack] = [
    *[noise, truncated, flipped, wrong_type, only_a_pickle, wrong_shape, extreme_values, wrong_names, key_value_strings]
    * 5,
    too_large,
]
