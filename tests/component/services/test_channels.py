"""Channels between services: which calls are retried, and for how long."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import pytest

from benchmarks.relay import LinkFault, Relay
from recmesh.channels import ChannelPolicy
from recmesh.channels import open_channel as open_any_channel
from recmesh.contract import OK
from recmesh.errors import Unavailable
from recmesh.pb import um_pb2, um_pb2_grpc
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.serving import channels, logs
from recmesh.serving.channels import ReconnectWait, open_channel
from recmesh.serving.guard import Guard
from recmesh.serving.interceptor import Interceptor
from recmesh.serving.load import Congestion, Load
from recmesh.serving.rpc import Context, handlers
from recmesh.serving.stages import RemoteUserStage, RequestUser
from recmesh.serving.tracing import Tracer
from tests.calls import UM

TIMEOUT = 60.0
ATTEMPTS = 3
CALLS = 50
MANY_CALLS = 700
"""More calls than the retry throttling of gRPC would survive if it were enabled."""


class Um:
    """A um that answers after a number of UNAVAILABLE responses."""

    def __init__(self, refused: int = 0) -> None:
        self.refused, self.attempts, self.log_id = refused, 0, 0

    async def um_call(self, request: UserModelRequest, context: Context) -> UserModelResponse:
        self.attempts += 1
        self.log_id = request.log_id
        if self.attempts <= self.refused:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        answer = UserModelResponse()
        answer.error.code = OK
        answer.user_info.user_id = request.user_id
        return answer


class UmWithoutRedis(Um):
    """A um that accepts calls and then fails."""

    async def um_call(self, request: UserModelRequest, context: Context) -> UserModelResponse:
        self.attempts += 1
        raise Unavailable("Redis is unavailable")


@asynccontextmanager
async def serving(um: Um, port: int = 0, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> AsyncIterator[int]:
    """Serve um on a port, or on a free one, for the duration of the block."""
    server = grpc.aio.server(interceptors=interceptors)
    descriptor = um_pb2.DESCRIPTOR.services_by_name["UMService"]
    if interceptors:
        server.add_registered_method_handlers(descriptor.full_name, handlers(descriptor, {"um_call": um.um_call}))
    else:
        um_pb2_grpc.add_UMServiceServicer_to_server(um, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def call(channel: grpc.aio.Channel) -> UserModelResponse:
    return await UM.on_aio(channel)(UserModelRequest(user_id="5"), timeout=TIMEOUT)


async def test_a_refused_call_is_attempted_three_times() -> None:
    um = Um(refused=ATTEMPTS - 1)
    async with serving(um) as port, open_channel(f"127.0.0.1:{port}") as channel:
        assert (await call(channel)).user_info.user_id == "5"
        assert um.attempts == ATTEMPTS
        um.attempts, um.refused = 0, ATTEMPTS
        with pytest.raises(grpc.aio.AioRpcError, match="not yet"):
            await call(channel)
        assert um.attempts == ATTEMPTS


async def test_a_stage_gets_the_log_id_of_the_request() -> None:
    um = Um()
    async with serving(um) as port, open_channel(f"127.0.0.1:{port}") as channel:
        token = logs.log_id.set(77)
        await RemoteUserStage(channel).find("5", TIMEOUT)
        logs.log_id.reset(token)
        assert um.log_id == 77


async def test_calls_are_still_retried_after_many_failures() -> None:
    um = Um(refused=ATTEMPTS * MANY_CALLS)
    async with serving(um) as port, open_channel(f"127.0.0.1:{port}") as channel:
        await asyncio.gather(*(call(channel) for _ in range(MANY_CALLS)), return_exceptions=True)
        um.attempts, um.refused = 0, ATTEMPTS - 1
        assert (await call(channel)).user_info.user_id == "5"


async def test_a_call_that_fails_in_the_service_is_not_retried() -> None:
    um, interceptor = (
        UmWithoutRedis(),
        Interceptor(Guard("test", Load(8, 1 << 20, Congestion()), Tracer(), 1.0)),
    )
    async with serving(um, 0, [interceptor]) as port, open_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(Unavailable, match="Redis is unavailable"):
            await RemoteUserStage(channel).find("5", TIMEOUT)
        assert um.attempts == 1


async def find_concurrently(users: RemoteUserStage) -> list[RequestUser | BaseException | None]:
    """The results of `CALLS` concurrent calls."""
    return await asyncio.gather(*(users.find("5", TIMEOUT) for _ in range(CALLS)), return_exceptions=True)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a call begins to wait for a channel to reconnect."""
    begun, reconnect = asyncio.Event(), ReconnectWait._reconnect

    async def observed(reconnect_wait: ReconnectWait) -> bool:
        begun.set()
        return await reconnect(reconnect_wait)

    monkeypatch.setattr(ReconnectWait, "_reconnect", observed)
    return begun


def set_reconnect_wait(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(channels, "RECONNECT_WAIT_SECONDS", seconds)


async def test_calls_wait_for_a_server_that_restarts(monkeypatch: pytest.MonkeyPatch, waiting: asyncio.Event) -> None:
    set_reconnect_wait(monkeypatch, TIMEOUT)
    async with serving(Um()) as port:
        channel = open_channel(f"127.0.0.1:{port}")
        users = RemoteUserStage(channel)
        assert await users.find("5", TIMEOUT)
    calls = asyncio.create_task(find_concurrently(users))
    await waiting.wait()
    async with serving(Um(), port), channel:
        assert all(isinstance(result, RequestUser) for result in await calls)


async def test_once_the_wait_has_expired_calls_fail_immediately_until_one_succeeds(
    monkeypatch: pytest.MonkeyPatch, waiting: asyncio.Event
) -> None:
    set_reconnect_wait(monkeypatch, 0.05)
    async with serving(Um()) as port:
        channel = open_channel(f"127.0.0.1:{port}")
        users = RemoteUserStage(channel)
        assert await users.find("5", TIMEOUT)
    async with channel:
        assert {type(result) for result in await find_concurrently(users)} == {Unavailable}
        set_reconnect_wait(monkeypatch, 10 * TIMEOUT)  # Another wait would end in DeadlineExceeded.
        assert {type(result) for result in await find_concurrently(users)} == {Unavailable}
        async with serving(Um(), port):
            await channel.channel_ready()
            assert await users.find("5", TIMEOUT)
        waiting.clear()
        calls = asyncio.create_task(find_concurrently(users))
        await waiting.wait()
        async with serving(Um(), port):
            assert all(isinstance(result, RequestUser) for result in await calls)


async def test_a_half_open_connection_is_given_up_after_an_unanswered_ping() -> None:
    """Long before the deadline of the call that waits on it; the next call has a new connection.

    A busy machine answers a ping within 5 s.
    """
    policy = ChannelPolicy(keepalive_ms=1_000, keepalive_timeout_ms=5_000, resolution_interval_ms=1_000)
    async with serving(Um()) as port:
        with Relay(port) as relay:
            async with open_any_channel(f"127.0.0.1:{relay.port}", policy) as channel:
                await call(channel)
                relay.set(LinkFault.HALF_OPEN)
                relay.set(None)
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await UM.on_aio(channel)(UserModelRequest(user_id="5"), timeout=TIMEOUT / 2)
                answer = await call(channel)

    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert answer.user_info.user_id == "5"
