"""The application of an HTTP port: the unary part of the Connect protocol, https://connectrpc.com/docs/protocol.

A request passes the same guard as a call over gRPC and reaches the same method, so it has the same limits, deadlines,
errors, metrics, log lines and traces.
"""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from recmesh.contract import PRIORITY
from recmesh.serving import logs
from recmesh.serving.endpoint import Endpoint
from recmesh.serving.guard import Guard, Guarded
from recmesh.serving.health import Health
from recmesh.serving.http.codec import Codec, codecs
from recmesh.serving.peer import NO_PEER, Peer
from recmesh.serving.rpc import Context, Method, Received, unreadable
from recmesh.serving.tracing import Metadata
from recmesh.timeouts import in_time

_OPENAPI = Path(__file__).parent / "openapi"
_PROTOCOL_VERSION, _VERSION = "connect-protocol-version", "1"
_TIMEOUT = "connect-timeout-ms"
_ENCODING, _GZIP, _GZIP_FORMAT = "content-encoding", "gzip", 16
_MAX_TIMEOUT_DIGITS = 10
_BROWSER_HEADERS = (
    "authorization",
    "content-type",
    _ENCODING,
    _PROTOCOL_VERSION,
    _TIMEOUT,
    PRIORITY,
    "traceparent",
    "tracestate",
)
_PREFLIGHT_SECONDS = 7200

# The HTTP statuses of Connect for the codes that the guard and this module answer with; 500 for all others.
_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_CODES = {grpc.StatusCode.CANCELLED: "canceled"}


def application(
    endpoint: Endpoint, guard: Guard, health: Health, default_timeout: float, origins: Sequence[str]
) -> Starlette:
    """The methods of an endpoint, its health, and its description in OpenAPI.

    Args:
        endpoint: Its methods.
        guard: Guards them, for gRPC as well.
        health: Of the endpoint.
        default_timeout: Seconds for a request without a deadline to arrive.
        origins: The origins whose pages may send requests; `*` means any.
    """

    async def healthz(_request: Request) -> Response:
        status = "SERVING" if health.serving else "NOT_SERVING"
        return JSONResponse({"status": status}, 200 if health.serving else 503)

    async def openapi(_request: Request) -> Response:
        return FileResponse(_OPENAPI / f"{endpoint.name}.json", media_type="application/json")

    async def page(_request: Request) -> Response:
        return FileResponse(_OPENAPI / f"{endpoint.name}.html", media_type="text/html")

    methods = [_Calls(endpoint, method, guard, health, default_timeout) for method in endpoint.descriptor.methods]
    return Starlette(
        routes=[
            *(Route(calls.path, calls.answer, methods=["POST"]) for calls in methods),
            Route("/healthz", healthz),
            Route("/openapi.json", openapi),
            Route("/", page),
        ],
        middleware=[_cors(origins)] if origins else [],
        exception_handlers={HTTPException: _not_routed},
    )


def _cors(origins: Sequence[str]) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=list(_BROWSER_HEADERS),
        max_age=_PREFLIGHT_SECONDS,
    )


def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = logs.shortened(request.url.path)
    text = f"{request.method} {path}: no such method; / lists the methods, which are called by POST"
    return _error(grpc.StatusCode.UNIMPLEMENTED, text, error.status_code, error.headers)


def _error(code: grpc.StatusCode, text: str, status: int = 0, headers: Any = None) -> Response:
    """An error in the form of Connect; `status` overrides the HTTP status of the code."""
    content = {"code": _CODES.get(code, code.name.lower()), "message": text}
    if code is grpc.StatusCode.UNAUTHENTICATED:
        headers = {"www-authenticate": "Bearer"}
    return JSONResponse(content, status or _HTTP_STATUS.get(code, 500), headers)


class _Ended(Exception):
    """The error with which a call ends."""

    def __init__(self, code: grpc.StatusCode, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status


class _Call(Context):
    """The context of a request over HTTP, as the guard and the methods know it from gRPC.

    Attributes:
        peer: Where it comes from.
    """

    def __init__(self, metadata: Sequence[tuple[str, str]], peer: Peer) -> None:
        """Start the clock of a request with these headers.

        Raises:
            _Ended: The deadline is no number of milliseconds.
        """
        self._metadata = metadata
        self.peer = peer.with_token(metadata)
        self._ends_at: float | None = None
        text = self.header(_TIMEOUT)
        if text:
            if not (text.isascii() and text.isdigit() and len(text) <= _MAX_TIMEOUT_DIGITS):
                raise _Ended(
                    grpc.StatusCode.INVALID_ARGUMENT, f"{_TIMEOUT}: milliseconds in up to {_MAX_TIMEOUT_DIGITS} digits"
                )
            self._ends_at = time.monotonic() + int(text) / 1000

    def header(self, name: str) -> str:
        return next((value for key, value in self._metadata if key == name), "")

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    async def abort(
        self, code: grpc.StatusCode, details: str = "", _trailing_metadata: tuple[tuple[str, str], ...] = ()
    ) -> NoReturn:
        raise _Ended(code, details)


class _Calls:
    """The calls of one method.

    Attributes:
        path: `/package.Service/Method`.
    """

    def __init__(
        self, endpoint: Endpoint, method: MethodDescriptor, guard: Guard, health: Health, default_timeout: float
    ) -> None:
        self.path = f"/{endpoint.descriptor.full_name}/{method.name}"
        self._service = endpoint.name
        self._max_bytes = endpoint.max_request_bytes
        self._guard = guard
        self._name = guard.method_of(self.path)
        self._health = health
        self._default_timeout = default_timeout
        self._method = endpoint.methods[method.name]
        self._codecs = codecs(method)
        self._guarded: dict[str, Guarded] = {}

    async def answer(self, request: Request) -> Response:
        try:
            response = await self._answer(request)
        except _Ended as ended:
            response = _error(ended.code, ended.text, ended.status)
        if self._health.leaving:
            response.headers["connection"] = "close"  # The next request finds another server.
        return response

    async def _answer(self, request: Request) -> Response:
        metadata = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        call = _Call(metadata, getattr(request.state, "peer", NO_PEER))
        caller = await self._guard.admit(self.path, self._name, call.peer, call)
        content_type, codec, guarded = self._negotiate(call)
        if not self._guard.has_room(metadata):
            await self._guard.refusing(self.path)(None, call)
        received = await self._in_time(call, self._receive(request, codec, call.header(_ENCODING) == _GZIP))
        body = await self._unless_given_up(request, call, guarded(received, call, caller))
        return Response(body, media_type=content_type)

    def _negotiate(self, call: _Call) -> tuple[str, Codec, Guarded]:
        """The content type of request and answer, its codec, and the guarded method that writes it."""
        if call.header(_PROTOCOL_VERSION) not in ("", _VERSION):
            raise _Ended(grpc.StatusCode.INVALID_ARGUMENT, f"{_PROTOCOL_VERSION}: must be {_VERSION}")
        if call.header(_ENCODING) not in ("", _GZIP, "identity"):
            raise _Ended(grpc.StatusCode.UNIMPLEMENTED, f"{_ENCODING}: must be {_GZIP} or identity")
        content_type = call.header("content-type").partition(";")[0].strip().lower()
        codec = self._codecs.get(content_type)
        if codec is None:
            raise _Ended(grpc.StatusCode.INVALID_ARGUMENT, f"content-type: must be {' or '.join(self._codecs)}", 415)
        if content_type not in self._guarded:
            self._guarded[content_type] = self._guard.guarded(self.path, _writing(self._method, codec))
        return content_type, codec, self._guarded[content_type]

    async def _receive(self, request: Request, codec: Codec, compressed: bool) -> Received:
        """The body of a request, of which no more is read than the limit allows."""
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > self._max_bytes:
                    break
        except ClientDisconnect:
            raise _Ended(grpc.StatusCode.CANCELLED, "the client has disconnected") from None
        content = bytes(body)
        if compressed and len(content) <= self._max_bytes:
            try:
                content = zlib.decompressobj(zlib.MAX_WBITS | _GZIP_FORMAT).decompress(content, self._max_bytes + 1)
            except zlib.error:
                return unreadable(f"the request is not compressed by {_GZIP}", len(content))
        if len(content) > self._max_bytes:
            return unreadable(f"the request has more than {self._max_bytes:,} bytes", len(content))
        return Received(partial(codec.decode, content), len(content))

    async def _in_time(self, call: _Call, receiving: Awaitable[Received]) -> Received:
        remaining = call.time_remaining()
        seconds = self._default_timeout if remaining is None else remaining
        try:
            return await in_time(seconds, receiving)
        except (TimeoutError, asyncio.TimeoutError):  # Two classes before Python 3.11.
            raise _Ended(grpc.StatusCode.DEADLINE_EXCEEDED, "the request did not arrive in time") from None

    async def _unless_given_up(self, request: Request, call: _Call, answering: Awaitable[bytes]) -> bytes:
        """The answer. Like gRPC, cancels a call whose deadline passes or whose client disconnects."""
        answer, gone = asyncio.ensure_future(answering), asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait([answer, gone], timeout=call.time_remaining(), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if gone.done():
                raise _Ended(grpc.StatusCode.CANCELLED, "the client has disconnected")
            raise _Ended(grpc.StatusCode.DEADLINE_EXCEEDED, f"{self._service} did not answer within {_TIMEOUT}")
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.wait([answer, gone])


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _writing(method: Method, codec: Codec) -> Callable[[Any, Context], Awaitable[bytes]]:
    """A method that writes its answer behind the guard: that takes time, and may fail."""

    async def answer(message: Message, call: Context) -> bytes:
        return codec.encode(await method(message, call))

    return answer
