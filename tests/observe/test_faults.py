"""Alerts reach Alertmanager when their fault is made, and resolve when it is gone.

Windows are short, so an alert fires within seconds; tests/observe/test_alerts.py checks the real ones.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.mesh.conftest import ask_as
from tests.mesh.test_faults import load
from tests.mesh.test_release_switch import SPOILED, copied_release
from tests.observe.monitoring import (
    Alertmanager,
    eventually,
    running_alertmanager,
    running_prometheus,
    short_rules,
)
from tests.processes import Service, running
from tests.servers import Server
from tests.shop import Shop, running_apart

pytestmark = pytest.mark.long


@contextlib.contextmanager
def watched(*services: Service) -> Iterator[Alertmanager]:
    """An Alertmanager that gets the alerts of these services during the block."""
    targets = [f"127.0.0.1:{service.ports['metrics']}" for service in services]
    with running_alertmanager() as manager, running_prometheus(targets, short_rules(), manager.port):
        yield manager


def fires(manager: Alertmanager, *names: str) -> None:
    """Wait until alerts have fired, and check their texts."""
    eventually(lambda: set(names) <= manager.alerts(), lambda: (names, manager.alerts()), seconds=180)
    for alert in manager.described():
        assert "error" not in alert["annotations"]["description"].lower(), alert
        assert "<no value>" not in alert["annotations"]["description"], alert


def resolves(manager: Alertmanager, *names: str) -> None:
    """Wait until none of these alerts fires."""
    eventually(lambda: not set(names) & manager.alerts(), lambda: (names, manager.alerts()), seconds=180)


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop a server for the duration of the block."""
    server.signal_group(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal_group(signal.SIGCONT)


def test_a_frozen_stage(trained_shop: Shop) -> None:
    names = "RecmeshServiceDown", "RecmeshDegradedAnswers"
    with (
        running_apart(trained_shop) as services,
        watched(*services.values()) as manager,
        load(services["as"].target("as"), trained_shop),
    ):
        with frozen(services["rank"]):
            fires(manager, *names)
        resolves(manager, *names)


def test_a_frozen_milvus(compact: Service, trained_shop: Shop) -> None:
    """Searches end after 0.5 s, so that answers are late, too."""
    late = ("RecmeshLatencyBudgetBurn", "RecmeshLatencyBudgetSlowBurn")
    with watched(compact) as manager, load(compact.target("as"), trained_shop):
        with frozen(trained_shop.milvus):
            fires(manager, "RecmeshStoreFailures", "RecmeshDegradedAnswers", *late)
        # On a busy machine, some answers are late without a fault.
        resolves(manager, "RecmeshStoreFailures", "RecmeshDegradedAnswers")


def test_a_frozen_redis(compact: Service, trained_shop: Shop) -> None:
    """um and cm report NOT_SERVING while they cannot reach Redis."""
    names = "RecmeshServiceDown", "RecmeshProcessNotServing", "RecmeshStoreFailures"
    with watched(compact) as manager, load(compact.target("as"), trained_shop):
        with frozen(trained_shop.redis):
            fires(manager, *names)
        resolves(manager, *names)


def test_a_damaged_release(compact: Service, trained_shop: Shop, tmp_path: Path) -> None:
    store = trained_shop.store
    first = store.active()
    assert first is not None
    copied_release(trained_shop, tmp_path, "spoiled-and-watched", SPOILED["the models are no ONNX files"])
    with watched(compact) as manager:
        store.activate("spoiled-and-watched", ())
        try:
            fires(manager, "RecmeshReleaseNotLoading")
        finally:
            store.activate(first)
        resolves(manager, "RecmeshReleaseNotLoading")
    store.delete("spoiled-and-watched")


def test_too_little_room(trained_shop: Shop) -> None:
    """Six callers of a service that accepts a single request at a time."""
    names = "RecmeshRefusedRequests", "RecmeshErrorBudgetBurn", "RecmeshErrorBudgetSlowBurn"
    settings = {**trained_shop.environment, "RECMESH_MAX_IN_FLIGHT": "1"}
    with running("compact", settings) as service, watched(service) as manager:
        with crowd(service.target("as"), trained_shop.user_ids[0]):
            fires(manager, *names)
        resolves(manager, *names)


@contextlib.contextmanager
def crowd(target: str, user_id: str) -> Iterator[None]:
    """Call `as` from six threads for the duration of the block, and ignore failures."""
    stop = threading.Event()

    def call_repeatedly() -> None:
        while not stop.is_set():
            with contextlib.suppress(grpc.RpcError):
                ask_as(target, user_id)

    with ThreadPoolExecutor(6) as threads:
        for _ in range(6):
            threads.submit(call_repeatedly)
        try:
            yield
        finally:
            stop.set()
