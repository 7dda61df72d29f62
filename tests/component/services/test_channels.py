"""Channels between services: what is tried again, and for how long."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from recmesh.errors import Unavailable
from recmesh.pb.um_pb2 import UserModelRequest, UserModelResponse
from recmesh.pb.um_pb2_grpc import UMServiceServicer, UMServiceStub, add_UMServiceServicer_to_server
from recmesh.serving import channels
from recmesh.serving.channels import ReconnectWait, open_channel
from recmesh.serving.interceptor import Interceptor, Load
from recmesh.serving.stages import RemoteUserStage, RequestUser
from recmesh.serving.tracing import Tracer

TIMEOUT = 60.0


class Um(UMServiceServicer):
    """Says that it is unavailable to so many attempts, then answers."""

    def __init__(self, refused: int = 0) -> None:
        self.refused, self.attempts = refused, 0

    async def um_call(self, request: UserModelRequest, context: Any) -> UserModelResponse:
        self.attempts += 1
        if self.attempts <= self.refused:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        answer = UserModelResponse()
        answer.error.code = 200
        answer.user_info.user_id = request.user_id
        return answer


class UmWithoutRedis(Um):
    """Takes the call, and only then finds that it cannot answer."""

    async def um_call(self, request: UserModelRequest, context: Any) -> UserModelResponse:
        self.attempts += 1
        raise Unavailable("Redis is away")


@asynccontextmanager
async def serving(um: Um, port: int = 0, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> AsyncIterator[int]:
    server = grpc.aio.server(interceptors=interceptors)
    add_UMServiceServicer_to_server(um, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def test_a_call_is_tried_three_times_until_a_server_takes_it() -> None:
    um = Um(refused=2)
    async with serving(um) as port, open_channel(f"127.0.0.1:{port}") as channel:
        call = UMServiceStub(channel).um_call
        assert (await call(UserModelRequest(user_id="5"), timeout=TIMEOUT)).user_info.user_id == "5"
        assert um.attempts == 3
        um.attempts, um.refused = 0, 3
        with pytest.raises(grpc.aio.AioRpcError, match="not yet"):
            await call(UserModelRequest(user_id="5"), timeout=TIMEOUT)
        assert um.attempts == 3


async def test_calls_are_tried_again_however_many_have_failed_before() -> None:
    um = Um(refused=3 * 700)
    async with serving(um) as port, open_channel(f"127.0.0.1:{port}") as channel:
        call = UMServiceStub(channel).um_call
        calls = (call(UserModelRequest(user_id="5"), timeout=TIMEOUT) for _ in range(700))
        await asyncio.gather(*calls, return_exceptions=True)
        um.attempts, um.refused = 0, 2
        assert (await call(UserModelRequest(user_id="5"), timeout=TIMEOUT)).user_info.user_id == "5"


async def test_what_a_service_took_and_could_not_answer_is_not_tried_again() -> None:
    um, interceptor = UmWithoutRedis(), Interceptor("test", Load(8), Tracer("test", 0, None), 1.0)
    async with serving(um, 0, [interceptor]) as port, open_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(Unavailable, match="Redis is away"):
            await RemoteUserStage(channel).find("5", TIMEOUT)
        assert um.attempts == 1


async def find(who: RemoteUserStage, count: int) -> list[RequestUser | BaseException | None]:
    """What so many calls at the same time get."""
    return await asyncio.gather(*(who.find("5", TIMEOUT) for _ in range(count)), return_exceptions=True)


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when somebody begins to wait for another server."""
    begun, found = asyncio.Event(), ReconnectWait._found

    async def noticed(reconnect_wait: ReconnectWait) -> bool:
        begun.set()
        return await found(reconnect_wait)

    monkeypatch.setattr(ReconnectWait, "_found", noticed)
    return begun


def seconds_of_reconnect_wait(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(channels, "RECONNECT_WAIT_SECONDS", seconds)


async def test_a_stage_whose_server_has_gone_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, searching: asyncio.Event
) -> None:
    seconds_of_reconnect_wait(monkeypatch, TIMEOUT)
    async with serving(Um()) as port:
        channel = open_channel(f"127.0.0.1:{port}")
        who = RemoteUserStage(channel)
        assert await who.find("5", TIMEOUT)
    calls = asyncio.create_task(find(who, 50))
    await searching.wait()
    async with serving(Um(), port), channel:
        assert all(isinstance(found, RequestUser) for found in await calls)


async def test_of_a_stage_that_stays_away_callers_are_told_at_once_until_it_has_answered(
    monkeypatch: pytest.MonkeyPatch, searching: asyncio.Event
) -> None:
    seconds_of_reconnect_wait(monkeypatch, 0.05)
    async with serving(Um()) as port:
        channel = open_channel(f"127.0.0.1:{port}")
        who = RemoteUserStage(channel)
        assert await who.find("5", TIMEOUT)
    async with channel:
        assert {type(found) for found in await find(who, 50)} == {Unavailable}
        seconds_of_reconnect_wait(monkeypatch, 10 * TIMEOUT)  # another wait would end in DeadlineExceeded
        assert {type(found) for found in await find(who, 50)} == {Unavailable}
        async with serving(Um(), port):
            await channel.channel_ready()
            assert await who.find("5", TIMEOUT)
        searching.clear()
        calls = asyncio.create_task(find(who, 50))
        await searching.wait()
        async with serving(Um(), port):
            assert all(isinstance(found, RequestUser) for found in await calls)
