"""The guard of every call: its caller, admission, deadline, errors, metrics, tracing and the audit."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from prometheus_client import Counter

from recmesh.errors import (
    DeadlineExceeded,
    Overloaded,
    PermissionDenied,
    RecmeshError,
    Unauthenticated,
)
from recmesh.serving import deadline, logs, metrics, priority
from recmesh.serving.audit import Audit
from recmesh.serving.callers import ANONYMOUS, Caller, Callers
from recmesh.serving.load import Load, Refused
from recmesh.serving.peer import Peer, bearer_token
from recmesh.serving.rpc import Context, Method, Received
from recmesh.serving.tracing import Metadata, Tracer
from recmesh.throttle import LogThrottle

Guarded: TypeAlias = Callable[[Received, Context, Caller], Awaitable[Any]]
"""A guarded method: what arrived, its context and its caller to the answer."""

# What gRPC adds to a call that it sends again (gRFC A6).
_PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"

# Stops the retries of the caller's gRPC library: only calls that no server has accepted are worth a retry (gRFC A6).
_NO_RETRY = (("grpc-retry-pushback-ms", "-1"),)
_NO_ROOM = "all capacity is in use (docs/services.md): retry later, or add replicas"

_REFUSALS: dict[type[RecmeshError], str] = {Unauthenticated: "unauthenticated", PermissionDenied: "denied"}

log = structlog.get_logger(__name__)


class Guard:
    """Guards the methods of one service, in the same way for every protocol.

    Attributes:
        checks_callers: Whether not everybody may call everything.
        by_token_only: Whether callers can be told by their tokens alone.
    """

    def __init__(
        self,
        service: str,
        load: Load,
        tracer: Tracer,
        default_timeout: float,
        callers: Callers | None = None,
        audit: Audit | None = None,
    ) -> None:
        """Guard one service.

        Args:
            service: Name in metrics and logs (`um`, `cm`, ...).
            load: Counts the calls of the service.
            tracer: Traces each request.
            default_timeout: Seconds for requests without a deadline.
            callers: Tells who calls; None if everybody may call everything.
            audit: Where each call is written; None for nowhere.
        """
        self.checks_callers = callers is not None
        self.by_token_only = callers is not None and callers.by_token_only
        self._service = service
        self._callers = callers
        self._audit = audit
        self._load = load
        self._tracer = tracer
        self._default_timeout = default_timeout
        self._faults = LogThrottle()
        self._admitted: dict[str, Counter] = {}
        metrics.IN_FLIGHT.labels(service).set_function(lambda: load.in_flight)
        metrics.LIMIT.labels(service).set_function(lambda: load.limit)

    def has_room(self, metadata: Metadata | None) -> bool:
        """Whether a call with this metadata, which has just arrived, may enter."""
        return self._load.has_room(batch=priority.is_batch(metadata))

    def method_of(self, path: str) -> str:
        """A method as rules name it, such as `um/um_call`."""
        return f"{self._service}/{path.rpartition('/')[2]}"

    def unknown(self, metadata: Metadata | None) -> Unauthenticated | None:
        """Why a call with this metadata comes from nobody who is known; None if it may.

        If only tokens tell who calls, calls without a good one need not be received.
        """
        if self._callers is None or not self.by_token_only:
            return None
        try:
            self._callers.identify(Peer(token=bearer_token(metadata)))
        except Unauthenticated as error:
            return error
        return None

    async def admit(self, path: str, method: str, peer: Peer, context: Context) -> Caller:
        """Who calls a method, if they may. Ends the call by `Context.abort` otherwise.

        Args:
            path: `/package.Service/Method`, for metrics.
            method: As rules name it.
            peer: Where the call comes from.
            context: Of the call.
        """
        if self._callers is None:
            return ANONYMOUS
        try:
            caller = self._callers.admit(peer, method)
        except (Unauthenticated, PermissionDenied, Refused) as error:
            return await self.refuse(path, error, self._label(peer), context)
        admitted = self._admitted.get(caller.label)
        if admitted is None:
            admitted = self._admitted[caller.label] = metrics.CALLER_REQUESTS.labels(self._service, caller.label)
        admitted.inc()
        return caller

    async def refuse(self, path: str, error: RecmeshError, caller: str, context: Context) -> NoReturn:
        """Refuse a call before it is read.

        Args:
            path: `/package.Service/Method`.
            error: Why: Unauthenticated, PermissionDenied or Refused.
            caller: As metrics name it; empty for nobody who is known.
            context: Of the call.
        """
        status = error.grpc_status
        self._requests(path, status)[priority.is_batch(context.invocation_metadata())].inc()
        reason = error.reason if isinstance(error, Refused) else _REFUSALS[type(error)]
        metrics.REFUSED.labels(self._service, reason).inc()
        if line := self._faults.due((path, status)):
            log.info(
                "request refused",
                method=path,
                status=status,
                requests=line.events,
                seconds=line.seconds,
                reason=logs.reason(error),
            )
        if self._audit is not None:
            self._audit.refused(self._service, path, caller, status)
        await context.abort(grpc.StatusCode[status], str(error), _NO_RETRY)

    def _label(self, peer: Peer) -> str:
        assert self._callers is not None
        try:
            return self._callers.identify(peer).label
        except Unauthenticated:
            return ""

    def refusing(self, path: str) -> Callable[[object, Context], Awaitable[None]]:
        """A handler that refuses the calls of a method for which there is no room, before their requests are read."""
        by_caller = self._requests(path, Overloaded.grpc_status)
        refused = metrics.REFUSED.labels(self._service, "limit")

        async def refuse(_requests: object, context: Context) -> None:
            by_caller[priority.is_batch(context.invocation_metadata())].inc()
            refused.inc()
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _NO_ROOM, _NO_RETRY)

        return refuse

    def guarded(self, path: str, method: Method) -> Guarded:
        """A method behind the guard.

        Args:
            path: `/package.Service/Method`.
            method: Gets the message of what arrived. Its errors end the call by `Context.abort`.
        """
        seconds = metrics.REQUEST_SECONDS.labels(self._service, path.rpartition("/")[2])
        deadlines, retried = metrics.DEADLINE_SECONDS.labels(self._service), metrics.RETRIED.labels(self._service)
        answered = self._requests(path, "OK")
        audit = self._audit

        async def guarded(received: Received, context: Context, caller: Caller = ANONYMOUS) -> Any:
            started = time.perf_counter()
            metadata = context.invocation_metadata()
            request_span = self._tracer.begin(path, metadata)
            batch = priority.is_batch(metadata)
            priority.batch.set(batch)
            status, text, request = "CANCELLED", "", None
            try:
                # The type stubs lack the None of calls without a deadline.
                allowed: float | None = context.time_remaining()
                timeout = self._default_timeout if allowed is None else allowed
                deadlines.observe(timeout)
                if any(key == _PREVIOUS_ATTEMPTS for key, _ in metadata or ()):
                    retried.inc()
                if timeout <= 0:
                    raise DeadlineExceeded(f"{self._service}: the deadline was over before the request was read")
                self._load.enter(received.size, timeout)
                try:
                    request = received.read()
                    logs.log_id.set(getattr(request, "log_id", 0))
                    answer = await self._in_time(method, request, context, allowed)
                finally:
                    self._load.leave(received.size)
                self._load.answered(time.perf_counter() - started)
                status = "OK"
                return answer
            except Exception as error:  # noqa: BLE001 - the only place where errors become status codes
                status, text = self._status_of(error, path)
            finally:
                (answered if status == "OK" else self._requests(path, status))[batch].inc()
                if audit is not None:
                    audit.answered(self._service, path, caller, status, request)
                trace_id = self._tracer.end(request_span, status)
                seconds.observe(time.perf_counter() - started, {"trace_id": trace_id} if trace_id else None)
            return await context.abort(grpc.StatusCode[status], text, _NO_RETRY)

        return guarded

    def _requests(self, path: str, status: str) -> tuple[Counter, Counter]:
        """The counters of the requests with a status, of online and of batch callers."""
        labels = self._service, path.rpartition("/")[2], status
        return metrics.REQUESTS.labels(*labels, "online"), metrics.REQUESTS.labels(*labels, "batch")

    async def _in_time(self, method: Method, request: Any, context: Context, allowed: float | None) -> Any:
        if allowed is not None:
            # gRPC itself cancels this task when the caller's deadline passes.
            deadline.start(allowed)
            return await method(request, context)
        deadline.start(self._default_timeout)
        return await deadline.within(self._default_timeout, self._service, method(request, context))

    def _status_of(self, error: Exception, path: str) -> tuple[str, str]:
        if isinstance(error, RecmeshError):
            status, text, write, cause = error.grpc_status, logs.shortened(str(error)), log.info, None
        else:
            status, text, write, cause = "INTERNAL", f"{self._service}: internal error, see its log", log.error, error
        if isinstance(error, Refused):
            metrics.REFUSED.labels(self._service, error.reason).inc()
        quiet = isinstance(error, Overloaded | DeadlineExceeded)
        if not quiet and (line := self._faults.due((path, status))):
            write(
                "request failed",
                method=path,
                status=status,
                requests=line.events,
                seconds=line.seconds,
                reason=logs.reason(error),
                exc_info=cause,
            )
        return status, text
