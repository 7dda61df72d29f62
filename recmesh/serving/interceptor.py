"""The interceptor of gRPC calls, which puts the guard before each method.

Calls to the health and reflection services bypass its admission: they must be answered under overload, and they create
no spans and log lines. Everybody may ask for the health; reflection needs a right of its own.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias, cast

import grpc

from recmesh.callers import REFLECTION
from recmesh.errors import Unauthenticated
from recmesh.serving.guard import Guard
from recmesh.serving.peer import Peers
from recmesh.serving.rpc import Context, Method, Received

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_REFLECTION = "/grpc.reflection."


class _Handlers(NamedTuple):
    """The handlers of one method.

    Attributes:
        guarded: For calls that may enter.
        refusing: For calls for which there is no room.
    """

    guarded: _Handler
    refusing: _Handler


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps each method of a service at its first call, and reuses the wrapped handler."""

    def __init__(self, guard: Guard) -> None:
        """Put a guard before the methods of its service."""
        self._guard = guard
        self._peers = Peers(by_token_only=guard.by_token_only)
        self._wrapped: dict[str, _Handlers] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[_Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        """The guarded handler of a method, or the original handler of a health method."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            if path.startswith(_REFLECTION) and handler.stream_stream and self._guard.checks_callers:
                return self._checked_stream(path, handler)
            if handler.unary_unary is None or path.startswith("/grpc."):
                return handler
            wrapped = self._wrapped[path] = self._wrap(path, handler)
        metadata = handler_call_details.invocation_metadata
        has_room = self._guard.has_room(metadata)
        unknown = self._guard.unknown(metadata)
        if unknown is not None:
            return self._refusing(path, unknown)
        return wrapped.guarded if has_room else wrapped.refusing

    def _wrap(self, path: str, handler: _Handler) -> _Handlers:
        guarded = self._guard.guarded(path, cast(Method, handler.unary_unary))
        method = self._guard.method_of(path)

        async def admitted(received: Received, context: Context) -> Any:
            caller = await self._guard.admit(path, method, self._peers.of(context), context)
            return await guarded(received, context, caller)

        return _Handlers(
            grpc.unary_unary_rpc_method_handler(
                admitted if self._guard.checks_callers else guarded,
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            ),
            # Handlers of streams need not wait for the request.
            grpc.stream_unary_rpc_method_handler(self._guard.refusing(path)),
        )

    def _refusing(self, path: str, unknown: Unauthenticated) -> _Handler:
        async def refuse(_requests: object, context: Context) -> None:
            await self._guard.refuse(path, unknown, "", context)

        return grpc.stream_unary_rpc_method_handler(refuse)

    def _checked_stream(self, path: str, handler: _Handler) -> _Handler:
        stream = cast("Callable[[object, Context], AsyncIterator[Any]]", handler.stream_stream)

        async def checked(requests: object, context: Context) -> AsyncIterator[Any]:
            await self._guard.admit(path, REFLECTION, self._peers.of(context), context)
            async for answer in stream(requests, context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(
            checked, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )
