"""Asks Paddle Serving: the client that rank has of it."""

import grpc
import numpy as np
import numpy.typing as npt

from recmesh.serving import tracing
from recmesh.serving.channels import as_recmesh_error
from services.rank.paddle_serving import wire


class PaddleServing:
    """Runs rankers remotely, over one channel; a request holds all items."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._inference = wire.inference(channel)

    async def infer(self, release: str, inputs: wire.Arrays, timeout: float) -> dict[str, npt.NDArray[np.float32]]:
        """The outputs of a release's ranker, float32 [N] by name. `inputs`: float32 or int64 [N, width] by name.

        Raises:
            NotHeld: it is up, but does not serve that release.
            InvalidRequest: it refused the inputs.
            DeadlineExceeded, Overloaded, Unavailable: no answer within `timeout` seconds.
        """
        request = wire.make_request(release, inputs)
        try:
            response = await self._inference(request, timeout=timeout, metadata=tracing.outgoing_metadata())
        except grpc.aio.AioRpcError as error:
            raise as_recmesh_error("Paddle Serving", error) from error
        return wire.read_response(response)
