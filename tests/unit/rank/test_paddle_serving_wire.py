"""Arrays as messages of Paddle Serving."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recmesh.contract import MAX_RANKED_ITEMS
from recmesh.errors import DeadlineExceeded, InvalidRequest, RecmeshError, Unavailable
from recmesh.pb.pipeline_service_pb2 import Request, Tensor
from recmesh.releases import ReferenceRequest
from services.rank.paddle_serving import wire
from tests.unit.rank.conftest import INPUTS


def test_inputs_and_outputs_survive_serialization(reference: ReferenceRequest) -> None:
    sent = Request.FromString(wire.make_request("r1", reference.inputs).SerializeToString())
    received = wire.read_request(sent, INPUTS)

    assert sent.name == "r1"
    for name, array in reference.inputs.items():
        np.testing.assert_array_equal(received[name], array)
        assert received[name].dtype == array.dtype
    answer = wire.read_response(wire.make_response(reference.outputs))
    np.testing.assert_array_equal(answer["score"], reference.outputs["score"])


def test_floats_have_the_wire_format_of_paddle_serving(reference: ReferenceRequest) -> None:
    """`repeated float float_data = 2`, packed: the tag, the length, the floats."""
    dense = reference.inputs["dense"]
    content = wire.make_request("", {"dense": dense}).tensors[0].SerializeToString()

    assert b"\x12" + bytes([dense.nbytes]) + dense.tobytes() in content


PICKLE = 13
"""Paddle Serving's elem_type for pickled arrays."""


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


def pickled(path: Path) -> bytes:
    """An array for elem_type 13; Paddle Serving's own code would unpickle it and so create the file."""
    content = io.BytesIO()
    np.save(content, np.array([Payload(path)], dtype=object), allow_pickle=True)
    return content.getvalue()


def test_a_pickle_is_refused_without_being_loaded(reference: ReferenceRequest, tmp_path: Path) -> None:
    request = wire.make_request("", reference.inputs)
    request.tensors[0].elem_type = PICKLE
    request.tensors[0].byte_data = pickled(tmp_path / "run")
    with pytest.raises(InvalidRequest, match=f"elem_type {PICKLE} is refused"):
        wire.read_request(request, INPUTS)
    assert not (tmp_path / "run").exists()

    np.load(io.BytesIO(request.tensors[0].byte_data), allow_pickle=True)
    assert (tmp_path / "run").exists(), "the pickle has no effect, so this test proves nothing"


def changed(change: Callable[[Request], object]) -> Request:
    request = wire.make_request("", {"dense": np.ones((4, 3), np.float32), "sparse": np.ones((4, 2), np.int64)})
    change(request)
    return request


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.ClearField("tensors"),
        lambda r: r.tensors.pop(),
        lambda r: r.tensors.append(Tensor(name="more")),
        lambda r: r.tensors.append(r.tensors[0]),
        lambda r: setattr(r.tensors[0], "name", "densest"),
        lambda r: setattr(r.tensors[0], "elem_type", 3),
        lambda r: setattr(r.tensors[1], "elem_type", 1),
        lambda r: r.tensors[0].ClearField("shape"),
        lambda r: r.tensors[0].shape.append(1),
        lambda r: r.tensors[0].shape.__setitem__(0, -4),
        lambda r: r.tensors[0].shape.__setitem__(0, 0),
        lambda r: r.tensors[0].shape.__setitem__(0, MAX_RANKED_ITEMS + 1),
        lambda r: r.tensors[0].shape.__setitem__(1, 4),
        lambda r: r.tensors[0].shape.__setitem__(0, 3),
        lambda r: setattr(r.tensors[0], "float_data", b"1234567"),
        lambda r: setattr(r.tensors[0], "float_data", b""),
        lambda r: setattr(r.tensors[0], "float_data", np.full(12, np.nan, np.float32).tobytes()),
        lambda r: setattr(r.tensors[0], "float_data", np.full(12, np.inf, np.float32).tobytes()),
        lambda r: r.tensors[1].int64_data.append(1),
        lambda r: (r.tensors[1].shape.__setitem__(0, 3), r.tensors[1].int64_data.pop(), r.tensors[1].int64_data.pop()),
    ],
)
def test_anything_but_the_expected_inputs_is_refused(change: Callable[[Request], object]) -> None:
    assert wire.read_request(changed(lambda _: None), INPUTS)
    with pytest.raises(InvalidRequest):
        wire.read_request(changed(change), INPUTS)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (wire.REFUSED, InvalidRequest),
        (99, InvalidRequest),
        (wire.NO_SERVICE, wire.NotHeld),
        (3001, Unavailable),
        (5000, InvalidRequest),
        (6000, DeadlineExceeded),
        (7000, Unavailable),
        (8000, Unavailable),
        (10000, Unavailable),
    ],
)
def test_error_numbers_become_errors_of_recmesh(number: int, error: type[RecmeshError]) -> None:
    with pytest.raises(RecmeshError, match=f"why.*err_no {number}") as raised:
        wire.read_response(wire.failed(number, "why"))
    assert type(raised.value) is error
