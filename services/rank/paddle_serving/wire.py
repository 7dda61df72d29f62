"""Arrays <-> the messages of Paddle Serving, and the meaning of its error numbers. Used at both ends."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from recmesh.errors import DeadlineExceeded, InvalidRequest, RecmeshError, Unavailable
from recmesh.pb.pipeline_service_pb2 import Request, Response, Tensor
from recmesh.releases import TensorInput
from services.rank.limits import MOST

INFERENCE = "/baidu.paddle_serving.pipeline_serving.PipelineService/inference"

OK = 0
REFUSED = 51
"""Our op's own number; Paddle Serving keeps 50 to 99 for these."""
NO_SERVICE = 3002
"""The release that was asked for is not there."""

_ELEM_TYPES = {"int64": 0, "float32": 1}
_FLOAT = np.dtype("<f4")
_INPUT_ERRORS = range(5000, 6000)
_TIMEOUTS = range(6000, 7000)

Arrays = Mapping[str, npt.NDArray[Any]]


class NotHeld(Unavailable):
    """The model server is up, but does not hold the release."""


def inference(channel: grpc.aio.Channel) -> Any:
    """The one method of the service: awaitable, `(request, timeout=seconds) -> Response`."""
    return channel.unary_unary(
        INFERENCE, request_serializer=Request.SerializeToString, response_deserializer=Response.FromString
    )


def make_request(release: str, inputs: Arrays) -> Request:
    """A request for the outputs of a release's ranker. `inputs`: float32 or int64 [N, width] by name."""
    return Request(name=release, tensors=[_tensor(name, array) for name, array in inputs.items()])


def read_request(request: Request, expected: Mapping[str, TensorInput]) -> dict[str, npt.NDArray[Any]]:
    """The inputs of a request: exactly the expected ones, [N, width] each, all of one N between 1 and MOST.

    Raises InvalidRequest. Nothing else of the request is looked at; `byte_data` (elem_type 13), which Paddle Serving
    would unpickle, is refused like any other wrong type.
    """
    if sorted(tensor.name for tensor in request.tensors) != sorted(expected):
        raise InvalidRequest(f"the inputs are {', '.join(sorted(expected))}, each once")
    inputs = {tensor.name: _matrix(tensor, expected[tensor.name]) for tensor in request.tensors}
    if len({len(array) for array in inputs.values()}) != 1:
        raise InvalidRequest("the inputs must have as many rows as each other")
    return inputs


def make_response(outputs: Arrays) -> Response:
    """An answer: float32 [N] by name."""
    return Response(tensors=[_tensor(name, array) for name, array in outputs.items()])


def failed(number: int, text: str) -> Response:
    """An answer that says why there is none."""
    return Response(err_no=number, err_msg=text)


def read_response(response: Response) -> dict[str, npt.NDArray[np.float32]]:
    """The outputs by name, float32 [N]. Raises the RecmeshError that the response's error number means."""
    if response.err_no != OK:
        raise _error(response.err_no, response.err_msg)
    return {tensor.name: np.frombuffer(tensor.float_data, _FLOAT) for tensor in response.tensors}


def _error(number: int, text: str) -> RecmeshError:
    message = f"Paddle Serving: {text.strip() or 'no reason given'} (err_no {number})"
    if number == NO_SERVICE:
        return NotHeld(message)
    if 50 <= number < 100 or number in _INPUT_ERRORS:
        return InvalidRequest(message)
    if number in _TIMEOUTS:
        return DeadlineExceeded(message)
    return Unavailable(message)


def _tensor(name: str, array: npt.NDArray[Any]) -> Tensor:
    tensor = Tensor(name=name, elem_type=_ELEM_TYPES[str(array.dtype)], shape=array.shape)
    if array.dtype == np.float32:
        tensor.float_data = array.astype(_FLOAT, copy=False).tobytes()
    else:
        tensor.int64_data.extend(array.ravel().tolist())
    return tensor


def _matrix(tensor: Tensor, expected: TensorInput) -> npt.NDArray[Any]:
    if tensor.elem_type != _ELEM_TYPES[expected.dtype]:
        raise InvalidRequest(f"{tensor.name}: elem_type {tensor.elem_type} is refused, it is {expected.dtype}")
    shape = tuple(tensor.shape)
    if len(shape) != 2 or not 1 <= shape[0] <= MOST or shape[1] != expected.width:
        raise InvalidRequest(f"{tensor.name}: the shape is [1 to {MOST}, {expected.width}]")
    array = _figures(tensor, expected)
    if len(array) != shape[0] * shape[1]:
        raise InvalidRequest(f"{tensor.name}: the shape says {shape[0] * shape[1]} figures, {len(array)} came")
    return array.reshape(shape)


def _figures(tensor: Tensor, expected: TensorInput) -> npt.NDArray[Any]:
    if expected.dtype == "int64":
        return np.array(tensor.int64_data, np.int64)
    if len(tensor.float_data) % _FLOAT.itemsize:
        raise InvalidRequest(f"{tensor.name}: {len(tensor.float_data)} bytes are no whole number of floats")
    array = np.frombuffer(tensor.float_data, _FLOAT)
    if not np.isfinite(array).all():
        raise InvalidRequest(f"{tensor.name}: a figure is not finite")
    return array
