"""The ops of the pipeline: read a request, run the ranker, write the answer. Only `pipeline` imports this module."""

from typing import Any

from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp
from paddle_serving_server.pipeline.error_catch import CustomExceptionCode

from recmesh.errors import InvalidRequest
from recmesh.pb.pipeline_service_pb2 import Request, Response
from services.rank.paddle_serving import wire
from services.rank.paddle_serving.plan import OP, Plan


class ReadRequest(RequestOp):  # type: ignore[misc]
    """Reads the ranker's inputs and nothing else. Paddle Serving's own op runs code that a request may contain."""

    def __init__(self, plan: Plan) -> None:
        """Expect the inputs of a plan."""
        self._expected = plan.inputs
        super().__init__()

    def unpack_request_package(self, request: Request) -> tuple[dict[str, Any], int, int | None, str]:
        """The inputs, the log id, and the error number and text of a refusal."""
        try:
            return wire.read_request(request, self._expected), request.logid, None, ""
        except InvalidRequest as error:
            return {}, request.logid, wire.REFUSED, str(error)


class Rank(Op):  # type: ignore[misc]
    """Runs the ranker on the inputs without preprocessing."""

    def __init__(self, plan: Plan, read: ReadRequest) -> None:
        """Follow `read` in the pipeline."""
        self._plan = plan
        super().__init__(name=OP, input_ops=[read])

    def set_dynamic_shape_info(self) -> None:
        """Set the shapes for TensorRT. Paddle Serving calls this."""
        self.dynamic_shape_info = self._plan.dynamic_shapes

    def postprocess(
        self, _inputs: Any, fetched: dict[str, Any], _data_id: int = 0, _log_id: int = 0
    ) -> tuple[dict[str, Any], None, str]:
        """The outputs by the names in the manifest, [items] each."""
        return {name: fetched[paddle_name].reshape(-1) for name, paddle_name in self._plan.outputs.items()}, None, ""


class WriteResponse(ResponseOp):  # type: ignore[misc]
    """Answers with tensors. Paddle Serving's own op answers with text."""

    def pack_response_package(self, data: Any) -> Response:
        """A result of the pipeline as a message."""
        if data.error_code != CustomExceptionCode.OK.value:
            failure: Response = super().pack_response_package(data)
            return failure
        return wire.make_response(data.parse())


def response_op(plan: Plan) -> ResponseOp:
    """The last of the three ops, connected to the others."""
    return WriteResponse([Rank(plan, ReadRequest(plan))])
