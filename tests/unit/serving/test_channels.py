"""Channels between services: their options, how they wait to reconnect, and their errors."""

import asyncio
import json
from typing import Any

import grpc
import pytest

from recmesh.errors import DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError, Unavailable
from recmesh.serving import channels
from recmesh.serving.channels import ReconnectWait, as_recmesh_error


def test_the_options_of_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, dict[str, Any]]] = []

    def insecure_channel(target: str, options: Any, interceptors: Any) -> None:
        opened.append((target, dict(options)))

    monkeypatch.setattr(grpc.aio, "insecure_channel", insecure_channel)
    channels.open_channel("um:8910")
    ((target, options),) = opened
    assert target == "um:8910"
    config = json.loads(options.pop("grpc.service_config"))
    assert config == {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": ""},
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.1s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
    assert options == {
        "grpc.enable_http_proxy": 0,
        "grpc.enable_retries": 1,
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 1_000,
        "grpc.min_reconnect_backoff_ms": 500,
        "grpc.dns_min_time_between_resolutions_ms": 5_000,
        "grpc.keepalive_time_ms": 10_000,
        "grpc.keepalive_timeout_ms": 3_000,
        "grpc.http2.ping_timeout_ms": 3_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.max_receive_message_length": -1,
    }


class _Channel:
    """A channel that is connected or reconnects when a test says so."""

    def __init__(self) -> None:
        self.state = grpc.ChannelConnectivity.TRANSIENT_FAILURE
        self.connected = asyncio.Event()
        self.waited_for = asyncio.Event()
        self.waits = 0

    def get_state(self) -> grpc.ChannelConnectivity:
        return self.state

    async def channel_ready(self) -> None:
        self.waits += 1
        self.waited_for.set()
        await self.connected.wait()


def _waiting(channel: _Channel) -> ReconnectWait:
    watched: Any = channel
    return ReconnectWait(watched)


async def test_a_connected_channel_needs_no_wait() -> None:
    channel = _Channel()
    channel.state = grpc.ChannelConnectivity.READY
    assert not await _waiting(channel).reconnected(5.0)
    assert channel.waits == 0


async def test_calls_share_a_wait_and_all_learn_that_it_succeeded() -> None:
    channel = _Channel()
    wait = _waiting(channel)
    calls = [asyncio.create_task(wait.reconnected(5.0)) for _ in range(3)]
    await channel.waited_for.wait()
    channel.connected.set()
    assert await asyncio.gather(*calls) == [True] * 3
    assert channel.waits == 1
    wait.answered()
    assert await wait.reconnected(5.0)
    assert channel.waits == 2


async def test_the_wait_ends_after_eight_tenths_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []

    async def in_time(seconds: float, awaited: Any) -> None:
        limits.append(seconds)
        awaited.close()
        raise asyncio.TimeoutError

    monkeypatch.setattr(channels, "in_time", in_time)
    wait = _waiting(_Channel())
    assert [await wait.reconnected(5.0) for _ in range(3)] == [False] * 3
    assert limits == [0.8], "once the wait has expired, calls fail at once"
    wait.answered()
    assert not await wait.reconnected(5.0)
    assert limits == [0.8, 0.8]


async def test_a_call_waits_no_longer_than_it_may() -> None:
    channel = _Channel()
    wait = _waiting(channel)
    assert not await wait.reconnected(0.0)
    calls = asyncio.create_task(wait.reconnected(5.0))
    await channel.waited_for.wait()
    channel.connected.set()
    assert await calls


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.INTERNAL, Unavailable),
    ],
)
def test_a_status_becomes_an_error(code: grpc.StatusCode, kind: type[RecmeshError]) -> None:
    metadata = grpc.aio.Metadata()
    error = as_recmesh_error("um", grpc.aio.AioRpcError(code, metadata, metadata, details="why"))
    assert type(error) is kind
    assert str(error) == f"um: {code.name} why"
