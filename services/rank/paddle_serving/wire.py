"""Arrays as messages of Paddle Serving, and its error numbers as exceptions. The client and the pipelines use it."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from recmesh.contract import MAX_RANKED_ITEMS
from recmesh.errors import DeadlineExceeded, InvalidRequest, RecmeshError, Unavailable
from recmesh.pb.pipeline_service_pb2 import Request, Response, Tensor
from recmesh.releases import TensorInput

INFERENCE = "/baidu.paddle_serving.pipeline_serving.PipelineService/inference"

OK = 0
REFUSED = 51
"""The error number of the op in recmesh; Paddle Serving reserves 50 to 99 for ops."""
NO_SERVICE = 3002
"""The requested release is not served."""

_ELEM_TYPES = {"int64": 0, "float32": 1}
_FLOAT = np.dtype("<f4")
_OP_ERRORS = range(50, 100)
_INPUT_ERRORS = range(5000, 6000)
_TIMEOUTS = range(6000, 7000)

Arrays = Mapping[str, npt.NDArray[Any]]


class NotHeld(Unavailable):
    """Paddle Serving is running, but does not serve the release."""


def inference(channel: grpc.aio.Channel) -> "grpc.aio.UnaryUnaryMultiCallable[Request, Response]":
    """The only method of the service, on a channel."""
    return channel.unary_unary(
        INFERENCE, request_serializer=Request.SerializeToString, response_deserializer=Response.FromString
    )


def make_request(release: str, inputs: Arrays) -> Request:
    """A request for the outputs of a release's ranker. `inputs`: float32 or int64 [items, width] by name."""
    return Request(name=release, tensors=[_tensor(name, array) for name, array in inputs.items()])


def read_request(request: Request, expected: Mapping[str, TensorInput]) -> dict[str, npt.NDArray[Any]]:
    """The inputs of a request by name, [items, width] each.

    Nothing else in the request is read. `byte_data` (elem_type 13), which Paddle Serving would unpickle, is refused
    like any other wrong type.

    Args:
        request: The request.
        expected: The inputs that it must have, and no others.

    Raises:
        InvalidRequest: The inputs are not the expected ones, or do not all have the same number of items, 1 to 2,000.
    """
    if sorted(tensor.name for tensor in request.tensors) != sorted(expected):
        raise InvalidRequest(f"the inputs must be {', '.join(sorted(expected))}, each exactly once")
    inputs = {tensor.name: _matrix(tensor, expected[tensor.name]) for tensor in request.tensors}
    if len({len(array) for array in inputs.values()}) != 1:
        raise InvalidRequest("all inputs must have the same number of rows")
    return inputs


def make_response(outputs: Arrays) -> Response:
    """A response with outputs, float32 [items] by name."""
    return Response(tensors=[_tensor(name, array) for name, array in outputs.items()])


def failed(number: int, text: str) -> Response:
    """A response with an error number and its reason."""
    return Response(err_no=number, err_msg=text)


def read_response(response: Response) -> dict[str, npt.NDArray[np.float32]]:
    """The outputs by name, float32 [items].

    Raises:
        RecmeshError: The response has an error number, which determines the class.
    """
    if response.err_no != OK:
        raise _error(response.err_no, response.err_msg)
    return {tensor.name: np.frombuffer(tensor.float_data, _FLOAT) for tensor in response.tensors}


def _error(number: int, text: str) -> RecmeshError:
    message = f"Paddle Serving: {text.strip() or 'no reason given'} (err_no {number})"
    if number == NO_SERVICE:
        return NotHeld(message)
    if number in _OP_ERRORS or number in _INPUT_ERRORS:
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
        raise InvalidRequest(
            f"{tensor.name}: elem_type {tensor.elem_type} is refused, it must be that of {expected.dtype}"
        )
    shape = tuple(tensor.shape)
    if len(shape) != 2 or not 1 <= shape[0] <= MAX_RANKED_ITEMS or shape[1] != expected.width:
        raise InvalidRequest(f"{tensor.name}: the shape must be [1 to {MAX_RANKED_ITEMS}, {expected.width}]")
    array = _values(tensor, expected)
    if len(array) != shape[0] * shape[1]:
        raise InvalidRequest(f"{tensor.name}: the shape requires {shape[0] * shape[1]} values, not {len(array)}")
    return array.reshape(shape)


def _values(tensor: Tensor, expected: TensorInput) -> npt.NDArray[Any]:
    if expected.dtype == "int64":
        return np.array(tensor.int64_data, np.int64)
    if len(tensor.float_data) % _FLOAT.itemsize:
        raise InvalidRequest(
            f"{tensor.name}: the length of float_data, {len(tensor.float_data)} bytes, is not a multiple of 4"
        )
    array = np.frombuffer(tensor.float_data, _FLOAT)
    if not np.isfinite(array).all():
        raise InvalidRequest(f"{tensor.name}: a value is not finite")
    return array
