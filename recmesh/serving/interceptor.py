"""The one interceptor that every call passes: deadline, in-flight limit, errors, metrics and tracing in a single frame.

Health and reflection pass untouched: they must answer under overload, and leave no spans, log lines or request rates.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import structlog

from recmesh.errors import DeadlineExceeded, Overloaded, RecmeshError
from recmesh.serving import deadline, metrics
from recmesh.serving.tracing import Tracer

Behaviour: TypeAlias = Callable[[Any, Any], Awaitable[Any]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"

# Tells the caller's gRPC not to try again: only what no server took is worth another attempt. Source: gRFC A6.
_FINAL = (("grpc-retry-pushback-ms", "-1"),)

log = structlog.get_logger(__name__)


class Load:
    """How many calls are being answered, and when there are none."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """Count one call in.

        Raises:
            Overloaded: the limit is reached.
        """
        if self.in_flight >= self.limit:
            raise Overloaded(f"{self.limit} requests are in flight already (RECMESH_MAX_IN_FLIGHT): retry later")
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        """Count one call out."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is in flight."""
        await self._idle.wait()


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps each method of a service once, and answers every later call with the wrapped one.

    Args:
        service: name in metrics and logs (`um`, `cm`, ...).
        load: in-flight calls of the service.
        tracer: starts the trace of each request.
        default_timeout: seconds for requests without a deadline.
    """

    def __init__(self, service: str, load: Load, tracer: Tracer, default_timeout: float) -> None:
        self._service = service
        self._load = load
        self._tracer = tracer
        self._default_timeout = default_timeout
        self._wrapped: dict[str, Handler] = {}
        metrics.IN_FLIGHT.labels(service).set_function(lambda: load.in_flight)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler of a call: see the class."""
        method = handler_call_details.method
        handler = self._wrapped.get(method)
        if handler is not None:
            return handler
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or method.startswith("/grpc."):
            return handler
        self._wrapped[method] = wrapped = grpc.unary_unary_rpc_method_handler(
            self._guard(method, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped

    def _guard(self, method: str, behaviour: Behaviour) -> Behaviour:
        name = method.rpartition("/")[2]
        seconds = metrics.REQUEST_SECONDS.labels(self._service, name)
        answered = metrics.REQUESTS.labels(self._service, name, "OK")

        async def guarded(request: Any, context: Any) -> Any:
            started = time.perf_counter()
            self._tracer.begin(context.invocation_metadata())
            status, text = "CANCELLED", ""
            try:
                self._load.enter()
                try:
                    with self._tracer.span(method, server=True):
                        answer = await self._in_time(behaviour, request, context)
                finally:
                    self._load.leave()
                status = "OK"
                return answer
            except Exception as error:  # noqa: BLE001 - the one place where errors become status codes
                status, text = self._status_of(error, method)
            finally:
                (answered if status == "OK" else metrics.REQUESTS.labels(self._service, name, status)).inc()
                seconds.observe(time.perf_counter() - started)
            return await context.abort(grpc.StatusCode[status], text, _FINAL)

        return guarded

    async def _in_time(self, behaviour: Behaviour, request: Any, context: Any) -> Any:
        seconds = context.time_remaining()
        if seconds is not None:
            # gRPC itself cancels this task when the caller's deadline passes.
            deadline.start(seconds)
            return await behaviour(request, context)
        deadline.start(self._default_timeout)
        return await deadline.within(self._default_timeout, self._service, behaviour(request, context))

    def _status_of(self, error: Exception, method: str) -> tuple[str, str]:
        if isinstance(error, RecmeshError):
            if not isinstance(error, Overloaded | DeadlineExceeded):
                log.info("request failed", method=method, status=error.grpc_status, reason=str(error))
            return error.grpc_status, str(error)
        log.error("request failed", method=method, status="INTERNAL", exc_info=error)
        return "INTERNAL", f"{self._service}: internal error, see its log"
