"""What a method gets from a request over HTTP, and what becomes of its errors."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from recmesh.errors import DamagedData, Unavailable
from recmesh.pb import um_pb2
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.serving import Endpoint, ServerSettings, deadline
from recmesh.serving.callers import Callers
from recmesh.serving.encryption import Encryption
from recmesh.serving.guard import Guard
from recmesh.serving.health import Health
from recmesh.serving.http.app import application
from recmesh.serving.load import Congestion, Load
from recmesh.serving.peer import Peer
from recmesh.serving.tracing import Tracer
from tests.unit.metric import added

PATH = "/um.UMService/um_call"
Method = Callable[[UserModelRequest, Any], Awaitable[UserModelResponse]]


async def _passes() -> None: ...


class _Port:
    """The HTTP port of a service with one method."""

    def __init__(self, method: Method, callers: Callers | None = None) -> None:
        descriptor = um_pb2.DESCRIPTOR.services_by_name["UMService"]
        endpoint = Endpoint("um", 0, descriptor, {"um_call": method}, _passes)
        self.health = Health("um", ("",), _passes)
        guard = Guard("um", Load(8, 1_000, Congestion()), Tracer(), 2.5, callers)
        self._app = application(endpoint, guard, self.health, 2.5, ())

    async def post(
        self, body: bytes, headers: Mapping[str, str], peer: Peer | None = None
    ) -> tuple[int, dict[str, str], Any]:
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
        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": raw}
        scope |= {"root_path": "", "scheme": "http", "server": ("um", 80)} | ({"state": {"peer": peer}} if peer else {})
        await self._app(scope, receive, send)
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


async def test_a_request_whose_deadline_is_over_reaches_no_method() -> None:
    late = added("recmesh_requests_total", service="um", method="um_call", status="DEADLINE_EXCEEDED", caller="online")

    async def method(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        raise AssertionError

    status, _, answer = await _Port(method).post(b"{}", {"connect-timeout-ms": "0"})
    message = "um: the deadline was over before the request was read"
    assert (status, answer) == (504, {"code": "deadline_exceeded", "message": message})
    assert late() == 1


async def test_answers_of_a_service_that_leaves_close_their_connections() -> None:
    async def method(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        return UserModelResponse()

    port = _Port(method)
    assert "connection" not in (await port.post(b"{}", {}))[1]
    await port.health.leave()
    assert (await port.post(b"{}", {}))[1]["connection"] == "close"
    assert (await port.post(b"[]", {}))[1]["connection"] == "close"
    assert not port.health.serving


async def test_callers_are_told_by_certificate_and_token_as_over_grpc(tmp_path: Path) -> None:
    async def method(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        return UserModelResponse()

    (tmp_path / "tokens").write_text("shop: shop-0123456789abcdef\nslow: slow-0123456789abcdef")
    (tmp_path / "policy").write_text(
        "callers: [{name: as, certificates: dns:r-as}, {name: slow, tokens: slow, rate: {per_second: 0.001}}]\n"
        "allow: [{callers: [as, slow], methods: um/um_call}]"
    )
    settings = ServerSettings(policy_file=tmp_path / "policy", tokens_file=tmp_path / "tokens")
    port = _Port(method, Callers(settings, Encryption(cast(Any, None), client_auth=True, accept_plain=False)))
    certificate = Peer(dns=("r-as",), encrypted=True, certified=True)
    assert (await port.post(b"{}", {}, certificate))[0] == 200
    status, headers, error = await port.post(b"no JSON", {"content-type": "text/plain"})
    assert (status, headers["www-authenticate"], error["code"]) == (401, "Bearer", "unauthenticated")
    status, headers, error = await port.post(b"no JSON", {"authorization": "Bearer wrong"}, certificate)
    assert (status, error["message"]) == (401, "the bearer token is not known: it is wrong, or was withdrawn")
    status, headers, error = await port.post(b"no JSON", {"authorization": "Bearer shop-0123456789abcdef"})
    assert (status, error["code"], "www-authenticate" in headers) == (403, "permission_denied", False)
    slow = {"authorization": "Bearer slow-0123456789abcdef"}
    assert (await port.post(b"{}", slow))[0] == 200
    status, _, error = await port.post(b"{}", slow)
    assert (status, error["code"]) == (429, "resource_exhausted")
