"""Alerts reach Alertmanager when their fault is made, and resolve when it is gone.

Windows are short, so an alert fires within seconds; tests/observe/test_alerts.py checks the real ones. The first line
of each docstring is the fault, as docs/observability.md names it.
"""

import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
import pytest
from redis import Redis

from recmesh.pb.as_pb2 import ASRequest
from recmesh.pb.recall_pb2 import RecallRequest
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.releases import read_manifest, write_manifest
from tests.calls import AS, RECALL, UM
from tests.certificates import Authority
from tests.mesh.test_faults import load
from tests.mesh.test_release_switch import SPOILED, copied_release
from tests.observe.feeding import recording
from tests.observe.monitoring import (
    Alertmanager,
    eventually,
    running_alertmanager,
    running_prometheus,
    short_rules,
)
from tests.observe.observed import record
from tests.processes import Service, running
from tests.servers import Server, running_redis
from tests.shop import Shop, run, run_any, running_apart

# More than the 30 days that alerts allow.
AGE = timedelta(days=31)
# `python -m jobs.ingest` with a clock that is behind by so many seconds.
BEHIND = """
import runpy, sys, time
now, behind = time.time, float(sys.argv.pop(1))
time.time = lambda: now() - behind
runpy.run_module("jobs.ingest", run_name="__main__", alter_sys=True)
"""


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
        if (name := alert["labels"]["alertname"]) in names:
            record(name, alert["annotations"]["description"])


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


@pytest.mark.long
def test_a_frozen_stage(trained_shop: Shop) -> None:
    """rank is stopped (SIGSTOP)."""
    names = "RecmeshServiceDown", "RecmeshDegradedAnswers"
    with (
        running_apart(trained_shop) as services,
        watched(*services.values()) as manager,
        load(services["as"].target("as"), trained_shop),
    ):
        with frozen(services["rank"]):
            fires(manager, *names)
        resolves(manager, *names)


@pytest.mark.long
def test_a_frozen_milvus(compact: Service, trained_shop: Shop) -> None:
    """Milvus is stopped (SIGSTOP).

    Searches end after 0.5 s, so that answers are late, too.
    """
    late = ("RecmeshLatencyBudgetBurn", "RecmeshLatencyBudgetSlowBurn")
    with watched(compact) as manager, load(compact.target("as"), trained_shop):
        with frozen(trained_shop.milvus):
            fires(manager, "RecmeshStoreFailures", "RecmeshDegradedAnswers", *late)
        # On a busy machine, some answers are late without a fault.
        resolves(manager, "RecmeshStoreFailures", "RecmeshDegradedAnswers")


@pytest.mark.long
def test_a_frozen_redis(compact: Service, trained_shop: Shop) -> None:
    """Redis is stopped (SIGSTOP).

    um and cm report NOT_SERVING while they cannot reach it.
    """
    names = "RecmeshServiceDown", "RecmeshProcessNotServing", "RecmeshStoreFailures"
    with watched(compact) as manager, load(compact.target("as"), trained_shop):
        with frozen(trained_shop.redis):
            fires(manager, *names)
        resolves(manager, *names)


@pytest.mark.long
def test_a_log_that_cannot_be_applied(trained_shop: Shop) -> None:
    """The Redis of feed is stopped (SIGSTOP)."""
    with recording(trained_shop) as (feed, redis), watched(feed) as manager:
        with frozen(redis):
            fires(manager, "RecmeshFeedNotApplied")
        resolves(manager, "RecmeshFeedNotApplied")


@pytest.mark.long
def test_a_damaged_release(compact: Service, trained_shop: Shop, tmp_path: Path) -> None:
    """The models of the active release are no ONNX files."""
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


@pytest.mark.long
def test_too_little_room(trained_shop: Shop) -> None:
    """Six callers of a service that accepts a single request at a time."""
    names = "RecmeshRefusedRequests", "RecmeshErrorBudgetBurn", "RecmeshErrorBudgetSlowBurn"
    settings = {**trained_shop.environment, "RECMESH_MAX_IN_FLIGHT": "1"}
    with running("compact", settings) as service, watched(service) as manager:
        with repeated(service.target("as"), ASRequest(user_id=trained_shop.user_ids[0]), callers=6):
            fires(manager, *names)
        resolves(manager, *names)


@pytest.mark.long
def test_more_calls_than_a_process_can_answer(trained_shop: Shop) -> None:
    """48 callers, each of which allows 0.5 s.

    Their calls wait for their turn longer than a twentieth of that.
    """
    with running("compact", trained_shop.environment) as service, watched(service) as manager:
        with repeated(service.target("as"), ASRequest(user_id=trained_shop.user_ids[0]), callers=48, timeout=0.5):
            fires(manager, "RecmeshCongestion")
        resolves(manager, "RecmeshCongestion")


def test_a_process_with_too_little_cpu_time(trained_shop: Shop) -> None:
    """um runs for 0.03 s of each 0.23 s, as with a limit on its CPU time."""
    with running("um", trained_shop.environment) as service, watched(service) as manager:
        with throttled(service):
            fires(manager, "RecmeshEventLoopLag")
        resolves(manager, "RecmeshEventLoopLag")


def test_a_certificate_that_nobody_renews(tmp_path: Path) -> None:
    """um has a certificate that ends in ten days."""
    authority = Authority()
    files = authority.issue(days=10).write(tmp_path, authority.certificate)
    # Prometheus scrapes without TLS here.
    settings = {**files.settings(), "RECMESH_TLS_ACCEPT_PLAIN": "true"}
    with running("um", settings, ready=False) as service, watched(service) as manager:
        fires(manager, "RecmeshCertificateEnds")
        authority.issue(days=90).write(tmp_path, authority.certificate)
        resolves(manager, "RecmeshCertificateEnds")


def test_requests_for_which_nothing_is_left(compact: Service, trained_shop: Shop) -> None:
    """Callers exclude the whole catalogue."""
    nothing_left = ASRequest(user_id=trained_shop.user_ids[0], exclude_ids=trained_shop.sku_ids)
    with watched(compact) as manager:
        with repeated(compact.target("as"), nothing_left):
            fires(manager, "RecmeshEmptyAnswers")
        resolves(manager, "RecmeshEmptyAnswers")


@pytest.mark.long
def test_everybody_sees_the_same_items(trained_shop: Shop) -> None:
    """All requests come from one user.

    The same ten of 300 items are more than 1,500 times in answers. Then other users get others.
    """
    ten_items = ASRequest(user_id=trained_shop.user_ids[0], size=10)
    with (
        running("compact", trained_shop.environment) as service,
        watched(service) as manager,
        repeated(service.target("as"), ten_items),
    ):
        fires(manager, "RecmeshCoverageCollapse")
        with load(service.target("as"), trained_shop):
            resolves(manager, "RecmeshCoverageCollapse")


@pytest.mark.long
def test_a_client_that_gives_everybody_the_same_age(compact: Service, trained_shop: Shop) -> None:
    """A client gives every user the same age.

    An index exists from 200 users on. Nine times as many with the right ages follow. The shop has too few users for the
    index of a field with as many values as the city, so only the age is checked.
    """
    users = [profile(compact, user_id) for user_id in trained_shop.user_ids]
    of_one_age = [with_age(user, "1.0") for user in users[:210]]
    with running("recall", trained_shop.environment) as service, watched(service) as manager:
        recall(service, of_one_age)
        eventually(lambda: "user.age" in drifting(manager), lambda: drifting(manager))
        fires(manager, "RecmeshInputDrift")
        recall(service, users * 6)
        eventually(lambda: "user.age" not in drifting(manager), lambda: drifting(manager))


def test_an_old_release(trained_shop: Shop, tmp_path: Path) -> None:
    """A release whose manifest is 31 days old becomes active.

    rank alone needs no store but the model store.
    """
    shutil.copytree(trained_shop.folder / "store", tmp_path / "store")
    shop, created = replace(trained_shop, folder=tmp_path), datetime.now(timezone.utc) - AGE
    first = shop.store.active()
    assert first is not None

    def grow_old(release: Path) -> None:
        write_manifest(release, read_manifest(release).model_copy(update={"created": created}))

    copied_release(shop, tmp_path, "old-and-watched", grow_old)
    with running("rank", shop.environment) as service, watched(service) as manager:
        shop.store.activate("old-and-watched", ())
        fires(manager, "RecmeshReleaseTooOld")
        shop.store.activate(first)
        resolves(manager, "RecmeshReleaseTooOld")


def test_a_shop_without_training(trained_shop: Shop, tmp_path: Path) -> None:
    """A shop is ingested with `--starter`, and not trained."""
    shutil.copytree(trained_shop.folder / "data", tmp_path / "data")
    trained = trained_shop.store.active()
    assert trained is not None
    with running_redis() as redis:
        shop = replace(trained_shop, folder=tmp_path, redis=redis)
        command = [sys.executable, "-m", "jobs.ingest", "--dataset", str(tmp_path / "data"), "--starter"]
        assert "there is no release to ingest; train first" in run_any(command, shop.environment).stderr
        with running("rank", shop.environment) as service, watched(service) as manager:
            fires(manager, "RecmeshNotTrained")
            release = Path("store", "releases", trained)
            shutil.copytree(trained_shop.folder / release, tmp_path / release)
            shop.store.activate(trained)
            resolves(manager, "RecmeshNotTrained")


def test_a_lost_pointer(trained_shop: Shop, tmp_path: Path) -> None:
    """The object `active` of the model store is deleted."""
    shutil.copytree(trained_shop.folder / "store", tmp_path / "store")
    shop, pointer = replace(trained_shop, folder=tmp_path), tmp_path / "store" / "active"
    content = pointer.read_bytes()
    with running("rank", shop.environment) as service, watched(service) as manager:
        pointer.unlink()
        fires(manager, "RecmeshDataLost")
        pointer.write_bytes(content)
        resolves(manager, "RecmeshDataLost")


@pytest.mark.long
def test_an_old_ingestion(trained_shop: Shop) -> None:
    """The clock of the ingestion is 31 days behind.

    The next ingestion, after Redis has lost its data, has the right clock.
    """
    with running_redis() as redis:
        shop = replace(trained_shop, redis=redis)
        data = ["--dataset", str(shop.folder / "data"), "--only", "redis"]
        run([sys.executable, "-c", BEHIND, str(AGE.total_seconds()), *data], shop.environment)
        with running("um", shop.environment) as service, watched(service) as manager:
            fires(manager, "RecmeshIngestionTooOld")
            Redis(port=redis.port).flushdb()
            shop.ingest("--only", "redis")
            resolves(manager, "RecmeshIngestionTooOld")


def drifting(manager: Alertmanager) -> set[str]:
    """The fields that alerts about drift name."""
    return {alert["labels"].get("field", "") for alert in manager.described()}


def profile(mesh: Service, user_id: str) -> UserInfo:
    """The stored profile of a user."""
    return UM.call(mesh.target("um"), UserModelRequest(user_id=user_id)).user_info


def with_age(user: UserInfo, age: str) -> UserInfo:
    """The same user with another age."""
    changed = UserInfo()
    changed.CopyFrom(user)
    changed.age = age
    return changed


def recall(service: Service, users: Sequence[UserInfo]) -> None:
    """Find candidates for each of these users."""
    with grpc.insecure_channel(service.target("recall")) as channel, ThreadPoolExecutor(4) as threads:
        call = RECALL.on(channel)
        list(threads.map(lambda user: call(RecallRequest(user_info=user), timeout=60), users))


@contextlib.contextmanager
def repeated(target: str, request: ASRequest, callers: int = 2, timeout: float = 10.0) -> Iterator[None]:
    """Send a request to `as` again and again from some threads for the duration of the block, and ignore failures."""
    stop = threading.Event()

    def call_repeatedly(channel: grpc.Channel) -> None:
        call = AS.on(channel)
        while not stop.is_set():
            with contextlib.suppress(grpc.RpcError):
                call(request, timeout=timeout)

    with grpc.insecure_channel(target) as channel, ThreadPoolExecutor(callers) as threads:
        for _ in range(callers):
            threads.submit(call_repeatedly, channel)
        try:
            yield
        finally:
            stop.set()


@contextlib.contextmanager
def throttled(server: Server) -> Iterator[None]:
    """Let a process run for 0.03 s of each 0.23 s for the duration of the block, as a limit on CPU time does.

    That is less than the 0.05 s between two timers of the process, so that each timer is late.
    """
    stop = threading.Event()

    def throttle() -> None:
        while not stop.wait(0.03):
            with frozen(server):
                stop.wait(0.2)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(throttle)
        try:
            yield
        finally:
            stop.set()
