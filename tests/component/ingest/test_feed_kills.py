"""feed, Redis and the archiver are killed at random moments: every acknowledged action counts exactly once."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from local.ports import free_ports
from recmesh.dataset import read
from recmesh.dataset.merging import merged
from recmesh.pb.feed_pb2 import Action, RecordActionsRequest
from recmesh.pb.user_info_pb2 import History
from recmesh.stores.counts import CountedAction, bucket_of
from recmesh.stores.redis import RedisWriter
from tests.calls import RECORD_ACTIONS
from tests.component.ingest.test_archive import applied, day, folder
from tests.component.ingest.test_to_redis import ingest
from tests.processes import Service, start_service
from tests.servers import ROOT, RedisServer, start_redis
from tests.waiting import eventually

__all__ = ["folder"]

USERS = 20
FEEDS = 2
ACTIONS_BETWEEN_KILLS = (5, 40)
PERSISTENT = ("--appendonly", "yes", "--appendfsync", "everysec")


@dataclass
class Shop:
    """A persistent Redis, two feeds and an archiver, which are started again after each kill."""

    path: Path
    redis: RedisServer
    feeds: list[Service] = field(default_factory=list)
    archiver: "subprocess.Popen[bytes] | None" = None

    @property
    def environment(self) -> dict[str, str]:
        return {"RECMESH_REDIS_URL": self.redis.url, "RECMESH_DRAIN_DELAY": "0"}

    def start_feed(self) -> Service:
        return start_service("feed", self.path, self.environment)

    def kill_feed(self, number: int) -> None:
        self.feeds[number].kill()
        ports = {name: port for name, port in self.feeds[number].ports.items() if name != "metrics"}
        self.feeds[number] = start_service("feed", self.path, self.environment, ports)

    def kill_redis(self) -> None:
        self.redis.kill()
        self.redis = start_redis(self.path, self.redis.port, options=PERSISTENT)

    def kill_archiver(self) -> None:
        """Kill the archiver that the last kill has started, if it still runs, and start another one."""
        if self.archiver:
            self.archiver.send_signal(signal.SIGKILL)
            self.archiver.wait()
        command = [sys.executable, "-m", "jobs.archive", "--archive", str(self.path / "archive"), "--keep", "0"]
        self.archiver = subprocess.Popen(
            [*command, "--redis-url", self.redis.url], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        if self.archiver:
            self.archiver.kill()
            self.archiver.wait()
        for service in self.feeds:
            service.kill()
        self.redis.kill()


class Recorder(threading.Thread):
    """Records one action after the other, and repeats each one until a feed has accepted it."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(daemon=True)
        self._shop = shop
        self._ended = threading.Event()
        self._accepted = threading.Condition()
        # Of this day, so that the actions are in the counts, and in the past, however many there are.
        self._began = int(time.time() * 1000) - 43_200_000
        self.accepted = list[Action]()

    def run(self) -> None:
        while not self._ended.is_set():
            number = len(self.accepted)
            # Every third action is that of the one before, recorded again as another event: it counts once.
            same = number - number % 3
            action = Action(
                user_id=f"v{same % USERS}",
                sku_id=f"s{same}" if number % 3 == 1 else f"s{number}",
                time=self._began + 1_000 * (same if number % 3 == 1 else number),
                type="view",
                event_id=f"e{number}",
            )
            attempt = 0
            while not self._sent(action, attempt):
                attempt += 1
            with self._accepted:
                self.accepted.append(action)
                self._accepted.notify()

    def _sent(self, action: Action, attempt: int) -> bool:
        target = self._shop.feeds[attempt % FEEDS].target("feed")
        try:
            answer = RECORD_ACTIONS.call(target, RecordActionsRequest(actions=[action]), timeout=5)
        except grpc.RpcError:
            return False
        assert answer.accepted == 1, answer
        return True

    def wait_for(self, count: int) -> None:
        """Wait for a number of accepted actions."""
        with self._accepted:
            assert self._accepted.wait_for(lambda: len(self.accepted) >= count, timeout=120)

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def shop(tmp_path: Path, folder: Path) -> Iterator[Shop]:
    path = tmp_path / "run"
    path.mkdir()
    # Times in milliseconds: feed rounds to days if the data set has nothing finer.
    actions = folder / "actions.csv"
    actions.write_text(actions.read_text().replace(str(day(10)), str(day(10) + 1)))
    shop = Shop(path, start_redis(path, free_ports(1)[0], options=PERSISTENT))
    try:
        ingest(read(folder), shop.redis)
        shop.feeds = [shop.start_feed() for _ in range(FEEDS)]
        yield shop
    finally:
        shop.stop()


def counted(writer: RedisWriter) -> Counter[tuple[int, CountedAction | None]]:
    """The counts of all buckets in Redis."""
    found = Counter[tuple[int, CountedAction | None]]()
    for key in writer.scan(f"{writer.keys.counts('')}*"):
        bucket = key.rpartition(":")[2]
        if bucket.isdigit():
            found |= {(int(bucket), CountedAction.parse(name)): int(n) for name, n in writer.hash(key).items()}
    return found


def expected_counts(accepted: Sequence[Action]) -> Counter[tuple[int, CountedAction | None]]:
    """Each accepted event counts once, in the bucket of its time."""
    return Counter(
        (bucket, CountedAction(action.sku_id, action.type, 1.0))
        for action in accepted
        if (bucket := bucket_of(action, action.time)) is not None
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("seed", "kills"), [(1, 6), pytest.param(2, 50, marks=pytest.mark.long)])
def test_every_acknowledged_action_counts_exactly_once(seed: int, kills: int, shop: Shop, folder: Path) -> None:
    chance = random.Random(seed)
    victims: list[Callable[[], None]] = [
        lambda: shop.kill_feed(0),
        lambda: shop.kill_feed(1),
        shop.kill_redis,
        shop.kill_archiver,
    ]
    recorder = Recorder(shop)
    recorder.start()
    for number in range(kills):
        recorder.wait_for(len(recorder.accepted) + chance.randint(*ACTIONS_BETWEEN_KILLS))
        # Each of them in turn, in random order.
        if number % len(victims) == 0:
            chance.shuffle(victims)
        victims[number % len(victims)]()
    recorder.end()

    distinct = {(action.user_id, action.sku_id, action.time) for action in recorder.accepted}
    assert len(distinct) < len(recorder.accepted)
    eventually(lambda: applied(shop.redis), lambda: "not applied")
    writer = RedisWriter(shop.redis.url)
    stored = []
    for user in {user for user, _, _ in distinct}:
        (value,) = writer.read([writer.keys.history(user)])
        history = History.FromString(value or b"")
        stored += [(user, sku_id, time) for sku_id, time in zip(history.sku_ids, history.times, strict=True)]
        assert list(history.times) == sorted(history.times, reverse=True)
    assert sorted(stored) == sorted(distinct)
    assert counted(writer) == expected_counts(recorder.accepted)
    # An ingestion has the log applied again.
    ingest(read(folder), shop.redis)
    eventually(lambda: applied(shop.redis), lambda: "not applied")
    assert counted(writer) == expected_counts(recorder.accepted)
    writer.close()

    shop.kill_archiver()
    assert shop.archiver
    assert shop.archiver.wait() == 0
    # No item of the actions is in the table of products: only a data set without one has them.
    (folder / "products.csv").unlink()
    schema = (folder / "schema.yaml").read_text()
    (folder / "schema.yaml").write_text("".join(line for line in schema.splitlines(True) if "item:" not in line[:6]))
    data = merged(read(folder), str(shop.path / "archive")).data
    trained = data.actions.select("user_id", "sku_id", "time").cast({"user_id": str, "sku_id": str}).rows()
    assert sorted(row for row in trained if row[0].startswith("v")) == sorted(distinct)
