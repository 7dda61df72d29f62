"""The interceptor of every call: deadline, in-flight limit, errors, metrics and tracing in one stack frame.

Calls to the health and reflection services bypass it: they must be answered under overload, and they create no spans,
log lines or request metrics.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc
import structlog

from recmesh.errors import DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError
from recmesh.serving import deadline, logs, metrics
from recmesh.serving.rpc import Context, Method, Received
from recmesh.serving.tracing import Tracer

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"

# Stops the retries of the caller's gRPC library: only calls that no server has accepted are worth a retry (gRFC A6).
_NO_RETRY = (("grpc-retry-pushback-ms", "-1"),)

log = structlog.get_logger(__name__)


class Load:
    """The number of calls in flight and the size of their requests, each with a limit."""

    def __init__(self, limit: int, max_bytes: int) -> None:
        """Start with no call in flight.

        Args:
            limit: The largest number of calls.
            max_bytes: The largest sum of the sizes of their requests. A single call may exceed it.
        """
        self.limit = limit
        self.max_bytes = max_bytes
        self.in_flight = 0
        self.bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self, size: int) -> None:
        """Count the start of a call.

        Args:
            size: Of its request, in bytes.

        Raises:
            Overloaded: A limit is reached.
        """
        if self.in_flight >= self.limit:
            raise Overloaded(f"{self.limit} requests are in flight already (RECMESH_MAX_IN_FLIGHT): retry later")
        if self.in_flight and self.bytes + size > self.max_bytes:
            raise Overloaded(
                f"the requests in flight have {self.bytes:,} of {self.max_bytes:,} bytes "
                "(RECMESH_MAX_BYTES_IN_FLIGHT): retry later"
            )
        self.in_flight += 1
        self.bytes += size
        self._idle.clear()

    def leave(self, size: int) -> None:
        """Count the end of a call with a request of this size."""
        self.in_flight -= 1
        self.bytes -= size
        if not self.in_flight:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is in flight."""
        await self._idle.wait()


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps each method of a service at its first call, and reuses the wrapped handler."""

    def __init__(self, service: str, load: Load, tracer: Tracer, default_timeout: float) -> None:
        """Guard the methods of one service.

        Args:
            service: Name in metrics and logs (`um`, `cm`, ...).
            load: Counts the calls of the service.
            tracer: Starts the trace of each request.
            default_timeout: Seconds for requests without a deadline.
        """
        self._service = service
        self._load = load
        self._tracer = tracer
        self._default_timeout = default_timeout
        self._wrapped: dict[str, Handler] = {}
        self._log_limit = logs.Limit()
        metrics.IN_FLIGHT.labels(service).set_function(lambda: load.in_flight)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The guarded handler of a method, or the original handler of a health or reflection method."""
        path = handler_call_details.method
        handler = self._wrapped.get(path)
        if handler is not None:
            return handler
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or path.startswith("/grpc."):
            return handler
        self._wrapped[path] = wrapped = grpc.unary_unary_rpc_method_handler(
            self._guarded(path, cast(Method, handler.unary_unary)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return wrapped

    def _guarded(self, path: str, method: Method) -> Method:
        name = path.rpartition("/")[2]
        seconds = metrics.REQUEST_SECONDS.labels(self._service, name)
        answered = metrics.REQUESTS.labels(self._service, name, "OK")

        async def guarded(received: Received, context: Context) -> Any:
            started = time.perf_counter()
            self._tracer.begin(context.invocation_metadata())
            status, text = "CANCELLED", ""
            try:
                request, size = received
                if isinstance(request, InvalidRequest):
                    raise request
                logs.log_id.set(getattr(request, "log_id", 0))
                self._load.enter(size)
                try:
                    with self._tracer.span(path, server=True):
                        answer = await self._in_time(method, request, context)
                finally:
                    self._load.leave(size)
                status = "OK"
                return answer
            except Exception as error:  # noqa: BLE001 - the only place where errors become status codes
                status, text = self._status_of(error, path)
            finally:
                (answered if status == "OK" else metrics.REQUESTS.labels(self._service, name, status)).inc()
                seconds.observe(time.perf_counter() - started)
            return await context.abort(grpc.StatusCode[status], text, _NO_RETRY)

        return guarded

    async def _in_time(self, method: Method, request: Any, context: Context) -> Any:
        # The type stubs lack the None of calls without a deadline.
        seconds: float | None = context.time_remaining()
        if seconds is not None:
            # gRPC itself cancels this task when the caller's deadline passes.
            deadline.start(seconds)
            return await method(request, context)
        deadline.start(self._default_timeout)
        return await deadline.within(self._default_timeout, self._service, method(request, context))

    def _status_of(self, error: Exception, path: str) -> tuple[str, str]:
        if isinstance(error, RecmeshError):
            status, text, write, cause = error.grpc_status, logs.shortened(str(error)), log.info, None
        else:
            status, text, write, cause = "INTERNAL", f"{self._service}: internal error, see its log", log.error, error
        quiet = isinstance(error, Overloaded | DeadlineExceeded)
        if not quiet and (requests := self._log_limit.due((path, status))):
            reason = logs.reason(error)
            write("request failed", method=path, status=status, requests=requests, reason=reason, exc_info=cause)
        return status, text
