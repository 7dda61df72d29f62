"""rank's side of Paddle Serving, against a server that can be away, slow or wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
import pytest

from recmesh.errors import DeadlineExceeded, InvalidRequest, RecmeshError, Unavailable
from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.pb.pipeline_service_pb2_grpc import add_PipelineServiceServicer_to_server
from recmesh.releases import ReferenceRequest
from recmesh.serving.channels import open_channel
from services.rank.backend import Inputs, Scored
from services.rank.paddle_serving import wire
from services.rank.paddle_serving.client import PaddleServing
from services.rank.remote import RemoteBackend, RemoteOptions

INPUTS = {"dense": np.arange(12, dtype=np.float32).reshape(4, 3), "sparse": np.ones((4, 2), np.int64)}
REFERENCE_REQUEST = ReferenceRequest(
    {name: array[:2] for name, array in INPUTS.items()}, {"score": np.array([3, 12], np.float32)}
)
OPTIONS = RemoteOptions(timeout=0.3, wait=0.5, tolerance=1e-5, optional=False)
REMOTE = Scored(np.array([3, 12, 21, 30], np.float32))
LOCAL = np.array([1, 2, 3, 4], np.float32)

Behaviour = Callable[[Request], Awaitable[Response]]


async def right(request: Request) -> Response:
    """Scores that are the sums of the dense inputs."""
    dense = np.frombuffer(request.tensors[0].float_data, np.float32).reshape(request.tensors[0].shape)
    return wire.make_response({"score": dense.sum(1)})


async def wrong(request: Request) -> Response:
    dense = np.frombuffer(request.tensors[0].float_data, np.float32).reshape(request.tensors[0].shape)
    return wire.make_response({"score": np.ones(len(dense), np.float32)})


async def hanging(_request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def elsewhere(_request: Request) -> Response:
    return wire.failed(wire.NO_SERVICE, "another release is served")


async def refusing(_request: Request) -> Response:
    return wire.failed(wire.REFUSED, "no")


async def mute(_request: Request) -> Response:
    return wire.make_response({})


class Server:
    """Paddle Serving's service, with a behaviour that tests change."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = right
        self.asked = self.answered = 0
        self.time_given = 0.0

    async def inference(self, request: Request, context: Any) -> Response:
        self.asked += 1
        self.time_given = context.time_remaining()
        answer = await self.behaviour(request)
        self.answered += 1
        return answer


class Local:
    """ONNX Runtime's place."""

    async def score(self, _inputs: Inputs, _timeout: float, _output: str = "score") -> Scored:
        return Scored(LOCAL)

    def warm(self, _inputs: Inputs) -> None: ...


@dataclass
class Pair:
    server: Server
    client: PaddleServing
    backend: RemoteBackend

    async def score(self, timeout: float = 2.0) -> Scored:
        return await self.backend.score(INPUTS, timeout)


@asynccontextmanager
async def paired(
    options: RemoteOptions = OPTIONS, reference: ReferenceRequest | None = REFERENCE_REQUEST
) -> AsyncIterator[Pair]:
    servicer, server = Server(), grpc.aio.server()
    add_PipelineServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        client = PaddleServing(channel)
        yield Pair(servicer, client, RemoteBackend("r1", reference, client, Local(), options))
    await server.stop(0)


def same(got: Scored, expected: Scored) -> bool:
    return got.missing == expected.missing and bool((got.scores == expected.scores).all())


DEGRADED = Scored(LOCAL, ("paddle-serving",))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Try until it holds."""
    while not await holds():  # noqa: ASYNC110 - what is waited for is in another process
        await asyncio.sleep(0.01)


async def test_paddle_serving_gives_the_scores() -> None:
    async with paired() as pair:
        await pair.backend.ready()
        assert same(await pair.score(), REMOTE)


@pytest.mark.parametrize("behaviour", [hanging, elsewhere, refusing, mute])
async def test_when_it_gives_none_they_come_from_this_process_and_it_is_named(behaviour: Behaviour) -> None:
    async with paired() as pair:
        pair.server.behaviour = behaviour
        assert same(await pair.score(), DEGRADED)


async def test_half_of_a_short_deadline_is_left_for_this_process() -> None:
    async with paired(replace(OPTIONS, timeout=1000)) as pair:
        pair.server.behaviour = hanging
        assert same(await pair.score(timeout=0.4), DEGRADED)
        assert pair.server.time_given <= 0.2


async def test_after_three_failures_nobody_waits_until_the_canary_is_answered_rightly() -> None:
    async with paired() as pair:
        pair.server.behaviour = hanging
        for _ in range(3):
            assert same(await pair.score(), DEGRADED)
        asked = pair.server.asked
        for _ in range(100):
            assert same(await pair.score(), DEGRADED)
        assert pair.server.asked <= asked + 1, "requests went to what had failed"

        pair.server.behaviour = wrong
        answered = pair.server.answered

        async def probed_twice() -> bool:
            assert same(await pair.score(), DEGRADED), "what answers the reference wrongly was asked"
            return pair.server.answered >= answered + 2

        await until(probed_twice)
        pair.server.behaviour = right

        async def asked_again() -> bool:
            return same(await pair.score(), REMOTE)

        await until(asked_again)


async def test_a_refused_request_does_not_keep_others_away() -> None:
    async with paired() as pair:
        pair.server.behaviour = refusing
        for _ in range(5):
            assert same(await pair.score(), DEGRADED)
        pair.server.behaviour = right
        assert same(await pair.score(), REMOTE)


async def test_a_new_release_waits_for_paddle_serving_but_not_for_ever() -> None:
    async with paired(replace(OPTIONS, wait=1000)) as pair:
        pair.server.behaviour = elsewhere
        waiting = asyncio.create_task(pair.backend.ready())

        async def asked_often() -> bool:
            return pair.server.answered > 3

        await until(asked_often)
        assert not waiting.done()
        pair.server.behaviour = right
        await waiting
        assert same(await pair.score(), REMOTE)

    async with paired() as pair:
        pair.server.behaviour = elsewhere
        await pair.backend.ready()
        assert same(await pair.score(), DEGRADED)


async def test_auto_is_degraded_only_after_it_was_there() -> None:
    async with paired(replace(OPTIONS, optional=True, wait=1000)) as pair:
        pair.server.behaviour = hanging
        await pair.backend.ready()
        assert same(await pair.score(), Scored(LOCAL))
        pair.server.behaviour = right

        async def there() -> bool:
            return same(await pair.score(), REMOTE)

        await until(there)
        pair.server.behaviour = refusing
        assert same(await pair.score(), DEGRADED)


async def test_a_release_without_a_canary_is_ranked_in_this_process() -> None:
    async with paired(reference=None) as pair:
        await pair.backend.ready()
        assert same(await pair.score(), DEGRADED)
        assert pair.server.asked == 0


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [(hanging, DeadlineExceeded), (elsewhere, wire.NotHeld), (refusing, InvalidRequest)],
)
async def test_the_client_raises_our_errors(behaviour: Behaviour, error: type[RecmeshError]) -> None:
    async with paired() as pair:
        pair.server.behaviour = behaviour
        with pytest.raises(error):
            await pair.client.infer("r1", INPUTS, 0.2)


async def test_nobody_there_is_unavailable() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(Unavailable):
            await PaddleServing(channel).infer("r1", INPUTS, 0.5)
