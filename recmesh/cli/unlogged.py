"""Calls whose answers `as` does not log: nobody sees these lists, so nobody acts on them."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from recmesh.contract import REPLAY


class Unlogged(grpc.aio.UnaryUnaryClientInterceptor):
    """Marks requests as replayed."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Add the mark to the metadata of a call."""
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()), REPLAY)
        details = grpc.aio.ClientCallDetails(
            client_call_details.method,
            client_call_details.timeout,
            metadata,
            client_call_details.credentials,
            client_call_details.wait_for_ready,
        )
        return await continuation(details, request)
