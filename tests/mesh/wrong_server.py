"""Real servers in front of a mesh that answer wrongly in one point, over gRPC or over HTTP."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeAlias

import grpc

from tests import by_http, calls
from tests.by_http import Answer
from tests.calls import Method

METHODS: tuple[Method[Any, Any], ...] = (
    calls.UM,
    calls.CM,
    calls.RECALL,
    calls.RANK,
    calls.AS,
    calls.RECORD_ACTIONS,
    calls.PUT_USERS,
    calls.PUT_ITEMS,
    calls.REMOVE_ITEMS,
    calls.SET_AVAILABILITY,
    calls.DELETE_USER,
)
HEALTH = "/grpc.health.v1.Health/Check"


class Refusal(Exception):
    """Ends a call with a status."""

    def __init__(self, code: grpc.StatusCode, text: str = "refused") -> None:
        """With this code and text."""
        self.code, self.text = code, text
        super().__init__(text)


@dataclass
class Call:
    """A call, after the mesh has answered.

    Attributes:
        request: The request.
        answer: The answer; None if the mesh has refused the call.
        seconds: Until the deadline of the caller; without one, years.
    """

    request: Any
    answer: Any
    seconds: float


Change: TypeAlias = Callable[[Call], Any]
"""Changes an answer in place, returns another one, or raises `Refusal`."""


class _Handler(grpc.GenericRpcHandler):
    """Forwards every call to a target, and changes the answer."""

    def __init__(self, channel: grpc.Channel, change: Change) -> None:
        self._channel, self._change = channel, change
        self._methods = {method.path: method for method in METHODS}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        if path == HEALTH:
            forward: Any = self._channel.unary_unary(HEALTH)
            return grpc.unary_unary_rpc_method_handler(lambda request, _context: forward(request, timeout=10))
        method = self._methods.get(path)
        if method is None:  # Clients watch the health status, and call servers that cannot tell it.
            return None
        call = method.on(self._channel)

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            response = refused = None
            try:
                response = call(request, timeout=30)
            except grpc.RpcError as error:
                refused = Refusal(error.code(), error.details() or "")
            try:
                changed = self._change(Call(request, response, context.time_remaining() or 0.0))
                if changed is None and refused:
                    raise refused
            except Refusal as refusal:
                context.abort(refusal.code, refusal.text)
            return response if changed is None else changed

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=method.request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


@contextmanager
def wrong_server(target: str, change: Change) -> Iterator[str]:
    """Run such a server in front of the service at a target. Yields its own target."""
    size = [("grpc.max_receive_message_length", 64 << 20)]
    with grpc.insecure_channel(target) as channel, ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, [_Handler(channel, change)], options=size)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


HttpChange: TypeAlias = Callable[[str, Answer], Answer]
"""Returns the answer to send for a path, given that of the mesh."""


@contextmanager
def wrong_http_server(port: int, change: HttpChange) -> Iterator[str]:
    """Run such a server in front of an HTTP port of this machine. Yields its own `host:port`."""

    class Handler(BaseHTTPRequestHandler):
        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = change(self.path, by_http.request(port, self.path, body or None, headers, self.command))
            self.send_response(answer.status)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = _forward  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
