"""rank's client of Paddle Serving."""

import grpc
import numpy as np
import numpy.typing as npt

from recmesh import spans
from recmesh.serving import tracing
from recmesh.serving.channels import as_recmesh_error
from services.rank.paddle_serving import wire


class PaddleServing:
    """Runs rankers in Paddle Serving. One call scores all items of a request."""

    def __init__(self, channel: grpc.aio.Channel, target: str = "") -> None:
        """Call the gateway on a channel; spans name its `target`."""
        self._attributes = {**spans.rpc(wire.INFERENCE), **spans.server(target)}
        self._inference = wire.inference(channel)

    async def infer(self, release: str, inputs: wire.Arrays, timeout: float) -> dict[str, npt.NDArray[np.float32]]:
        """The outputs of a release's ranker.

        Args:
            release: Id of the release.
            inputs: float32 or int64 [items, width] by name.
            timeout: In seconds.

        Returns:
            float32 [items] by name.

        Raises:
            NotHeld: Paddle Serving is running, but does not serve the release.
            InvalidRequest: Paddle Serving refused the inputs.
            DeadlineExceeded: It did not answer in time.
            Overloaded: It has no capacity.
            Unavailable: It failed.
        """
        request = wire.make_request(release, inputs)
        try:
            with tracing.call(wire.INFERENCE, self._attributes):
                metadata = tracing.outgoing_metadata()
                response = await self._inference(request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise as_recmesh_error("Paddle Serving", error) from error
        return wire.read_response(response)
