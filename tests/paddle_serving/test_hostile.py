"""Whatever comes to the port of Paddle Serving: no code runs, and what is right is answered rightly afterwards."""

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.pb.pipeline_service_pb2_grpc import PipelineServiceStub
from recmesh.releases import ReferenceRequest
from services.rank.paddle_serving import wire
from tests.paddle_serving.conftest import NAME, Gateway
from tests.servers import wait_until
from tests.unit.rank.test_paddle_serving_wire import pickled

DISHONEST = 13
REFUSALS = {51, 3002, 5000, 7000, 8000, 10000}


@pytest.fixture(params=["gateway", "pipeline"])
def channel(request: pytest.FixtureRequest, paddle_serving: Gateway) -> Iterator[grpc.Channel]:
    """To the gateway, and past it to the pipeline itself: each must stand alone."""
    address = paddle_serving.address if request.param == "gateway" else paddle_serving.pipeline_address()
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


def test_a_pickle_is_refused_and_not_run(channel: grpc.Channel, reference: ReferenceRequest, tmp_path: Path) -> None:
    request = wire.make_request("", reference.inputs)
    request.tensors[0].elem_type = DISHONEST
    request.tensors[0].byte_data = pickled(tmp_path / "run")
    answer = PipelineServiceStub(channel).inference(request, timeout=10)

    assert answer.err_no == wire.REFUSED
    assert not (tmp_path / "run").exists()
    np.load(io.BytesIO(request.tensors[0].byte_data), allow_pickle=True)
    assert (tmp_path / "run").exists(), "the pickle is harmless: this shows nothing"


def test_nothing_that_comes_hurts(
    channel: grpc.Channel,
    reference: ReferenceRequest,
    paddle_serving: Gateway,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    before = (paddle_serving.pid, [one.pid for one in paddle_serving.pipelines()])
    call: Any = channel.unary_unary(wire.INFERENCE, response_deserializer=Response.FromString)
    draw = random.Random(11)
    refused = answered = 0
    for number in range(request.config.getoption("--hostile") // 2):
        content = draw.choice(ATTACKS)(draw, reference, tmp_path / "run")
        try:
            answer = call(content, timeout=10)
        except grpc.RpcError as error:
            assert error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED, f"request {number} hangs"
            refused += 1
        else:
            assert answer.err_no in REFUSALS | {wire.OK}
            refused += answer.err_no != wire.OK
            answered += answer.err_no == wire.OK

    assert refused > 4 * answered, "these requests are not hostile"
    assert not (tmp_path / "run").exists(), "code was run"
    wait_until(lambda: paddle_serving.serving(NAME), paddle_serving, "Paddle Serving", seconds=20)
    with grpc.insecure_channel(paddle_serving.address) as fresh:
        answer = PipelineServiceStub(fresh).inference(wire.make_request("", reference.inputs), timeout=10)
    reference.check(wire.read_response(answer), 1e-5)
    assert (paddle_serving.pid, [one.pid for one in paddle_serving.pipelines()]) == before, "something died"


Attack = Callable[[random.Random, ReferenceRequest, Path], bytes]


def noise(draw: random.Random, _reference: ReferenceRequest, _run: Path) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 10, 1000, 100_000)))


def torn(draw: random.Random, reference: ReferenceRequest, _run: Path) -> bytes:
    whole = wire.make_request("", reference.inputs).SerializeToString()
    return whole[: draw.randrange(len(whole))]


def flipped(draw: random.Random, reference: ReferenceRequest, _run: Path) -> bytes:
    content = bytearray(wire.make_request("", reference.inputs).SerializeToString())
    for _ in range(draw.choice((1, 5, 50))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def wrong_type(draw: random.Random, reference: ReferenceRequest, run: Path) -> bytes:
    request = wire.make_request("", reference.inputs)
    for tensor in request.tensors:
        tensor.elem_type = draw.choice((DISHONEST, DISHONEST, 12, 10, 9, 3, 2, -1, 2**31 - 1))
        tensor.byte_data = pickled(run)
    return request.SerializeToString()


def only_a_pickle(draw: random.Random, _reference: ReferenceRequest, run: Path) -> bytes:
    request = Request()
    for _ in range(draw.randrange(1, 4)):
        name = draw.choice(("dense", "sparse", "x", "", "a" * 10_000))
        request.tensors.add(name=name, elem_type=DISHONEST, byte_data=pickled(run))
    return request.SerializeToString()


def wrong_shape(draw: random.Random, reference: ReferenceRequest, _run: Path) -> bytes:
    request = wire.make_request("", reference.inputs)
    sizes = (-1, 0, 1, 7, 2001, 2**31 - 1, -(2**31))
    for tensor in request.tensors:
        del tensor.shape[:]
        tensor.shape.extend(draw.choice(sizes) for _ in range(draw.choice((0, 1, 2, 3, 40))))
    return request.SerializeToString()


def wrong_figures(draw: random.Random, reference: ReferenceRequest, _run: Path) -> bytes:
    request = wire.make_request("", reference.inputs)
    for tensor in request.tensors:
        if tensor.int64_data:
            extremes = (-(2**63), 2**63 - 1, -1, 2**31)
            tensor.int64_data[:] = [draw.choice(extremes) for _ in tensor.int64_data]
        else:
            figure = draw.choice((np.nan, np.inf, -np.inf))
            tensor.float_data = np.full(len(tensor.float_data) // 4, figure, np.float32).tobytes()
    return request.SerializeToString()


def wrong_names(draw: random.Random, reference: ReferenceRequest, _run: Path) -> bytes:
    request = wire.make_request(draw.choice(("", "../../etc", "x" * 100_000)), reference.inputs)
    request.tensors[0].name = draw.choice(("", "dense.lod", "sparse", "__class__", "\u2603" * 1000))
    return request.SerializeToString()


def texts(draw: random.Random, reference: ReferenceRequest, _run: Path) -> bytes:
    """The key and value strings of Paddle Serving's contract, which ours leaves out: fields 1 and 2."""
    strings = b"".join(b"\x0a\x03key\x12\x0a__import__" for _ in range(draw.choice((1, 100, 10_000))))
    return strings + (wire.make_request("", {}).SerializeToString() if draw.random() < 0.5 else b"")


def too_large(draw: random.Random, _reference: ReferenceRequest, _run: Path) -> bytes:
    """Beyond the four MiB that a message may have, in one of fifty requests; else just below."""
    size = (5 << 20) if draw.random() < 0.5 else (1 << 20)
    return Request(tensors=[{"name": "dense", "elem_type": 1, "float_data": bytes(size)}]).SerializeToString()


ATTACKS: list[Attack] = [
    *[noise, torn, flipped, wrong_type, only_a_pickle, wrong_shape, wrong_figures, wrong_names, texts] * 5,
    too_large,
]
