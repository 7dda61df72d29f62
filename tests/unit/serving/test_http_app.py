"""What a method gets from a request over HTTP, and what becomes of its errors."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from recmesh.errors import DamagedData, Unavailable
from recmesh.pb import um_pb2
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.serving import Endpoint, deadline
from recmesh.serving.guard import Guard
from recmesh.serving.health import Health
from recmesh.serving.http.app import application
from recmesh.serving.load import Congestion, Load
from recmesh.serving.tracing import Tracer
from tests.unit.metric import added

PATH = "/um.UMService/um_call"
Method = Callable[[UserModelRequest, Any], Awaitable[UserModelResponse]]


async def _passes() -> None: ...


class _Port:
    """The HTTP port of a service with one method."""

    def __init__(self, method: Method) -> None:
        descriptor = um_pb2.DESCRIPTOR.services_by_name["UMService"]
        endpoint = Endpoint("um", 0, descriptor, {"um_call": method}, _passes)
        self.health = Health("um", ("",), _passes)
        guard = Guard("um", Load(8, 1_000, Congestion()), Tracer(), 2.5)
        self._app = application(endpoint, guard, self.health, 2.5, ())

    async def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of an answer."""
        sent: list[Any] = []
        received = [{"type": "http.request", "body": body}]

        async def receive() -> Any:
            return received.pop() if received else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [
            (name.encode(), value.encode()) for name, value in {"content-type": "application/json", **headers}.items()
        ]
        scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": raw}
        await self._app({**scope, "root_path": "", "scheme": "http", "server": ("um", 80)}, receive, send)
        start, content = sent
        return (
            start["status"],
            {key.decode(): value.decode() for key, value in start["headers"]},
            json.loads(content["body"]),
        )


async def test_a_method_gets_the_headers_as_metadata_and_the_time_that_is_left() -> None:
    seen: list[tuple[str, dict[str, str], float]] = []

    async def method(request: UserModelRequest, context: Any) -> UserModelResponse:
        seen.append((request.user_id, dict(context.invocation_metadata()), deadline.remaining()))
        return UserModelResponse(error={"code": 200})

    headers = {"authorization": "Bearer sesame", "connect-timeout-ms": "60000", "recmesh-replay": "yes"}
    status, _, answer = await _Port(method).post(b'{"userId": "5"}', headers)
    assert (status, answer) == (200, {"error": {"code": 200}})
    ((user_id, metadata, left),) = seen
    assert user_id == "5"
    assert headers.items() <= metadata.items()
    assert 2.5 < left <= 60


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (Unavailable("Redis is down"), 503, "unavailable", "Redis is down"),
        (DamagedData("damaged"), 500, "data_loss", "damaged"),
        (KeyError("secret"), 500, "internal", "um: internal error, see its log"),
    ],
)
async def test_an_error_of_a_method_is_one_of_connect(error: Exception, status: int, code: str, message: str) -> None:
    async def method(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        raise error

    assert (await _Port(method).post(b"{}", {}))[::2] == (status, {"code": code, "message": message})


async def test_a_call_is_cancelled_when_its_time_is_up() -> None:
    cancelled = added("recmesh_requests_total", service="um", method="um_call", status="CANCELLED", caller="online")

    async def method(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        await asyncio.Event().wait()
        raise AssertionError

    status, _, answer = await _Port(method).post(b"{}", {"connect-timeout-ms": "10"})
    message = "um did not answer within connect-timeout-ms"
    assert (status, answer) == (504, {"code": "deadline_exceeded", "message": message})
    assert cancelled() == 1


async def test_answers_of_a_service_that_leaves_close_their_connections() -> None:
    async def method(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        return UserModelResponse()

    port = _Port(method)
    assert "connection" not in (await port.post(b"{}", {}))[1]
    await port.health.leave()
    assert (await port.post(b"{}", {}))[1]["connection"] == "close"
    assert (await port.post(b"[]", {}))[1]["connection"] == "close"
    assert not port.health.serving
