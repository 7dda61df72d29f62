"""Channels between services: what is tried again, and for how long."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from recmesh.errors import RecmeshError, Unavailable
from recmesh.serving.channels import open_channel
from recmesh.serving.interceptor import Interceptor, Load
from recmesh.serving.tracing import Tracer

METHOD = "/test.Service/Ask"


class Server:
    """Says that it is unavailable to so many attempts (-1: to all), then answers."""

    def __init__(self, refused: int) -> None:
        self.refused, self.attempts = refused, 0

    async def ask(self, request: bytes, context: Any) -> bytes:
        self.attempts += 1
        if self.refused < 0 or self.attempts <= self.refused:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return request


class Service(Server):
    """Takes the call, and only then finds that it cannot answer: as um does when Redis is away."""

    def __init__(self, error: RecmeshError) -> None:
        super().__init__(refused=0)
        self.error = error

    async def ask(self, request: bytes, context: Any) -> bytes:
        self.attempts += 1
        raise self.error


@asynccontextmanager
async def serving(server: Server, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> AsyncIterator[str]:
    one = grpc.aio.server(interceptors=interceptors)
    handler = grpc.unary_unary_rpc_method_handler(server.ask)
    one.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", {"Ask": handler})])
    port = one.add_insecure_port("127.0.0.1:0")
    await one.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await one.stop(None)


@pytest.mark.parametrize(("patient", "attempts"), [(True, 5), (False, 3)])
async def test_a_call_is_tried_again_until_a_server_takes_it(patient: bool, attempts: int) -> None:
    server = Server(refused=attempts - 1)
    async with serving(server) as target, open_channel(target, patient=patient) as channel:
        assert await channel.unary_unary(METHOD)(b"hello", timeout=20) == b"hello"
        assert server.attempts == attempts
        server.attempts, server.refused = 0, attempts
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(METHOD)(b"hello", timeout=20)
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        assert server.attempts == attempts


async def test_what_a_service_took_and_could_not_answer_is_not_tried_again() -> None:
    service = Service(Unavailable("Redis is away"))
    interceptor = Interceptor("test", Load(8), Tracer("test", 0, None), 1.0)
    async with serving(service, [interceptor]) as target, open_channel(target) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="Redis is away") as failed:
            await channel.unary_unary(METHOD)(b"hello", timeout=20)
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        assert service.attempts == 1


async def test_a_server_that_stays_away_is_asked_once_a_call() -> None:
    server = Server(refused=-1)
    async with serving(server) as target, open_channel(target) as channel:
        calls = (channel.unary_unary(METHOD)(b"hello", timeout=20) for _ in range(600))
        await asyncio.gather(*calls, return_exceptions=True)
        assert server.attempts < 600 + 500
        before = server.attempts
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(METHOD)(b"hello", timeout=20)
        assert server.attempts == before + 1
