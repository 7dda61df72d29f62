"""as follows the rules in the model store, and no state of the store takes them away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from recmesh.chain.active_rules import ActiveRules
from recmesh.chain.ruled import item_columns
from recmesh.errors import Unavailable
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.releases import ModelStore
from recmesh.rules import RuleSet
from recmesh.serving.stages import CandidateList
from tests.unit.metric import added, eventually

INTERVAL = 0.005
NOW = 1_800_000_000.0
ANYBODY = UserInfo()


def file(*names: str, keys: str = "") -> str:
    return (
        "rules:"
        + "".join(f"\n  - {{name: {name}, kind: exclude, when: cate=5{keys}}}" for name in names or ())
        + (" []" if not names else "")
    )


@asynccontextmanager
async def following(rules: ActiveRules, store: ModelStore) -> AsyncIterator[None]:
    task = asyncio.create_task(rules.follow(store, INTERVAL))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def names(rules: ActiveRules, scenario: str = "", profile: UserInfo = ANYBODY) -> set[str]:
    return set(rules.of(scenario, profile)._kind_of)


def version_is(rules: ActiveRules, version: int) -> Callable[[], bool]:
    return lambda: rules.version == version


async def test_newer_rules_are_used_without_a_restart(tmp_path: Path) -> None:
    store, rules = ModelStore(str(tmp_path / "store")), ActiveRules()
    with pytest.raises(Unavailable, match="have not been read yet"):
        await rules.check()
    async with following(rules, store):
        await eventually(lambda: rules._tried)
        await rules.check()
        assert (rules.version, bool(rules.of("", ANYBODY))) == (0, False)
        for number, chosen in enumerate((["a"], ["a", "b"], [], ["c"]), start=1):
            store.apply_rules(file(*chosen))
            await eventually(version_is(rules, number))
            assert names(rules) == set(chosen)


async def test_only_rules_for_the_request_apply() -> None:
    store, rules = ModelStore("memory://only-rules-for-the-request"), ActiveRules(clock=lambda: NOW)
    store.apply_rules(
        "rules:\n"
        "  - {name: home, kind: diversity, strength: 1, scenario: home}\n"
        "  - {name: past, kind: diversity, strength: 1, until: 2027-01-15T08:00:00Z}\n"
        "  - {name: present, kind: diversity, strength: 1, from: 2027-01-15T08:00:00Z}\n"
        "  - {name: city, kind: diversity, strength: 1, users: city=176}\n"
    )
    async with following(rules, store):
        await eventually(version_is(rules, 1))
        assert names(rules) == {"home", "present"}
        assert names(rules, "related") == {"present"}
        assert names(rules, "home", UserInfo(city="176")) == {"home", "present", "city"}


async def test_damaged_rules_change_nothing_and_are_told(tmp_path: Path) -> None:
    store, rules = ModelStore(str(tmp_path / "store")), ActiveRules()
    store.apply_rules(file("good"))
    failures = added("recmesh_rules_failures_total")
    async with following(rules, store):
        await eventually(version_is(rules, 1))
        with capture_logs() as lines:
            store.apply_rules("rules: [{name: x, kind: exclude}]")  # what another version of recmesh may write
            await eventually(lambda: failures() >= 3)
        assert (rules.version, names(rules)) == (1, {"good"})
        ((event, version, reason),) = {(line["event"], line["version"], line["reason"]) for line in lines}
        assert (event, version) == ("rules not read", 1)
        assert "version 2 of the rules line 1, column 9" in reason
        (tmp_path / "store" / "rules" / "3").write_bytes(b"\xff")
        store.apply_rules(file("better"))
        await eventually(version_is(rules, 4))
        assert names(rules) == {"better"}


async def test_a_start_with_damaged_rules_uses_the_ones_before(tmp_path: Path) -> None:
    store, rules = ModelStore(str(tmp_path / "store")), ActiveRules()
    store.apply_rules(file("good"))
    store.apply_rules(file("bad"))
    path = tmp_path / "store" / "rules" / "2"
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    async with following(rules, store):
        await eventually(version_is(rules, 1))
        assert names(rules) == {"good"}
        path.write_bytes(content)
        await eventually(version_is(rules, 2))
        assert names(rules) == {"bad"}


async def test_the_rules_stay_while_the_store_is_unavailable(tmp_path: Path) -> None:
    store, rules = ModelStore(str(tmp_path / "store")), ActiveRules()
    store.apply_rules(file("good"))
    failures = added("recmesh_rules_failures_total")
    async with following(rules, store):
        await eventually(version_is(rules, 1))
        (tmp_path / "store").rename(tmp_path / "elsewhere")
        (tmp_path / "store").symlink_to(tmp_path / "store")  # every call fails: too many levels of links
        await eventually(lambda: failures() >= 2)
        assert names(rules) == {"good"}
        (tmp_path / "store").unlink()
        (tmp_path / "elsewhere").rename(tmp_path / "store")
        store.apply_rules(file("later"))
        await eventually(version_is(rules, 2))
        assert names(rules) == {"later"}


async def test_a_store_that_fails_at_the_start_delays_no_answer(tmp_path: Path) -> None:
    (tmp_path / "store").symlink_to(tmp_path / "store")
    rules = ActiveRules()
    async with following(rules, ModelStore(str(tmp_path / "store"))):
        await eventually(lambda: rules._tried)
        await rules.check()
        assert rules.version == 0


def test_missing_values_of_a_profile_are_none() -> None:
    rules = ActiveRules()
    rules._state = replace(
        rules._state, rules=RuleSet.parse(b"rules: [{name: a, kind: diversity, strength: 1, users: 'city!=5'}]")
    )
    assert names(rules, profile=UserInfo(city="5")) == set()
    assert set(rules.of("", UserInfo(city="5"), ("", "5"))._kind_of) == {"a"}


def test_fields_are_split_as_recall_says() -> None:
    found = CandidateList((), (), "r1", missing=("", "-1"), separators={"genre": "|"})
    infos = [
        ItemInfo(sku_id="1", cate="-1", attributes={"genre": "a|b"}).SerializeToString(),
        ItemInfo(sku_id="2", cate="NA|x").SerializeToString(),
    ]
    assert item_columns(["genre", "cate"], infos, found) == {"genre": [("a", "b"), ()], "cate": [(), ("NA|x",)]}
