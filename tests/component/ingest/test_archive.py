"""The log of feed in the archive, and in the data set that trainings and ingestions read."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import redis

from jobs.ingest.known_log import known_log
from jobs.ingest.shard import Shard
from recmesh.dataset import DataSet, read
from recmesh.dataset.archive import Archive
from recmesh.dataset.merging import merged
from recmesh.errors import SettingsError
from recmesh.pb.feed_pb2 import (
    Action,
    DeleteUserRequest,
    FeedResponse,
    ItemUpdate,
    PutItemsRequest,
    PutUsersRequest,
    RecordActionsRequest,
    UserUpdate,
)
from recmesh.stores.redis import RedisWriter
from tests.calls import DELETE_USER, PUT_ITEMS, PUT_USERS, RECORD_ACTIONS
from tests.component.ingest.test_to_redis import content, expected, ingest
from tests.processes import Service, running
from tests.servers import ROOT, RedisServer, running_redis
from tests.waiting import eventually


def day(number: int) -> int:
    """A day of 2016, in milliseconds since 1970."""
    return (16_800 + number) * 86_400_000


FILES = {
    "schema.yaml": """
user: {id: user_id, fields: {age: {kind: categorical}}}
item: {id: sku_id, fields: {brand: {kind: categorical}}}
action: {user: user_id, item: sku_id, time: time, unit: ms, type: type, weights: {view: 1, order: 3}}
missing: ["", "-1"]
""",
    "users.csv": "user_id,age\nu1,30\nu2,40\nu3,50\n",
    "products.csv": "sku_id,brand\ni1,b1\ni2,b2\n",
    "actions.csv": f"user_id,sku_id,time,type\nu1,i1,{day(10)},view\nu2,i2,{day(11)},order\nu3,i1,{day(12)},view\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def feed(server: RedisServer, folder: Path) -> Iterator[Service]:
    ingest(read(folder), server)
    with running("feed", {"RECMESH_REDIS_URL": server.url}) as service:
        yield service


def record(feed: Service, *actions: Action) -> FeedResponse:
    return RECORD_ACTIONS.call(feed.target("feed"), RecordActionsRequest(actions=actions))


def archive(server: RedisServer, into: Path, *options: str) -> str:
    command = [sys.executable, "-m", "jobs.archive", "--archive", str(into), "--redis-url", server.url, *options]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def applied(server: RedisServer) -> bool:
    """Whether feed has applied every entry."""
    with redis.Redis(port=server.port) as client:
        names = [name.decode() for name in client.scan_iter("recmesh:{log:*}:entries")]
        last = [client.xrevrange(name, count=1)[0][0] for name in names]
        return bool(last == client.mget([name.replace("entries", "applied") for name in names]))


def rows(data: DataSet) -> list[tuple[str, str, int, str, float]]:
    """The actions in the order of the data set."""
    return (
        data.actions.select("user_id", "sku_id", "time", "type", "value")
        .cast({"user_id": pl.String, "sku_id": pl.String, "type": pl.String})
        .rows()
    )


def test_the_archive_continues_the_data_set(folder: Path, server: RedisServer, feed: Service, tmp_path: Path) -> None:
    record(
        feed,
        Action(user_id="u1", sku_id="i2", time=day(13), event_id="e1", type="view"),
        Action(user_id="u1", sku_id="i1", time=day(10), type="view"),  # the data set has it
        Action(user_id="new", sku_id="i3", time=day(14), type="order", value=2.5),
        Action(user_id="new", sku_id="nobody", time=day(14), type="view"),  # no such item
        Action(user_id="u3", sku_id="i2", time=day(15), type="view"),
    )
    items = [ItemUpdate(sku_id="i3", fields={"brand": "b3"}), ItemUpdate(sku_id="i1", fields={"brand": "-1"})]
    PUT_ITEMS.call(feed.target("feed"), PutItemsRequest(items=items))
    users = [UserUpdate(user_id="u2", fields={"age": "41"}), UserUpdate(user_id="only", fields={"age": "7"})]
    PUT_USERS.call(feed.target("feed"), PutUsersRequest(users=users))
    into = tmp_path / "archive"
    assert "9 entries written, 0 removed from the log" in archive(server, into)
    assert "0 entries written" in archive(server, into)

    data, positions, in_log = merged(read(folder), str(into))
    assert rows(data) == [
        ("u1", "i1", day(10), "view", 1.0),
        ("u2", "i2", day(11), "order", 1.0),
        ("u3", "i1", day(12), "view", 1.0),
        ("u1", "i2", day(13), "view", 1.0),
        ("new", "i3", day(14), "order", 2.5),
        ("u3", "i2", day(15), "view", 1.0),
    ]
    assert data.users.rows() == [("new", None), ("only", "7"), ("u1", "30"), ("u2", "41"), ("u3", "50")]
    assert data.items.rows() == [("i1", None), ("i2", "b2"), ("i3", "b3")]
    assert in_log == {"u1", "u2", "u3", "new", "only"}
    assert positions == Archive(str(into)).positions()
    assert data.fingerprint != read(folder).fingerprint
    assert data.actions["user_id"].dtype == pl.Enum(data.users["user_id"])
    assert data.actions["sku_id"].dtype == pl.Enum(data.items["sku_id"])

    # The same event again, after feed has forgotten its id: it counts once, and the first time is its time.
    with redis.Redis(port=server.port) as client:
        client.delete(*client.scan_iter("recmesh:{log:*}:events"))
    record(feed, Action(user_id="u1", sku_id="i2", time=day(16), event_id="e1", type="view"))
    assert "1 entries written" in archive(server, into)
    assert rows(merged(read(folder), str(into)).data) == rows(data)


def test_a_deleted_user_is_in_no_later_data_set(
    folder: Path, server: RedisServer, feed: Service, tmp_path: Path
) -> None:
    into, target = tmp_path / "archive", feed.target("feed")
    record(feed, Action(user_id="u1", sku_id="i2", time=day(13)), Action(user_id="u2", sku_id="i1", time=day(13)))
    archive(server, into)
    record(feed, Action(user_id="u1", sku_id="i1", time=day(14)))
    for user in ("u1", "u3"):
        assert DELETE_USER.call(target, DeleteUserRequest(user_id=user)).accepted == 1
    record(feed, Action(user_id="u3", sku_id="i2", time=day(20)))  # comes again
    assert "users deleted" in archive(server, into)
    data = merged(read(folder), str(into)).data
    assert rows(data) == [
        ("u2", "i2", day(11), "order", 1.0),
        ("u2", "i1", day(13), "order", 1.0),
        ("u3", "i2", day(20), "order", 1.0),
    ]
    assert data.users.rows() == [("u2", "40"), ("u3", None)]
    assert b"u1" not in b"".join(path.read_bytes() for path in into.iterdir())


def test_archived_entries_are_removed_from_the_log_once_they_are_applied(
    folder: Path, server: RedisServer, feed: Service, tmp_path: Path
) -> None:
    record(feed, *(Action(user_id=f"v{n}", sku_id="i1", time=day(1), type="view") for n in range(50)))
    eventually(lambda: applied(server), lambda: "not applied")
    into = tmp_path / "archive"
    streams = len(Archive(str(into)).positions())
    assert streams == 0
    # The last entry of each stream stays.
    assert "50 entries written, 0 removed from the log" in archive(server, into, "--keep", "0")
    streams = len(Archive(str(into)).positions())
    # An ingestion that runs meanwhile may have read the archive before. The next run removes the entries.
    output = archive(server, into, "--keep", "0")
    assert f" 0 entries written, {50 - streams} removed from the log" in output
    with redis.Redis(port=server.port) as client:
        assert sum(int(client.xlen(name)) for name in client.scan_iter("recmesh:{log:*}:entries")) == streams
        # An ingestion with the archive gives the state of the archive, one without it that of the data set and the log.
        data, _, in_log = merged(read(folder), str(into))
        changed, output = ingest(data, server, in_log=in_log)
        assert changed, output
        assert content(client) == expected(data)


def test_an_archive_without_files_changes_nothing(folder: Path, tmp_path: Path) -> None:
    data = read(folder)
    (tmp_path / "empty").mkdir()
    for into in ("", str(tmp_path / "missing"), str(tmp_path / "empty"), f"file://{tmp_path}/missing"):
        found = merged(data, into)
        assert (found.data.fingerprint, found.positions, found.users) == (data.fingerprint, {}, frozenset())
    assert not (tmp_path / "missing").exists()


def test_the_pods_of_an_ingestion_load_the_same_data_while_the_archive_grows(
    folder: Path, server: RedisServer, feed: Service, tmp_path: Path
) -> None:
    def run_pod(index: int, job: str) -> str:
        """Run the pod of an Indexed Job."""
        command = [sys.executable, "-m", "jobs.ingest", "--only", "redis", "--dataset", str(folder)]
        command += ["--archive", str(into), "--redis-url", server.url]
        variables = {"JOB_COMPLETIONS": "2", "JOB_COMPLETION_INDEX": str(index), "JOB_UID": job}
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, **variables}, check=True, capture_output=True, text=True
        ).stdout

    def record_and_archive(*users: str) -> None:
        record(feed, *(Action(user_id=user, sku_id="i2", time=day(20), type="view") for user in users))
        eventually(lambda: applied(server), lambda: "not applied")
        archive(server, into)

    into = tmp_path / "archive"
    record_and_archive("v0", "v1")
    known = merged(read(folder), str(into))
    assert "the last shard to finish" in run_pod(0, "first")
    record_and_archive("a", "b", "v2")  # sorted before and after the others, so that shares of all users differ
    assert "verified" in run_pod(1, "first")
    at_first = merged(read(folder), str(into), known.positions)
    assert (at_first.data.fingerprint, at_first.positions, at_first.users) == (known.data.fingerprint, *known[1:])
    with redis.Redis(port=server.port) as client:
        owner = client.hget("recmesh:ingest:redis", "owner")
        assert owner is not None
        assert owner.startswith(known.data.fingerprint.encode())
        eventually(lambda: applied(server), lambda: "not applied")
        everything = merged(read(folder), str(into)).data
        # feed writes no profile for a user who has none.
        only_in_log = {f"recmesh:{{u:{user}}}:user" for user in ("a", "b", "v2")}
        wanted = {key: value for key, value in expected(everything).items() if key not in only_in_log}
        assert content(client) == wanted

    # The next ingestion reads everything.
    assert "the last shard to finish" in run_pod(1, "second")
    assert f"verified, {everything.items.height} items, {everything.users.height} users" in run_pod(0, "second")


def test_pods_that_cannot_agree_on_the_archive_are_refused(folder: Path, server: RedisServer, tmp_path: Path) -> None:
    writer = RedisWriter(server.url)
    with pytest.raises(SettingsError, match="JOB_UID is missing"):
        known_log(str(tmp_path), writer, Shard(0, 2), {})
    assert known_log("", writer, Shard(0, 2), {}) is None
    assert known_log(str(tmp_path), writer, Shard(), {}) is None
    assert known_log(str(tmp_path), writer, Shard(0, 2), {"JOB_UID": "a"}) == {}
