"""A channel to one service for asyncio, with retries."""

import asyncio
from typing import cast

import grpc
import grpc.aio

from recmesh.client._attempts import Attempts
from recmesh.client._methods import Method, Request, Response


class Connection:
    """A channel and the calls that are made through it.

    Args:
        target: The target of the channel.
        channel: The channel; it is closed with the connection.
        retried: Statuses after which a call is tried again, with growing pauses, until the deadline.
    """

    def __init__(self, target: str, channel: grpc.aio.Channel, retried: frozenset[grpc.StatusCode]) -> None:
        self._target = target
        self._channel = channel
        self._retried = retried
        self._stubs: dict[str, object] = {}

    async def call(self, method: Method[Request, Response], request: Request, timeout: float) -> Response:
        """Call a method.

        Args:
            method: The method.
            request: The request.
            timeout: Seconds for all attempts.

        Returns:
            The response, whatever its own error code is.

        Raises:
            RecmeshError: The call failed, as Unavailable, DeadlineExceeded, Overloaded or InvalidRequest if the status
                is one of these.
        """
        stub = self._stub(method)
        attempts = Attempts(method, self._target, self._retried, timeout)
        while True:
            try:
                return await stub(request, timeout=attempts.remaining(), metadata=attempts.metadata)
            except grpc.aio.AioRpcError as error:
                pause = attempts.pause(cast(grpc.Call, error))
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        await self._channel.close()

    def _stub(self, method: Method[Request, Response]) -> "grpc.aio.UnaryUnaryMultiCallable[Request, Response]":
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = self._stubs[method.path] = self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return cast("grpc.aio.UnaryUnaryMultiCallable[Request, Response]", stub)
