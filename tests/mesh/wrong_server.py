"""A real gRPC server in front of a mesh that answers wrongly in one point."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from tests import calls
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
