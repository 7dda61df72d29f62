"""The versions of rules in the model store: each stays, and of two at once one wins."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from threading import Barrier

import pytest

from recmesh.errors import ReleaseError
from recmesh.releases import ModelStore


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "store") if request.param == "file" else f"memory://{uuid.uuid4().hex}/store")


def test_every_version_stays_with_its_origin(store: ModelStore) -> None:
    assert list(store.rule_numbers()) == []
    assert store.rules(1) is None
    before = datetime.now(timezone.utc)
    assert store.apply_rules("rules: []\n", "Ann", "first").number == 1
    for text in ("# ü\nrules: []\n", "rules: []\n"):
        store.apply_rules(text)
    assert list(store.rule_numbers()) == [1, 2, 3]
    first, second = store.rules(1), store.rules(2)
    assert first and second
    assert (first.text, first.author, first.comment) == ("rules: []\n", "Ann", "first")
    assert (second.text, second.author, second.comment) == ("# ü\nrules: []\n", "", "")
    assert before <= first.time <= second.time <= datetime.now(timezone.utc)


def test_numbers_are_ordered_as_numbers(store: ModelStore) -> None:
    for number in range(1, 12):
        assert store.apply_rules(f"# {number}\nrules: []").number == number
    assert list(store.rule_numbers()) == list(range(1, 12))


def test_of_two_at_once_one_wins(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen the same newest version."""
    store.apply_rules("rules: []\n")
    seen, barrier = store.rule_numbers, Barrier(4)

    def numbers() -> list[int]:
        found = list(seen())
        barrier.wait(60)
        return found

    monkeypatch.setattr(store, "rule_numbers", numbers)

    def apply(number: int) -> int | str:
        try:
            return store.apply_rules(f"# {number}\nrules: []\n").number
        except ReleaseError as error:
            return str(error)

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(apply, range(4)))
    winner = results.index(2)
    assert list(seen()) == [1, 2]
    applied = store.rules(2)
    assert applied and applied.text == f"# {winner}\nrules: []\n"
    losers = [result for result in results if result != 2]
    assert (
        losers
        == [
            f"model store {store.url}: version 2 of the rules was applied at the same moment; look at it with"
            " `recmesh rules show`, then apply yours again"
        ]
        * 3
    )


@pytest.mark.parametrize("content", [b"", b"{}", b'{"number": 2, "time": "2026-12-01T00:00:00Z", "text": ""}', b"\xff"])
def test_a_damaged_version_is_named(content: bytes, tmp_path: Path) -> None:
    store = ModelStore(str(tmp_path / "store"))
    store.apply_rules("rules: []\n")
    (tmp_path / "store" / "rules" / "1").write_bytes(content)
    with pytest.raises(ReleaseError, match=r"version 1 of the rules is damaged; apply the rules again$"):
        store.rules(1)
    assert store.apply_rules("rules: []\n").number == 2


def test_what_a_killed_apply_leaves_is_no_version(tmp_path: Path) -> None:
    store = ModelStore(str(tmp_path / "store"))
    store.apply_rules("rules: []\n")
    (tmp_path / "store" / "rules" / f".2.{uuid.uuid4().hex}").write_bytes(b"half")
    assert list(store.rule_numbers()) == [1]
    assert store.apply_rules("rules: []\n").number == 2
