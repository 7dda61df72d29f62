"""Paddle Serving's gRPC service, answered by the pipelines."""

from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.serving import deadline, metrics
from services.rank.paddle_serving import wire
from services.rank.paddle_serving.releases import ServedReleases


class Gateway:
    """Implements PipelineService."""

    def __init__(self, releases: ServedReleases) -> None:
        """Answer from the releases that are served."""
        self._releases = releases

    async def inference(self, request: Request, _context: object) -> Response:
        """The outputs of the ranker, or one of Paddle Serving's error numbers."""
        try:
            fleet = self._releases.get(request.name)
        except wire.NotHeld as error:
            return self._counted(wire.failed(wire.NO_SERVICE, str(error)))
        return self._counted(await fleet.infer(request, deadline.remaining()))

    def _counted(self, response: Response) -> Response:
        metrics.PADDLE_SERVING_ANSWERS.labels(response.err_no).inc()
        return response
