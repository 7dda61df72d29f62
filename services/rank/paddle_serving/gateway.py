"""Paddle Serving's service, answered by the pipelines."""

from typing import Any

from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.serving import deadline, metrics
from services.rank.paddle_serving import wire
from services.rank.paddle_serving.releases import ServedReleases


class Gateway:
    """PipelineService."""

    def __init__(self, releases: ServedReleases) -> None:
        self._releases = releases

    async def inference(self, request: Request, _context: Any) -> Response:
        """The outputs of the ranker, or an error number, as Paddle Serving gives them."""
        try:
            fleet = self._releases.get(request.name)
        except wire.NotHeld as error:
            return self._counted(wire.failed(wire.NO_SERVICE, str(error)))
        return self._counted(await fleet.infer(request, deadline.remaining()))

    def _counted(self, response: Response) -> Response:
        metrics.PADDLE_SERVING_ANSWERS.labels(response.err_no).inc()
        return response
