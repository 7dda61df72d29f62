"""Ingestions that are killed at random points: the next run that ends leaves what an undisturbed run leaves.

Points are requests to Redis, requests to Milvus, and changes of files: of the model store, of the cache of releases and
of temporary files.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import redis

from benchmarks.relay import LinkFault, Relay
from recmesh.dataset import DataSet, synthetic
from recmesh.releases import ModelStore, NewItems
from recmesh.releases.manifest import verify_folder
from recmesh.stores.milvus_writer import MilvusWriter
from tests.component.ingest.conftest import DIM, releases_of
from tests.kills import Point, changes, command, files, points
from tests.servers import ROOT, MilvusServer, RedisServer

MAX_KILLS_IN_A_ROW = 3
OLDEST, ACTIVE, NEW = "kill-1", "kill-2", "kill-3"
SKU_IDS = [f"{number:05d}" for number in range(9_500)]
ROWS_PER_READ = 1_000

State = dict[str, object]
"""Values by what and where they are."""


@dataclass(frozen=True)
class Ended:
    """An ingestion that has ended: whether it was killed, its output, and its number of events by kind."""

    killed: bool
    output: str
    events: Mapping[str, int]


class Installation:
    """Stores with an active release and its predecessor, into which a data set and a newer release are ingested.

    The ingestion replaces and removes keys, drops a collection, activates the release, replaces the record of new items
    and deletes a release.
    """

    def __init__(self, root: Path, data: Path, store: Path, client: "redis.Redis", milvus: MilvusServer) -> None:
        """Take the state of Redis as that before the ingestion.

        Args:
            root: A folder to create.
            data: The data set to ingest.
            store: The model store before the ingestion.
            client: Redis.
            milvus: Milvus.
        """
        self.store = ModelStore(str(root / "store"))
        self._root, self._data, self._prepared = root, data, store
        self._client, self._redis_port = client, client.connection_pool.connection_kwargs["port"]
        self._milvus, self._milvus_port = MilvusWriter(milvus.uri), milvus.port
        self._old = {key: client.dump(key) or b"" for key in client.scan_iter(count=10_000)}

    def close(self) -> None:
        """Drop the collections."""
        for manifest in self.store.list():
            self._milvus.drop(manifest.collection)
        self._milvus.close()

    def reset(self) -> None:
        """Go back to the state before the ingestion."""
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self._prepared, self._root / "store")
        (self._root / "temporary").mkdir()
        self._client.flushall()
        pipeline = self._client.pipeline()
        for key, value in self._old.items():
            pipeline.restore(key, 0, value)
        pipeline.execute()
        self._milvus.drop(self.store.manifest(NEW).collection)
        for release in (OLDEST, ACTIVE):
            self._milvus.create(self.store.manifest(release).collection, DIM)

    def forget(self) -> None:
        """Remove what Redis knows about the progress in Milvus."""
        self._client.delete(f"recmesh:ingest:milvus:{self.store.manifest(NEW).collection}")

    def ingest(self, point: Point | None = None) -> Ended:
        """Run the ingestion to its end, or to a point where it is killed."""
        with Relay(self._redis_port) as to_redis, Relay(self._milvus_port) as to_milvus:
            relays, stalled = {"Redis": to_redis, "Milvus": to_milvus}, threading.Event()
            if point and point.kind in relays:
                stalled = relays[point.kind].break_before(point.number, LinkFault.HALF_OPEN)
            home = str(self._root / "home")
            options = ["--dataset", str(self._data), "--store", self.store.url, "--home", home, "--prune"]
            urls = ["--redis-url", f"redis://127.0.0.1:{to_redis.port}/0"]
            urls += ["--milvus-uri", f"http://127.0.0.1:{to_milvus.port}"]
            process = subprocess.Popen(
                command(sys.executable, self._root, point, "jobs.ingest", *options, *urls),
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(self._root / "temporary")},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            while process.poll() is None:
                if stalled.wait(0.02):
                    process.kill()
            output, errors = process.communicate()
        assert process.returncode in ((0, -9) if point else (0,)), errors
        if process.returncode:
            return Ended(True, output, {})
        events = {**{kind: relay.pieces for kind, relay in relays.items()}, **changes(errors)}
        return Ended(False, output, events)

    def state(self) -> State:
        """Everything that an ingestion may have changed, except what differs from run to run.

        That is when the release was activated; the number of its collection, and whether the run found it empty, which
        a killed run may have filled; whether the index was known when the release was fetched; and when the ingestion
        was, and how long it took.
        """
        found: State = {f"Redis {key}": value for key, value in self._keys()}
        latest = found["Redis recmesh:ingest:latest"]
        assert isinstance(latest, dict) and float(latest.pop(b"time")) > float(latest.pop(b"seconds")) > 0
        found |= {f"Milvus {name}": True for name in self._milvus.collections()}
        collection = self.store.manifest(NEW).collection
        found[f"rows of {collection}"] = total = self._milvus.count(collection)
        for start in range(0, total, ROWS_PER_READ):
            rows = self._milvus.read(collection, SKU_IDS[start : start + ROWS_PER_READ])
            found |= {f"{collection} {sku_id}": vector.tobytes() for sku_id, vector in rows.items()}
        found |= {f"file {path}": content for path, content in files(self._root).items()}
        active = self.store.active_record()
        found["file store/active"] = active and active.model_dump(exclude={"since"})
        # Its copy is the same, byte for byte, whenever the run was killed.
        found["file store/last_active"] = found["file store/last_active"] == (self._root / "store/active").read_bytes()
        found.pop(f"file home/releases/{NEW}/manifest.json", None)
        found.pop("file temporary/.ses", None)  # ONNX Runtime's, the same file for all processes
        return found

    def _keys(self) -> Iterator[tuple[str, object]]:
        keys = sorted(set(self._client.scan_iter(count=10_000)))
        # MGET has no value for keys of other types.
        for key, value in zip(keys, self._client.mget(keys), strict=True):
            yield key.decode(), value if value is not None else self._progress(key)

    def _progress(self, key: bytes) -> dict[bytes, bytes]:
        fields = cast("dict[bytes, bytes]", self._client.hgetall(key))
        if key.startswith(b"recmesh:ingest:milvus:"):
            fields.pop(b"new", None)
            fields[b"owner"] = fields[b"owner"].partition(b":")[2]
        return fields

    def check_served(self, kept: set[str]) -> None:
        """Check what services read from: a killed ingestion has taken nothing away."""
        found = {f"Redis {key.decode()}" for key in self._client.scan_iter(count=10_000)}
        assert kept <= found
        active = self.store.active()
        assert active in (ACTIVE, NEW)
        if active == NEW:
            assert self._milvus.count(self.store.manifest(NEW).collection) == len(SKU_IDS)
        for manifest in self.store.list():
            verify_folder(Path(self.store.url) / "releases" / manifest.id, manifest)


def differences(one: State, other: State) -> list[str]:
    """What differs between two states."""
    return sorted(what for what in one.keys() | other.keys() if one.get(what) != other.get(what))


@dataclass(frozen=True)
class Undisturbed:
    """An ingestion that was not killed.

    Attributes:
        events: Number of its events, by kind.
        state: What it left.
        kept: The keys in Redis that are there before and after it.
    """

    events: Mapping[str, int]
    state: State
    kept: set[str]


@pytest.fixture(scope="module")
def installation(
    folder: Path,
    data: DataSet,
    own_redis: RedisServer,
    milvus_server: MilvusServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """An installation whose Redis holds another data set, with users and items that the next one lacks."""
    root = tmp_path_factory.mktemp("kills")
    store = ModelStore(str(root / "store"))
    make_release = releases_of(data, store, root)
    for release in (OLDEST, ACTIVE):
        make_release(release, sku_ids=SKU_IDS)
        store.activate(release, ())
    make_release(NEW, sku_ids=SKU_IDS)
    store.set_new_items(NEW, NewItems(("a",), np.zeros((1, DIM), np.float32), ("b",)))
    old = synthetic(root / "old", users=5_200, products=620, seed=6)
    url = ["--redis-url", own_redis.url, "--only", "redis"]
    subprocess.run([sys.executable, "-m", "jobs.ingest", "--dataset", str(old), *url], cwd=ROOT, check=True)
    with redis.Redis(port=own_redis.port) as client:
        made = Installation(root / "killed", folder, Path(store.url), client, milvus_server)
        yield made
        made.close()


@pytest.fixture(scope="module")
def undisturbed(installation: Installation) -> Undisturbed:
    installation.reset()
    before = installation.state()
    events, after = installation.ingest().events, installation.state()
    return Undisturbed(events, after, {what for what in before.keys() & after.keys() if what.startswith("Redis ")})


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("seed", "kills"), [(1, 5), pytest.param(2, 50, marks=pytest.mark.long)])
def test_an_ingestion_killed_at_random_points_ends_as_an_undisturbed_one(
    seed: int, kills: int, installation: Installation, undisturbed: Undisturbed
) -> None:
    random_points = points(undisturbed.events, seed)
    done = 0
    while done < kills:
        installation.reset()
        row: list[Point] = []
        ended = False
        while not ended and len(row) < min(MAX_KILLS_IN_A_ROW, kills - done):
            row.append(next(random_points))
            ended = not installation.ingest(row[-1]).killed
            installation.check_served(undisturbed.kept)
        done += len(row) - ended
        if not ended:  # a run that resumes has less to do, and may not reach its point
            installation.ingest()
        different = differences(installation.state(), undisturbed.state)
        assert not different, f"seed {seed}, killed at {row} of {undisturbed.events}: {different[:20]}"


def test_a_killed_ingestion_resumes_in_both_stores(installation: Installation, undisturbed: Undisturbed) -> None:
    installation.reset()
    in_redis, in_milvus = (Point(kind, undisturbed.events[kind] * 2 // 3) for kind in ("Redis", "Milvus"))
    assert installation.ingest(in_redis).killed
    second = installation.ingest(in_milvus)
    assert second.killed
    assert re.search("Redis .* of them by an earlier run", second.output)
    third = installation.ingest()
    assert re.search("Milvus .* of them by an earlier run", third.output)
    assert not differences(installation.state(), undisturbed.state)


def test_rows_that_no_mark_records_are_replaced(installation: Installation, undisturbed: Undisturbed) -> None:
    installation.reset()
    assert installation.ingest(Point("Milvus", undisturbed.events["Milvus"] * 2 // 3)).killed
    installation.forget()
    installation.ingest()
    assert not differences(installation.state(), undisturbed.state)
