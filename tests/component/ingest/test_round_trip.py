"""What is in the files comes out of um and cm exactly, or is in the rejects file; no row is lost.

The tables have ids and values of any Unicode text. They are written as CSV and as Parquet, read, ingested into a real
Redis, and asked for over gRPC.
"""

import csv
import math
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from jobs.ingest.shard import Shard
from jobs.ingest.to_redis import to_redis
from recmesh.contract import FAILED, MAX_ID_BYTES, OK
from recmesh.dataset import DataSet, read
from recmesh.errors import DataError
from recmesh.pb.cm_pb2 import CMRequest
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.progress import Reporter
from recmesh.stores.redis import RedisWriter
from recmesh.stores.wire import item_fields, user_fields
from tests.calls import CM, UM
from tests.processes import running
from tests.servers import RedisServer

SCHEMA = """\
user:
  id: user
  fields: {age: {kind: categorical}, note: {kind: categorical}}
item:
  id: item
  fields: {brand: {kind: categorical}, title: {kind: categorical}}
action: {user: user, item: item, time: time, type: type, value: value}
"""
HEADERS = {
    "users": ("user", "age", "note"),
    "products": ("item", "brand", "title"),
    "actions": ("user", "item", "time", "type", "value"),
}
INSTANTS = {f"2023-11-14T22:13:20.00{k}": 1_700_000_000_000 + k for k in range(6)}
"""Times as they are written, in milliseconds."""

Row = tuple[str, ...]
Tables = Mapping[str, Sequence[Row]]

HOSTILE = (
    '"', '""', ",", "\n", "\r\n", "\r", "\t", "\0", "-1", "-1.0", "007", "1.0", "NULL", "\\N", " a", "a ", "a", "A",
    "\ufeff", "\u200b", "\u2028", "\x85", "é", "e\u0301", "😀", "x" * 128, "x" * 129, "é" * 64, "é" * 65, "a\nb", '"a"',
    'a","b', "a,b\n1,2,3", "'", ";", "#", "=1+1", "user",
)  # fmt: skip
texts = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
times = st.sampled_from([*INSTANTS, "1969-12-31", "2100-01-02", "2023-02-30", "", "now", "1700000000000"])
values = st.sampled_from(["", "1", "2.5", "-3", "0.1", "1e3", "many"])


@st.composite
def tables(draw: st.DrawFn) -> Tables:
    """Users and items, with repeated ids and invalid ones, and actions between them and by or on unknown ones."""
    users = draw(st.lists(st.tuples(texts, texts, texts), max_size=6))
    items = draw(st.lists(st.tuples(texts, texts, texts), max_size=6))
    # One row of each kind is good, because a set without any is refused.
    users.insert(draw(st.integers(0, len(users))), ("good user", "1", ""))
    items.insert(draw(st.integers(0, len(items))), ("good item", "b", "t"))
    who = st.one_of(st.sampled_from([row[0] for row in users]), texts)
    what = st.one_of(st.sampled_from([row[0] for row in items]), texts)
    kinds = st.one_of(st.sampled_from(["view", "order"]), texts)
    actions = draw(st.lists(st.tuples(who, what, times, kinds, values), max_size=8))
    actions.insert(
        draw(st.integers(0, len(actions))), ("good user", "good item", "2023-11-14T22:13:20.003", "view", "1")
    )
    return {"users": users, "products": items, "actions": actions}


def is_id(text: str) -> bool:
    return 0 < len(text.encode()) <= 128 and not any(unicodedata.category(letter) == "Cc" for letter in text)


def number(text: str) -> float | None:
    """The value of a cell; None if it is not a number."""
    try:
        return float(np.float32(text or 1))
    except ValueError:
        return None


@dataclass
class Expected:
    """What must come out.

    Attributes:
        users: Fields of each user.
        items: Fields of each item.
        histories: The actions of each user: item, time, type and value.
        duplicates: Number of rows that are repeated, by table.
        rejects: Positions of the rows in the rejects file, by table.
    """

    users: dict[str, dict[str, str]]
    items: dict[str, dict[str, str]]
    histories: dict[str, set[tuple[str, int, str, float]]]
    duplicates: Counter[str]
    rejects: dict[str, set[int]]

    @classmethod
    def of(cls, tables: Tables) -> "Expected":
        """Apply the rules of docs/datasets.md, row by row."""
        expected = cls({}, {}, {}, Counter(), {name: set() for name in tables})
        for name, sides, nobody in (("users", expected.users, "-1"), ("products", expected.items, "")):
            for position, (identity, *cells) in enumerate(tables[name]):
                if not is_id(identity) or identity == nobody:
                    expected.rejects[name].add(position)
                    continue
                expected.duplicates[name] += identity in sides
                sides[identity] = {key: cell for key, cell in zip(HEADERS[name][1:], cells, strict=True) if cell}
        for position, (user, item, time, kind, value) in enumerate(tables["actions"]):
            amount = number(value)
            if (
                user not in expected.users
                or item not in expected.items
                or time not in INSTANTS
                or not kind
                or amount is None
            ):
                expected.rejects["actions"].add(position)
                continue
            history = expected.histories.setdefault(user, set())
            action = (item, INSTANTS[time], kind, amount)
            expected.duplicates["actions"] += action in history
            history.add(action)
        return expected


def write_csv(folder: Path, tables: Tables, quote_all: bool = False, line_end: str = "\n") -> dict[str, list[int]]:
    """Write the tables as CSV by RFC 4180. Returns the number of the first line of each row."""
    first_lines: dict[str, list[int]] = {}
    for name, rows in tables.items():
        text = ",".join(HEADERS[name]) + line_end
        lines = first_lines.setdefault(name, [])
        for row in rows:
            lines.append(text.count("\n") + 1)
            text += ",".join(quoted(cell, quote_all) for cell in row) + line_end
        (folder / f"{name}.csv").write_bytes(text.encode())
    return first_lines


def quoted(cell: str, always: bool) -> str:
    return '"' + cell.replace('"', '""') + '"' if always or any(c in cell for c in ',"\r\n') else cell


def write_parquet(folder: Path, tables: Tables) -> dict[str, list[int]]:
    """Write the tables as Parquet. Returns the number of each row."""
    for name, rows in tables.items():
        frame = pl.DataFrame(rows, schema=dict.fromkeys(HEADERS[name], pl.String), orient="row")
        frame.write_parquet(folder / f"{name}.parquet")
    return {name: list(range(1, len(rows) + 1)) for name, rows in tables.items()}


def rejected_lines(path: Path) -> Counter[tuple[str, int]]:
    """File without its suffix, and line, of each row in the rejects file."""
    with path.open(encoding="utf-8", newline="") as file:
        return Counter((row["file"].partition(".")[0], int(row["line"])) for row in csv.DictReader(file))


@dataclass(frozen=True)
class Mesh:
    """A Redis, and um and cm over it."""

    redis: RedisServer
    um: grpc.Channel
    cm: grpc.Channel

    def ingest(self, data: DataSet) -> None:
        """Put a data set into Redis."""
        writer = RedisWriter(self.redis.url)
        try:
            to_redis(data, writer, Shard(), Reporter(Console(quiet=True)))
        finally:
            writer.close()

    def check(self, expected: Expected, others: set[str]) -> None:
        """Ask um and cm for everything that is expected, and for other ids that must not exist."""
        for user, fields in expected.users.items():
            answer = UM.on(self.um)(UserModelRequest(user_id=user), timeout=10)
            assert (answer.error.code, answer.user_info.user_id, user_fields(answer.user_info)) == (OK, user, fields)
            history = answer.history
            kinds = [history.type_names[code] for code in history.types]
            actions = list(zip(history.sku_ids, history.times, kinds, history.values, strict=True))
            assert Counter(actions) == Counter(expected.histories.get(user, ()))
            assert list(history.times) == sorted(history.times, reverse=True)
        too_long = {other for other in others if len(other.encode()) > MAX_ID_BYTES}
        assert not too_long & {*expected.users, *expected.items}
        for user in too_long:
            with pytest.raises(grpc.RpcError, match="at most 128"):
                UM.on(self.um)(UserModelRequest(user_id=user), timeout=10)
        for user in others - expected.users.keys() - too_long:
            assert UM.on(self.um)(UserModelRequest(user_id=user), timeout=10).error.code == FAILED
        unknown = sorted(others - expected.items.keys() - too_long)
        found = CM.on(self.cm)(CMRequest(item_ids=[*expected.items, *unknown]), timeout=10)
        assert {item.sku_id: item_fields(item) for item in found.item_infos} == expected.items
        assert list(found.missing_ids) == unknown


@pytest.fixture(scope="module")
def mesh(own_redis: RedisServer) -> Iterator[Mesh]:
    environment = {"RECMESH_REDIS_URL": own_redis.url}
    with running("um", environment) as um, running("cm", environment) as cm:
        targets = um.target("um"), cm.target("cm")
        with grpc.insecure_channel(targets[0]) as first, grpc.insecure_channel(targets[1]) as second:
            yield Mesh(own_redis, first, second)


def check_round_trip(mesh: Mesh, folder: Path, tables: Tables, lines: dict[str, list[int]]) -> None:
    """Read, ingest and ask."""
    (folder / "schema.yaml").write_text(SCHEMA)
    data = read(folder, folder / "rejects.csv", max_rejected=1, max_damaged=1, max_unlisted=1)
    expected = Expected.of(tables)
    for name, rows in tables.items():
        tally = data.report.tally(name)
        assert tally.read == len(rows)
        assert tally.duplicates == expected.duplicates[name]
        assert tally.read == tally.used + tally.duplicates + tally.anonymous + tally.unlisted + tally.rejected
    places = ((name, lines[name][position]) for name, at in expected.rejects.items() for position in at)
    assert rejected_lines(folder / "rejects.csv") == Counter(places)
    mesh.ingest(data)
    mesh.check(expected, {row[0] for row in (*tables["users"], *tables["products"])} - {""})


@settings(max_examples=40, deadline=None)
@given(tables(), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_csv_comes_out_of_um_and_cm_exactly_or_is_rejected(
    mesh: Mesh, tables: Tables, quote_all: bool, line_end: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = write_csv(Path(folder), tables, quote_all, line_end)
        # The line ends of a text file do not count: a line break in a cell is a line feed.
        as_read = {name: [tuple(c.replace("\r\n", "\n") for c in row) for row in rows] for name, rows in tables.items()}
        check_round_trip(mesh, Path(folder), as_read, lines)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_parquet_comes_out_of_um_and_cm_exactly_or_is_rejected(mesh: Mesh, tables: Tables) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_round_trip(mesh, Path(folder), tables, write_parquet(Path(folder), tables))


@settings(max_examples=100, deadline=None)
@given(tables(), st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 5)), max_size=4))
def test_every_row_of_a_damaged_file_is_counted_once(tables: Tables, damages: list[tuple[int, bytes, int]]) -> None:
    """Bytes are replaced at random; whatever the files have become, each row has exactly one fate."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_csv(folder, tables)
        (folder / "schema.yaml").write_text(SCHEMA)
        path = folder / "actions.csv"
        header, _, content = path.read_bytes().partition(b"\n")
        for offset, inserted, removed in damages:
            place = offset % (len(content) + 1)
            content = content[:place] + inserted + content[place + removed :]
        path.write_bytes(header + b"\n" + content)
        try:
            data = read(folder, folder / "rejects.csv", max_rejected=1, max_damaged=1, max_unlisted=1)
        except DataError as error:
            assert "rows" in str(error)  # all of them are gone
            assert "\n" not in str(error)
            return
        tally = data.report.tally("actions")
        assert tally.used == data.actions.height
        assert tally.read == tally.used + tally.duplicates + tally.anonymous + tally.unlisted + tally.rejected
        written = rejected_lines(folder / "rejects.csv")
        lost = tally.anonymous + tally.unlisted + tally.rejected
        assert sum(count for (file, _), count in written.items() if file == "actions") == lost
        assert all(math.isfinite(value) for value in data.actions["value"])
