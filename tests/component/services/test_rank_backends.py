"""rank with Paddle Serving, against a server that can hang, refuse, or give wrong scores."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import grpc
import numpy as np
import pytest

from recmesh.errors import DeadlineExceeded, InvalidRequest, RecmeshError, Unavailable
from recmesh.pb import pipeline_service_pb2_grpc
from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.releases import ReferenceRequest
from recmesh.serving.channels import open_channel
from recmesh.serving.rpc import Context
from services.rank.backend import Inputs, Scored
from services.rank.paddle_serving import wire
from services.rank.paddle_serving.client import PaddleServing
from services.rank.remote import RemoteBackend, RemoteOptions

INPUTS: Inputs = {"dense": np.arange(12, dtype=np.float32).reshape(4, 3), "sparse": np.ones((4, 2), np.int64)}
REFERENCE_REQUEST = ReferenceRequest(
    {name: array[:2] for name, array in INPUTS.items()}, {"score": np.array([3, 12], np.float32)}
)
OPTIONS = RemoteOptions(timeout=0.3, wait=0.5, tolerance=1e-5, optional=False)
REMOTE_SCORES = Scored(np.array([3, 12, 21, 30], np.float32))
LOCAL_SCORES = np.array([1, 2, 3, 4], np.float32)

Behaviour = Callable[[Request], Awaitable[Response]]


async def correct(request: Request) -> Response:
    """The expected scores: the sums of the dense inputs."""
    dense = np.frombuffer(request.tensors[0].float_data, np.float32).reshape(request.tensors[0].shape)
    return wire.make_response({"score": dense.sum(1)})


async def wrong(request: Request) -> Response:
    dense = np.frombuffer(request.tensors[0].float_data, np.float32).reshape(request.tensors[0].shape)
    return wire.make_response({"score": np.ones(len(dense), np.float32)})


async def hanging(_request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def serving_another_release(_request: Request) -> Response:
    return wire.failed(wire.NO_SERVICE, "another release is served")


async def refusing(_request: Request) -> Response:
    return wire.failed(wire.REFUSED, "no")


async def without_outputs(_request: Request) -> Response:
    return wire.make_response({})


class Server:
    """Paddle Serving's service, with a behaviour that tests change."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = correct
        self.called = self.answered = 0
        self.time_remaining: float | None = None

    async def inference(self, request: Request, context: Context) -> Response:
        self.called += 1
        self.time_remaining = context.time_remaining()
        answer = await self.behaviour(request)
        self.answered += 1
        return answer


class Local:
    """The backend in this process, in place of ONNX Runtime."""

    async def score(self, _inputs: Inputs, _timeout: float, _output: str = "score") -> Scored:
        return Scored(LOCAL_SCORES)

    def warm(self, _inputs: Inputs) -> None: ...

    async def ready(self) -> None: ...


@dataclass
class Pair:
    """A server, a client of it, and a backend that uses the client."""

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
    pipeline_service_pb2_grpc.add_PipelineServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        client = PaddleServing(channel)
        yield Pair(servicer, client, RemoteBackend("r1", reference, client, Local(), options))
    await server.stop(0)


def same(got: Scored, expected: Scored) -> bool:
    return got.missing == expected.missing and bool((got.scores == expected.scores).all())


DEGRADED = Scored(LOCAL_SCORES, ("paddle-serving",))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Evaluate a condition until it is true."""
    while not await condition():  # noqa: ASYNC110 - the condition makes calls
        await asyncio.sleep(0.01)


async def test_paddle_serving_gives_the_scores() -> None:
    async with paired() as pair:
        await pair.backend.ready()
        assert same(await pair.score(), REMOTE_SCORES)


@pytest.mark.parametrize("behaviour", [hanging, serving_another_release, refusing, without_outputs])
async def test_if_it_fails_this_process_gives_the_scores_and_the_answer_is_degraded(behaviour: Behaviour) -> None:
    async with paired() as pair:
        pair.server.behaviour = behaviour
        assert same(await pair.score(), DEGRADED)


async def test_half_of_a_short_timeout_is_left_for_this_process() -> None:
    async with paired(replace(OPTIONS, timeout=1000)) as pair:
        pair.server.behaviour = hanging
        assert same(await pair.score(timeout=0.4), DEGRADED)
        assert pair.server.time_remaining is not None
        assert pair.server.time_remaining <= 0.2


async def test_after_three_failures_no_request_waits_until_the_reference_request_succeeds() -> None:
    async with paired() as pair:
        pair.server.behaviour = hanging
        for _ in range(3):
            assert same(await pair.score(), DEGRADED)
        called = pair.server.called
        for _ in range(100):
            assert same(await pair.score(), DEGRADED)
        assert pair.server.called <= called + 1, "requests went to a backend that had failed"

        pair.server.behaviour = wrong
        answered = pair.server.answered

        async def probed_twice() -> bool:
            assert same(await pair.score(), DEGRADED), "a backend that gives wrong scores was used"
            return pair.server.answered >= answered + 2

        await until(probed_twice)
        pair.server.behaviour = correct

        async def used_again() -> bool:
            return same(await pair.score(), REMOTE_SCORES)

        await until(used_again)


async def test_refused_requests_do_not_open_the_circuit_breaker() -> None:
    async with paired() as pair:
        pair.server.behaviour = refusing
        for _ in range(5):
            assert same(await pair.score(), DEGRADED)
        pair.server.behaviour = correct
        assert same(await pair.score(), REMOTE_SCORES)


async def test_a_new_release_waits_for_paddle_serving_for_a_limited_time() -> None:
    async with paired(replace(OPTIONS, wait=1000)) as pair:
        pair.server.behaviour = serving_another_release
        waiting = asyncio.create_task(pair.backend.ready())

        async def called_often() -> bool:
            return pair.server.answered > 3

        await until(called_often)
        assert not waiting.done()
        pair.server.behaviour = correct
        await waiting
        assert same(await pair.score(), REMOTE_SCORES)

    async with paired() as pair:
        pair.server.behaviour = serving_another_release
        await pair.backend.ready()
        assert same(await pair.score(), DEGRADED)


async def test_auto_is_degraded_only_after_the_first_success() -> None:
    async with paired(replace(OPTIONS, optional=True, wait=1000)) as pair:
        pair.server.behaviour = hanging
        await pair.backend.ready()
        assert same(await pair.score(), Scored(LOCAL_SCORES))
        pair.server.behaviour = correct

        async def succeeds() -> bool:
            return same(await pair.score(), REMOTE_SCORES)

        await until(succeeds)
        pair.server.behaviour = refusing
        assert same(await pair.score(), DEGRADED)


async def test_a_release_without_a_reference_request_is_ranked_in_this_process() -> None:
    async with paired(reference=None) as pair:
        await pair.backend.ready()
        assert same(await pair.score(), DEGRADED)
        assert pair.server.called == 0


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [(hanging, DeadlineExceeded), (serving_another_release, wire.NotHeld), (refusing, InvalidRequest)],
)
async def test_the_client_raises_errors_of_recmesh(behaviour: Behaviour, error: type[RecmeshError]) -> None:
    async with paired() as pair:
        pair.server.behaviour = behaviour
        with pytest.raises(error):
            await pair.client.infer("r1", INPUTS, 0.2)


async def test_a_port_without_a_server_is_unavailable() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(Unavailable):
            await PaddleServing(channel).infer("r1", INPUTS, 0.5)
