"""The order of actions: by time, then by a hash of the row that says nothing about ids."""

import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recmesh.dataset import read
from recmesh.dataset.order import ordered, row_hashes

SCHEMA = """
user: {id: user}
item: {id: item}
action: {user: user, item: item, time: at, type: kind, value: value}
"""

Row = tuple[str, str, str, str, str]


def write(folder: Path, rows: list[Row]) -> Path:
    """Write a data set of actions (user, item, time, type, value)."""
    folder.mkdir(parents=True)
    (folder / "schema.yaml").write_text(SCHEMA)
    for name, key, place in (("users", "user", 0), ("products", "item", 1)):
        ids = sorted({row[place] for row in rows})
        (folder / f"{name}.csv").write_text("\n".join([key, *ids]) + "\n")
    lines = [",".join(row) for row in rows]
    (folder / "actions.csv").write_text("\n".join(["user,item,at,kind,value", *lines]) + "\n")
    return folder


def random_rows(seed: int) -> list[Row]:
    """Draw 20 items of one day for each of 200 users."""
    rng = np.random.default_rng(seed)
    return [
        (f"{user:03}", f"{item:03}", "2024-01-01", "view", "1")
        for user in range(200)
        for item in rng.permutation(300)[:20].tolist()
    ]


def test_the_hash_of_a_row_never_changes(tmp_path: Path) -> None:
    """Machines, library versions and releases must agree on the order, so the values are written down."""
    rows = [("1", "a", "1970-01-02", "view", "0"), ("ü", "9" * 20, "2024-02-29T12:30", "order", "-2.5")]
    actions = read(write(tmp_path / "shop", rows)).actions.sort("time")
    assert row_hashes(actions).to_list() == [904140248, 4002863089]
    assert row_hashes(actions).dtype == pl.UInt32


def test_the_hash_follows_its_description() -> None:
    """The same in plain Python: CRC-32 of the texts, and the finalizer of SplitMix64."""

    def mixed(bits: int) -> int:
        bits = (bits + 0x9E3779B97F4A7C15) % 2**64
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
        return bits ^ bits >> 31

    bits = mixed(zlib.crc32(b"7") << 32 | zlib.crc32(b"x y"))
    bits = mixed(bits ^ 1_700_000_000_123)
    bits = mixed(bits ^ (zlib.crc32(b"order") << 32 | 0x40200000))  # 2.5
    enums = {"user_id": pl.Enum(["6", "7"]), "sku_id": pl.Enum(["x y"]), "type": pl.Enum(["order"])}
    row = {"user_id": ["7"], "sku_id": ["x y"], "time": [1_700_000_000_123], "type": ["order"], "value": [2.5]}
    actions = pl.DataFrame(row, schema_overrides={**enums, "value": pl.Float32})
    assert row_hashes(actions).to_list() == [bits >> 32]


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    rows = random_rows(1)
    one = read(write(tmp_path / "one", rows))
    other = read(write(tmp_path / "other", [rows[k] for k in np.random.default_rng(2).permutation(len(rows))]))
    assert one.actions.equals(other.actions)
    assert one.fingerprint == other.fingerprint


def test_other_users_and_items_do_not_change_the_order(tmp_path: Path) -> None:
    rows = random_rows(1)
    one = read(write(tmp_path / "one", rows)).actions.cast({"user_id": pl.String, "sku_id": pl.String})
    more = [("00", "000000", "2024-01-02", "view", "1"), ("zz", "zz", "2024-01-02", "view", "1")]
    other = read(write(tmp_path / "other", rows + more)).actions.cast({"user_id": pl.String, "sku_id": pl.String})
    assert other.head(len(rows)).equals(one)


@pytest.mark.parametrize("seed", range(5))
def test_the_last_actions_of_a_day_have_ids_like_the_others(tmp_path: Path, seed: int) -> None:
    actions = read(write(tmp_path / "shop", random_rows(seed))).actions
    last = actions.with_columns(item=pl.col("sku_id").to_physical()).filter(
        pl.int_range(pl.len()).over("user_id") >= 16
    )
    # 800 of 4,000 items drawn from 0 to 299: mean 149.5, standard deviation 86.6.
    assert len(last) == 800
    assert last["item"].mean() == pytest.approx(149.5, abs=4 * 86.6 / 800**0.5)


def test_time_comes_first() -> None:
    days = np.repeat(np.arange(50)[::-1], 4)
    enums = {"user_id": pl.Enum(["1"]), "sku_id": pl.Enum(["1", "2", "3", "4"]), "type": pl.Enum(["view"])}
    rows = {"user_id": ["1"] * 200, "sku_id": ["1", "2", "3", "4"] * 50, "time": days, "type": ["view"] * 200}
    actions = pl.DataFrame({**rows, "value": [1.0] * 200}, schema_overrides={**enums, "value": pl.Float32})
    found = ordered(actions)
    assert found["time"].to_list() == sorted(days.tolist())
    firsts = np.bincount(found.gather_every(4)["sku_id"].to_physical().to_numpy())
    assert firsts.min() >= 5  # each item comes first on about 12 of 50 days
