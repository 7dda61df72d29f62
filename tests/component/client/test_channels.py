"""The seams of both clients: TLS, interceptors, channels of one's own."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import grpc
import grpc.aio
import pytest

from recmesh.client import Mesh, Unavailable, sync
from tests.certificates import self_signed
from tests.component.client.conftest import LoopbackMesh

Q = TypeVar("Q")
A = TypeVar("A")
Options = Sequence[tuple[str, str | int]]


@pytest.fixture(scope="module")
def certificate() -> tuple[bytes, bytes]:
    return self_signed()


@pytest.fixture
def encrypted(certificate: tuple[bytes, bytes]) -> Iterator[LoopbackMesh]:
    """A mesh that speaks TLS only."""
    mesh = LoopbackMesh(grpc.ssl_server_credentials([certificate]))
    mesh.start()
    yield mesh
    mesh.kill()


async def test_tls(encrypted: LoopbackMesh, certificate: tuple[bytes, bytes]) -> None:
    credentials = grpc.ssl_channel_credentials(root_certificates=certificate[1])
    async with Mesh(encrypted.targets, credentials=credentials) as mesh:
        assert (await mesh.um("1")).user_id == "1"
        assert (await mesh.recommend("1", size=1)).items[0].sku_id == "a"
    with sync.Mesh(encrypted.targets, credentials=credentials) as blocking:
        assert blocking.um("1").user_id == "1"


async def test_a_server_that_cannot_prove_its_identity_is_not_called(encrypted: LoopbackMesh) -> None:
    other = grpc.ssl_channel_credentials(root_certificates=self_signed()[1])
    async with Mesh(encrypted.targets, credentials=other, timeout=0.5) as mesh:
        with pytest.raises(Unavailable):
            await mesh.um("1")
    async with Mesh(encrypted.targets, timeout=0.5) as mesh:
        with pytest.raises(Unavailable):
            await mesh.um("1")
    with sync.Mesh(encrypted.targets, credentials=other, timeout=0.5) as blocking, pytest.raises(Unavailable):
        blocking.um("1")
    assert not encrypted.calls


class Counter(grpc.aio.UnaryUnaryClientInterceptor):
    """Counts the attempts of a `Mesh` by method."""

    def __init__(self) -> None:
        self.attempts: list[str] = []

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Q], Awaitable["grpc.aio.UnaryUnaryCall[Q, A]"]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Q,
    ) -> "A | grpc.aio.UnaryUnaryCall[Q, A]":
        method: str | bytes = client_call_details.method
        self.attempts.append(method.decode() if isinstance(method, bytes) else method)
        return await continuation(client_call_details, request)


class BlockingCounter(grpc.UnaryUnaryClientInterceptor):
    """Counts the attempts of a `sync.Mesh` by method."""

    def __init__(self) -> None:
        self.attempts: list[str] = []

    def intercept_unary_unary(
        self,
        continuation: "Callable[[grpc.ClientCallDetails, Q], grpc._CallFuture[A]]",
        client_call_details: grpc.ClientCallDetails,
        request: Q,
    ) -> "grpc._CallFuture[A]":
        self.attempts.append(client_call_details.method)
        return continuation(client_call_details, request)


async def test_interceptors_see_each_attempt(loopback: LoopbackMesh) -> None:
    counter = Counter()
    loopback.faults["um"].extend([grpc.StatusCode.UNAVAILABLE] * 2)
    async with Mesh(loopback.targets, interceptors=[counter]) as mesh:
        assert (await mesh.um("1")).user_id == "1"
        assert (await mesh.cm(["a"])).found
    assert counter.attempts == ["/um.UMService/um_call"] * 3 + ["/cm.CMService/cm_call"]


def test_blocking_interceptors_see_each_attempt(loopback: LoopbackMesh) -> None:
    counter = BlockingCounter()
    loopback.faults["um"].extend([grpc.StatusCode.UNAVAILABLE] * 2)
    with sync.Mesh(loopback.targets, interceptors=[counter]) as mesh:
        assert mesh.um("1").user_id == "1"
        assert mesh.cm(["a"]).found
    assert counter.attempts == ["/um.UMService/um_call"] * 3 + ["/cm.CMService/cm_call"]


async def test_a_factory_opens_the_channels(loopback: LoopbackMesh) -> None:
    opened: list[tuple[str, dict[str, str | int]]] = []

    def open_channel(target: str, options: Options) -> grpc.aio.Channel:
        opened.append((target, dict(options)))
        return grpc.aio.insecure_channel(loopback.target, options=options)

    def open_blocking_channel(target: str, options: Options) -> grpc.Channel:
        opened.append((target, dict(options)))
        return grpc.insecure_channel(loopback.target, options=options)

    targets = loopback.targets.having("um", "um.example:8910")
    async with Mesh(targets, channel_factory=open_channel) as mesh:
        assert (await mesh.um("1")).user_id == "1"
        assert (await mesh.um("2")).user_id == "2"
    with sync.Mesh(targets, channel_factory=open_blocking_channel) as blocking:
        assert blocking.um("1").user_id == "1"
    assert [target for target, _ in opened] == ["um.example:8910"] * 2
    assert {options["grpc.max_receive_message_length"] for _, options in opened} == {-1}


def test_a_factory_excludes_credentials_and_interceptors() -> None:
    with pytest.raises(ValueError, match="channel_factory"):
        Mesh(channel_factory=lambda target, options: grpc.aio.insecure_channel(target), interceptors=[Counter()])
    with pytest.raises(ValueError, match="channel_factory"):
        sync.Mesh(
            channel_factory=lambda target, options: grpc.insecure_channel(target),
            credentials=grpc.ssl_channel_credentials(),
        )
