"""What the interceptor counts, and which status each error becomes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from structlog.testing import capture_logs

from recmesh.contract import BATCH, PRIORITY
from recmesh.errors import DamagedData, DeadlineExceeded, InvalidRequest, Overloaded, Unauthenticated, Unavailable
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.serving import ServerSettings, deadline, logs, priority
from recmesh.serving.audit import Audit
from recmesh.serving.callers import Caller, Callers
from recmesh.serving.encryption import Encryption
from recmesh.serving.guard import Guard
from recmesh.serving.interceptor import Interceptor
from recmesh.serving.load import Congestion, Load
from recmesh.serving.peer import Peer
from recmesh.serving.rpc import Received, unreadable
from recmesh.serving.tracing import Tracer
from tests.unit.clock import Clock
from tests.unit.metric import added, value

PATH = "/um.UMService/um_call"
REQUEST = UserModelRequest(log_id=77, user_id="5")
ANSWER = UserModelResponse()

Method = Callable[[UserModelRequest, Any], Awaitable[UserModelResponse]]


class _Aborted(Exception):
    """What gRPC raises in `abort`."""


class _Context:
    """The context of a call.

    Attributes:
        aborted: Status, text and metadata of the answer if the call failed.
    """

    def __init__(self, allowed: float | None, metadata: Sequence[tuple[str, str]], names: Sequence[bytes] = ()) -> None:
        self.allowed = allowed
        self.names = names
        self.metadata = metadata
        self.aborted: tuple[object, ...] = ()

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self.metadata

    def time_remaining(self) -> float | None:
        return self.allowed

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def peer_identity_key(self) -> str:
        return "x509_subject_alternative_name"

    def peer_identities(self) -> Sequence[bytes]:
        return self.names

    def auth_context(self) -> dict[str, Sequence[bytes]]:
        return {
            "peer_uri": self.names,
            "transport_security_type": [b"ssl"],
            **({"x509_pem_cert": [b"..."]} if self.names else {}),
        }

    async def abort(self, *answer: object) -> None:
        self.aborted = answer
        raise _Aborted


class _Service:
    """A service behind the interceptor, with a method that a test chooses."""

    def __init__(
        self, name: str, load: Load | None = None, callers: Callers | None = None, audit: Audit | None = None
    ) -> None:
        self.name = name
        self.load = load or Load(8, 1_000, Congestion())
        self.guard = Guard(name, self.load, Tracer(), 2.5, callers, audit)
        self.interceptor = Interceptor(self.guard)
        self.method: Method | None = None

    async def handler(self, path: str = PATH, metadata: Sequence[tuple[str, str]] = ()) -> Any:
        """What gRPC gets for a call."""

        async def method(request: UserModelRequest, context: Any) -> UserModelResponse:
            assert self.method is not None
            return await self.method(request, context)

        serializers: Any = ("deserializer", "serializer")
        made: Any = grpc.unary_unary_rpc_method_handler(method, *serializers)

        async def continuation(_details: Any) -> Any:
            return made

        details: Any = SimpleNamespace(method=path, invocation_metadata=metadata)
        return await self.interceptor.intercept_service(continuation, details)

    async def call(
        self,
        method: Method,
        message: UserModelRequest | InvalidRequest = REQUEST,
        allowed: float | None = 1.0,
        metadata: Sequence[tuple[str, str]] = (),
        names: Sequence[bytes] = (),
    ) -> _Context:
        self.method = method
        context = _Context(allowed, metadata, names)
        handler = await self.handler(metadata=metadata)
        with suppress(_Aborted):
            if handler.unary_unary:
                assert await handler.unary_unary(_received(message), context) is ANSWER
            else:
                await handler.stream_unary(None, context)
        return context

    def counted(self, status: str, caller: str = "online") -> Callable[[], float]:
        return added("recmesh_requests_total", service=self.name, method="um_call", status=status, caller=caller)


def _received(message: UserModelRequest | InvalidRequest) -> Received:
    return unreadable(str(message), 100) if isinstance(message, InvalidRequest) else Received(lambda: message, 100)


async def answers(_request: UserModelRequest, _context: Any) -> UserModelResponse:
    return ANSWER


def raises(error: BaseException) -> Method:
    async def method(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        raise error

    return method


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (InvalidRequest("size is 201"), "INVALID_ARGUMENT", "size is 201"),
        (Unavailable("Redis is down"), "UNAVAILABLE", "Redis is down"),
        (DeadlineExceeded("late"), "DEADLINE_EXCEEDED", "late"),
        (Overloaded("full"), "RESOURCE_EXHAUSTED", "full"),
        (DamagedData("damaged"), "DATA_LOSS", "damaged"),
        (KeyError("secret"), "INTERNAL", "failing: internal error, see its log"),
    ],
)
async def test_an_error_is_answered_and_counted_by_its_status(error: Exception, status: str, text: str) -> None:
    service = _Service("failing")
    failed, answered = service.counted(status), service.counted("OK")
    timed = added("recmesh_request_seconds_count", service="failing", method="um_call")
    context = await service.call(raises(error))
    assert context.aborted == (grpc.StatusCode[status], text, (("grpc-retry-pushback-ms", "-1"),))
    assert (failed(), answered(), timed()) == (1, 0, 1)
    assert (service.load.in_flight, service.load.bytes) == (0, 0)


async def test_an_answer_is_counted_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, service = Clock(monkeypatch, "recmesh.serving.guard"), _Service("answering")

    async def slow(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        clock.now += 0.25
        assert value("recmesh_requests_in_flight", service="answering") == 1
        return ANSWER

    answered = service.counted("OK")
    count, total = (
        added(f"recmesh_request_seconds_{part}", service="answering", method="um_call") for part in ("count", "sum")
    )
    assert (await service.call(slow)).aborted == ()
    assert (answered(), count(), total()) == (1, 1, 0.25)
    assert value("recmesh_requests_in_flight", service="answering") == 0
    assert value("recmesh_requests_limit", service="answering") == 8
    # The load knows how long an answer takes.
    service.load.adapt(0)
    with pytest.raises(Overloaded, match="an answer takes 250 ms"):
        service.load.enter(1, 0.24)


async def test_a_failed_call_is_no_answer_that_the_load_learns_from() -> None:
    service = _Service("failing fast")
    await service.call(raises(Unavailable("down")))
    service.load.adapt(0)
    service.load.enter(1, 1e-9)


async def test_a_cancelled_call_is_counted_as_such() -> None:
    service = _Service("cancelled")
    cancelled = service.counted("CANCELLED")
    with pytest.raises(asyncio.CancelledError):
        await service.call(raises(asyncio.CancelledError()))
    assert cancelled() == 1
    assert service.load.in_flight == 0


async def test_a_request_that_cannot_be_read_is_invalid_and_reaches_no_method() -> None:
    service = _Service("reading")
    invalid = service.counted("INVALID_ARGUMENT")
    context = await service.call(raises(AssertionError()), InvalidRequest("the request is no um.UserModelRequest"))
    assert context.aborted[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "the request is no um.UserModelRequest")
    assert invalid() == 1


@pytest.mark.parametrize(("allowed", "left"), [(1.0, 1.0), (None, 2.5)])
async def test_a_method_has_the_time_of_its_caller_or_the_default(
    monkeypatch: pytest.MonkeyPatch, allowed: float | None, left: float
) -> None:
    Clock(monkeypatch, "recmesh.serving.deadline")
    seen: list[tuple[float, int]] = []

    async def method(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        seen.append((deadline.remaining(), logs.log_id.get()))
        return ANSWER

    await _Service("timed").call(method, allowed=allowed)
    assert seen == [(left, 77)]


async def test_a_call_without_a_deadline_ends_at_the_default() -> None:
    service = _Service("endless")
    service.guard._default_timeout = 0.01

    async def endless(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        await asyncio.Event().wait()
        raise AssertionError

    context = await service.call(endless, allowed=None)
    assert context.aborted[:2] == (grpc.StatusCode.DEADLINE_EXCEEDED, "endless did not answer within 10 ms")


async def test_the_load_gets_the_size_and_the_time_of_a_call() -> None:
    entered: list[tuple[int, float]] = []
    load = Load(8, 1_000, Congestion())
    load.enter = lambda size, seconds: entered.append((size, seconds))  # type: ignore[method-assign]
    service = _Service("loaded", load)
    await service.call(answers, allowed=0.75)
    await service.call(answers, allowed=None)
    assert entered == [(100, 0.75), (100, 2.5)]


@pytest.mark.parametrize(("metadata", "batch"), [((), False), (((PRIORITY, BATCH),), True)])
async def test_a_method_knows_whether_its_call_can_wait(metadata: Sequence[tuple[str, str]], batch: bool) -> None:
    seen: list[bool] = []

    async def method(_request: UserModelRequest, _context: Any) -> UserModelResponse:
        seen.append(priority.batch.get())
        return ANSWER

    await _Service("waiting").call(method, metadata=metadata)
    assert seen == [batch]


async def test_without_room_calls_are_refused_before_they_are_read_and_batch_calls_first() -> None:
    service = _Service("full", Load(2, 1_000, Congestion()))
    refused, of_batch = service.counted("RESOURCE_EXHAUSTED"), service.counted("RESOURCE_EXHAUSTED", "batch")
    by_reason = added("recmesh_refused_requests_total", service="full", reason="limit")
    accepting = await service.handler()
    service.load.enter(1, 1.0)
    assert (await service.handler()).unary_unary
    service.load.enter(1, 1.0)
    refusing = await service.handler()
    assert refusing.unary_unary is None
    context = _Context(1.0, ())
    with pytest.raises(_Aborted):
        await refusing.stream_unary(None, context)
    text = "all capacity is in use (docs/services.md): retry later, or add replicas"
    assert context.aborted == (grpc.StatusCode.RESOURCE_EXHAUSTED, text, (("grpc-retry-pushback-ms", "-1"),))
    assert (refused(), of_batch(), by_reason()) == (1, 0, 1)
    with pytest.raises(_Aborted):
        await refusing.stream_unary(None, _Context(1.0, ((PRIORITY, BATCH),)))
    assert (refused(), of_batch(), by_reason()) == (1, 1, 2)
    service.load.leave(1)
    assert await service.handler() is accepting
    # Seven tenths of two calls are 1.4.
    assert (await service.handler(metadata=((PRIORITY, BATCH),))).unary_unary
    service.load.limit = 1.4
    assert (await service.handler()).unary_unary
    assert (await service.handler(metadata=((PRIORITY, BATCH),))).unary_unary is None


async def test_a_method_is_wrapped_once_and_keeps_its_serializers() -> None:
    service = _Service("wrapped")
    handler = await service.handler()
    assert (handler.request_deserializer, handler.response_serializer) == ("deserializer", "serializer")
    assert await service.handler() is handler


@pytest.mark.parametrize("path", ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/Info"])
async def test_health_and_reflection_are_neither_counted_nor_refused(path: str) -> None:
    service = _Service("bypassed", Load(1, 1_000, Congestion()))
    service.load.enter(1, 1.0)
    for _ in range(2):
        handler = await service.handler(path)
        assert handler.unary_unary.__name__ == "method"


async def test_failures_are_logged_once_a_second_and_overload_never() -> None:
    service = _Service("logging")
    for error in (Unavailable("down"), Unavailable("down"), Overloaded("full"), DeadlineExceeded("late")):
        await service.call(raises(error))
    with capture_logs() as lines:
        await service.call(raises(KeyError("odd")))
        await service.call(raises(InvalidRequest("no")))
    assert [(line["log_level"], line["status"], line["requests"], line["reason"]) for line in lines] == [
        ("error", "INTERNAL", 1, "KeyError: 'odd'"),
        ("info", "INVALID_ARGUMENT", 1, "no"),
    ]


POLICY = """
callers:
  - {name: as, certificates: spiffe://a/as}
  - {name: shop, tokens: shop, rate: {per_second: 0.001}}
allow:
  - {callers: [as, shop], methods: um/um_call}
"""
SHOP = "shop-0123456789abcdef"
BEARER = (("authorization", f"Bearer {SHOP}"),)
NO_RETRY = (("grpc-retry-pushback-ms", "-1"),)


MUTUAL = Encryption(cast(Any, None), client_auth=True, accept_plain=False)


def knowing(folder: Path, *, encryption: Encryption | None = MUTUAL, audit: Audit | None = None) -> _Service:
    """A um that knows its callers."""
    (folder / "policy").write_text(POLICY)
    (folder / "tokens").write_text(f"shop: {SHOP}")
    settings = ServerSettings(policy_file=folder / "policy", tokens_file=folder / "tokens")
    return _Service("um", callers=Callers(settings, encryption), audit=audit)


async def unread(_request: UserModelRequest, _context: Any) -> UserModelResponse:
    raise AssertionError


async def test_a_caller_of_the_policy_is_admitted_and_counted(tmp_path: Path) -> None:
    service = knowing(tmp_path)
    by_name = {name: added("recmesh_caller_requests_total", service="um", name=name) for name in ("as", "shop")}
    assert (await service.call(answers, names=[b"spiffe://a/as"])).aborted == ()
    assert (await service.call(answers, metadata=BEARER)).aborted == ()
    assert {name: count() for name, count in by_name.items()} == {"as": 1, "shop": 1}


@pytest.mark.parametrize(
    ("metadata", "names", "status", "reason", "text"),
    [
        ((), (), "UNAUTHENTICATED", "unauthenticated", "callers must show a client certificate or a bearer token"),
        ((("authorization", "Bearer x"),), (), "UNAUTHENTICATED", "unauthenticated", "the bearer token is not known"),
        ((), (b"spiffe://a/um",), "PERMISSION_DENIED", "denied", "spiffe://a/um may not call um/um_call"),
        (BEARER, (), "RESOURCE_EXHAUSTED", "rate", "shop calls more than 0.001 times a second"),
    ],
)
async def test_others_are_refused_before_their_requests_are_read(
    tmp_path: Path, metadata: Any, names: Any, status: str, reason: str, text: str
) -> None:
    service = knowing(tmp_path)
    assert (await service.call(answers, metadata=BEARER)).aborted == ()  # Takes the only call of shop.
    refused = added("recmesh_refused_requests_total", service="um", reason=reason)
    counted, answered = service.counted(status), service.counted("OK")
    read: list[object] = []

    def reading() -> UserModelRequest:
        read.append(None)
        return REQUEST

    context = _Context(1.0, metadata, names)
    service.method = unread
    with pytest.raises(_Aborted), capture_logs() as lines:
        await (await service.handler()).unary_unary(Received(reading, 100), context)
    assert context.aborted[0] == grpc.StatusCode[status]
    assert str(context.aborted[1]).startswith(text)
    assert context.aborted[2] == NO_RETRY
    assert (refused(), counted(), answered(), read) == (1, 1, 0, [])
    assert [(line["event"], line["status"], line["requests"]) for line in lines] == [("request refused", status, 1)]
    assert (service.load.in_flight, service.load.bytes) == (0, 0)


async def test_a_flood_of_strangers_writes_a_line_a_second(tmp_path: Path) -> None:
    service = knowing(tmp_path, audit=Audit())
    with capture_logs() as lines:
        for number in range(50):
            await service.call(unread, metadata=(("authorization", f"Bearer {number}"),))
    assert sorted(line["event"] for line in lines) == ["audit", "request refused"]


async def test_if_only_tokens_count_strangers_are_refused_before_their_requests_arrive(tmp_path: Path) -> None:
    service = knowing(tmp_path, encryption=None)
    counted = service.counted("UNAUTHENTICATED")
    handler = await service.handler()
    assert handler.unary_unary is None
    context = _Context(1.0, (), [b"spiffe://a/as"])
    with pytest.raises(_Aborted):
        await handler.stream_unary(None, context)
    assert context.aborted[:2] == (
        grpc.StatusCode.UNAUTHENTICATED,
        "callers must show a bearer token (docs/callers.md)",
    )
    assert counted() == 1
    assert (await service.call(answers, metadata=BEARER)).aborted == ()


async def test_an_audit_line_has_the_caller_the_status_and_the_users(tmp_path: Path) -> None:
    service = knowing(tmp_path, audit=Audit())
    with capture_logs() as lines:
        await service.call(answers, names=[b"spiffe://a/as"])
        await service.call(raises(InvalidRequest("no")), metadata=BEARER)
        await service.call(unread, metadata=BEARER)
    audited = [(line["caller"], line["status"], len(line["users"])) for line in lines if line["event"] == "audit"]
    assert audited == [("as", "OK", 1), ("shop", "INVALID_ARGUMENT", 1), ("shop", "RESOURCE_EXHAUSTED", 0)]
    assert "5" not in [value for line in lines for value in line.get("users", ())]


async def test_calls_of_a_server_that_knows_no_callers_can_be_audited() -> None:
    with capture_logs() as lines:
        await _Service("open", audit=Audit()).call(answers)
    assert [(line["caller"], line["method"], line["service"]) for line in lines] == [("anonymous", PATH, "open")]


async def test_reflection_needs_a_right_of_its_own(tmp_path: Path) -> None:
    service = knowing(tmp_path)

    async def info(_requests: object, _context: Any) -> Any:
        yield "files"

    serializers: Any = ("deserializer", "serializer")
    original: Any = grpc.stream_stream_rpc_method_handler(info, *serializers)

    async def continuation(_details: Any) -> Any:
        return original

    details: Any = SimpleNamespace(method="/grpc.reflection.v1alpha.ServerReflection/Info", invocation_metadata=())
    handler: Any = await service.interceptor.intercept_service(continuation, details)
    assert (handler.request_deserializer, handler.response_serializer) == serializers
    context = _Context(None, (), [b"spiffe://a/as"])
    with pytest.raises(_Aborted):
        _ = [answer async for answer in handler.stream_stream(None, context)]
    assert context.aborted[:2] == (
        grpc.StatusCode.PERMISSION_DENIED,
        "as may not call reflection: a rule of the policy must allow it",
    )
    (tmp_path / "policy").write_text(POLICY + "  - {callers: as, methods: reflection}\n")
    assert service.guard._callers
    service.guard._callers.refresh()
    assert [answer async for answer in handler.stream_stream(None, context)] == ["files"]
    # A server that lets everybody call everything keeps gRPC's handler.
    assert await _Service("open").interceptor.intercept_service(continuation, details) is original


async def test_a_token_may_expire_while_its_call_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = knowing(tmp_path, audit=Audit())
    identify, asked = Callers.identify, list[Peer]()

    def once(callers: Callers, peer: Peer) -> Caller:
        asked.append(peer)
        if len(asked) > 1:
            raise Unauthenticated("expired")
        return identify(callers, peer)

    monkeypatch.setattr(Callers, "identify", once)
    with capture_logs() as lines:
        context = await service.call(unread, names=[b"spiffe://a/um"])
    assert context.aborted[0] is grpc.StatusCode.PERMISSION_DENIED
    assert [line["caller"] for line in lines if line["event"] == "audit"] == [""]
    assert len(asked) == 2
