"""Lists for scenarios, worked out by hand on the toy release."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recmesh.errors import ReleaseError
from recmesh.features import Lists
from recmesh.features.spec import DAY_MS, Channel, Ints
from recmesh.features.user import NO_ITEMS
from recmesh.retrieval import Retriever, merge
from recmesh.retrieval.scenarios import (
    REPEAT_INPUTS,
    Formula,
    ListSettings,
    RepeatSettings,
    Scenarios,
    ScenarioSettings,
    listed_with,
    repeat_inputs,
)
from tests.unit.features.toy import AS_OF, encoder

# a goes with b (3) and c (1), b goes with c (2) and d (2.5); the others have no lists.
LISTS = Lists(
    np.array([0, 2, 4, 4, 4, 4], np.int64), np.array([1, 2, 2, 3], np.int32), np.array([3, 1, 2, 2.5], np.float32)
)
SETTINGS = ListSettings(
    groups="visit",
    formula=Formula(exponent=0.5, shrinkage=20),
    channels={
        "viewed_with": Channel(depth=4),
        "neighbours": Channel(weight=0, depth=0),
        "popular": Channel(weight=0, depth=4),
    },
)
INTERVALS = np.array([10, 20, 30, 40, 50, 25], np.float32)
NO_VECTORS = np.empty((0, 3), np.float32)


def scenarios(weights: tuple[float, ...] = ()) -> Scenarios:
    """Make the scenarios of the toy release."""
    settings = ScenarioSettings(lists={"related": SETTINGS}, repeat=RepeatSettings(weights=weights))
    return Scenarios(settings, {"related": LISTS}, INTERVALS)


def numbers(*items: int) -> Ints:
    return np.array(items, np.int32)


def test_a_formula_makes_scores_of_counts() -> None:
    together, others = np.array([6, 4], np.float32), np.array([16, 1], np.float32)

    def scores(exponent: float, shrinkage: float) -> list[float]:
        return list(Formula(exponent=exponent, shrinkage=shrinkage)(together, np.float32(4), others))

    assert scores(0, 0) == [1.5, 1.0]
    assert scores(0.5, 0) == [0.75, 2.0]
    assert scores(0.5, 2) == pytest.approx([0.6, 1.0])
    assert scores(1, 0) == [0.375, 4.0]


def test_lists_of_several_context_items_are_summed() -> None:
    scratch = encoder().scratch
    found = listed_with(LISTS, numbers(0, 1), numbers(0, 1), 9, scratch)
    assert (found.items.tolist(), found.scores.tolist()) == ([2, 3], [3.0, 2.5])
    found = listed_with(LISTS, numbers(0), numbers(0), 1, scratch)
    assert (found.items.tolist(), found.scores.tolist()) == ([1], [3.0])
    assert listed_with(LISTS, NO_ITEMS, NO_ITEMS, 9, scratch).items.tolist() == []


def test_popular_items_follow_those_that_go_with_the_context() -> None:
    retriever = Retriever(encoder(), scenarios())
    found = retriever.going_with("related", numbers(0), numbers(0))
    assert found["viewed_with"].items.tolist() == [1, 2]
    merged = merge(found, SETTINGS.channels, 5, retriever.encoder.scratch)
    # c stays behind b; d and 00123 are popular only.
    assert merged.items.tolist()[:2] == [1, 2]
    assert sorted(merged.items.tolist()) == [1, 2, 3, 4]
    assert (np.diff(merged.scores) < 0).all()


def test_an_item_without_a_list_is_represented_by_its_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only a and b have lists. The last dimension, popularity, does not count.
    vectors = [[1.0, 0.0, 9.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.1, 2.0, 9.0], [3.0, 0.1, 0.0]]
    retriever = Retriever(encoder(vectors=vectors), scenarios())
    assert retriever.represented("related", numbers(0), NO_VECTORS).tolist() == [0]
    assert retriever.represented("related", numbers(4), NO_VECTORS).tolist() == [0, 1]
    monkeypatch.setattr("recmesh.retrieval.retriever.STAND_INS", 1)
    assert retriever.represented("related", numbers(4), NO_VECTORS).tolist() == [0]
    assert retriever.represented("related", numbers(3), NO_VECTORS).tolist() == [1]
    assert retriever.represented("related", NO_ITEMS, np.array([[1, 9, 0]], np.float32)).tolist() == [1]
    assert retriever.represented("related", NO_ITEMS, NO_VECTORS).tolist() == []
    many = np.repeat(np.array([[1, 0, 0]], np.float32), 10, axis=0)
    assert retriever.represented("related", numbers(3), many).tolist() == [0, 1]
    assert retriever.represented(
        "related", NO_ITEMS, np.concatenate([many, np.eye(3, dtype=np.float32)[1:2]])
    ).tolist() == [0]


def test_the_inputs_of_repeat_follow_from_the_history() -> None:
    made = encoder()
    days = [90, 80, 80, 60]
    user = made.user({}, ["b", "a", "c", "a"], [day * DAY_MS for day in days], ["order"] * 4, [1.0] * 4)
    inputs = repeat_inputs(user, made.statistics, INTERVALS)
    rows = dict(zip(user.owned.items.tolist(), inputs, strict=True))
    # a: twice in three visits, 20 and 40 days before the end; its interval is (10 + 20) / 2 days.
    expected = {
        "count": np.log(2),
        "share": 2 / 3,
        "days": np.log(21),
        "steps": np.log(2),
        "recency": 0.7,
        "repeat_rate": 0.2,
        "popularity": np.log(0.4),
        "due": np.log(21 / 16),
        "overdue": np.log(21 / 16),
        "early": 0,
    }
    assert rows[0].tolist() == pytest.approx([expected[name] for name in REPEAT_INPUTS], rel=1e-5)
    # b: once, 10 days ago; its interval is that of the item, 20 days, so it is early.
    early = np.log(11 / 21)
    assert rows[1][-3:].tolist() == pytest.approx([early, 0, early**2], rel=1e-5)


def test_repeat_orders_the_history_by_the_weights_and_without_by_frequency() -> None:
    made = encoder()
    user = made.user(
        {}, ["b", "a", "c", "a"], [90 * DAY_MS, 80 * DAY_MS, 70 * DAY_MS, AS_OF // 2], ["order"] * 4, [1.0] * 4
    )
    by_frequency = Retriever(made, scenarios()).acted_on_again(user, NO_ITEMS, 9)
    assert by_frequency.items.tolist() == [0, 1, 2]
    newest_last = tuple(1.0 if name == "days" else 0.0 for name in REPEAT_INPUTS)
    found = Retriever(made, scenarios(newest_last)).acted_on_again(user, NO_ITEMS, 9)
    assert found.items.tolist() == [2, 0, 1]
    assert found.scores.tolist() == pytest.approx(np.log1p([30, 20, 10]).tolist(), rel=1e-5)
    found = Retriever(made, scenarios(newest_last)).acted_on_again(user, numbers(2), 1)
    assert found.items.tolist() == [0]


def test_scenarios_are_read_as_they_were_written(tmp_path: Path) -> None:
    weights = tuple(float(number) for number in range(len(REPEAT_INPUTS)))
    scenarios(weights).save(tmp_path)
    read = Scenarios.load(tmp_path, 5)
    assert read.settings == scenarios(weights).settings
    for name in ("start", "items", "scores"):
        assert np.array_equal(getattr(read.lists["related"], name), getattr(LISTS, name))
    assert np.array_equal(read.intervals, INTERVALS)


def test_an_older_release_has_no_scenarios(tmp_path: Path) -> None:
    read = Scenarios.load(tmp_path, 5)
    assert (read.settings, dict(read.lists)) == (ScenarioSettings(), {})


def test_damaged_scenarios_are_refused(tmp_path: Path) -> None:
    made = scenarios()
    made.save(tmp_path)
    with pytest.raises(ReleaseError, match=r"scenarios.json: damaged release .*do not fit the catalogue.*train again"):
        Scenarios.load(tmp_path, 3)
    replace(made, lists={"related": replace(LISTS, items=numbers(1, 2, 2, 7))}).save(tmp_path)
    with pytest.raises(ReleaseError, match="do not fit the catalogue"):
        Scenarios.load(tmp_path, 5)
    scenarios((1.0,)).save(tmp_path)
    with pytest.raises(ReleaseError, match="do not fit the catalogue"):
        Scenarios.load(tmp_path, 5)
    made.save(tmp_path)
    (tmp_path / "scenarios.npz").write_bytes(b"no archive")
    with pytest.raises(ReleaseError, match=r"scenarios.json: damaged scenarios .*; train again"):
        Scenarios.load(tmp_path, 5)
    (tmp_path / "scenarios.json").write_text(json.dumps({"version": "x"}))
    with pytest.raises(ReleaseError, match="damaged scenarios"):
        Scenarios.load(tmp_path, 5)
