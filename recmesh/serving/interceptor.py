"""The interceptor of gRPC calls, which puts the guard before each method.

Calls to the health and reflection services bypass it: they must be answered under overload, and they create no spans,
log lines or request metrics.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc

from recmesh.serving.guard import Guard
from recmesh.serving.rpc import Method

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps each method of a service at its first call, and reuses the wrapped handler."""

    def __init__(self, guard: Guard) -> None:
        """Put a guard before the methods of its service."""
        self._guard = guard
        self._wrapped: dict[str, tuple[_Handler, _Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[_Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "_Handler | None":
        """The guarded handler of a method, or the original handler of a health or reflection method."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or handler.unary_unary is None or path.startswith("/grpc."):
                return handler
            guarded = grpc.unary_unary_rpc_method_handler(
                self._guard.guarded(path, cast(Method, handler.unary_unary)),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
            # A handler of a stream need not wait for the request.
            refusing: _Handler = grpc.stream_unary_rpc_method_handler(self._guard.refusing(path))
            self._wrapped[path] = wrapped = guarded, refusing
        guarded, refusing = wrapped
        return guarded if self._guard.has_room(handler_call_details.invocation_metadata) else refusing
