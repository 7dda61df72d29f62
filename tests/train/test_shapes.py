"""Data sets of shapes that training was not tuned on.

Their releases answer every user, and their lists are not clearly worse than those of any simple baseline.
"""

import math
from pathlib import Path

import pytest

from recmesh.evaluation import Report
from recmesh.evaluation.metrics import margin
from recmesh.evaluation.report import System
from recmesh.features import Segment
from recmesh.releases import ModelStore
from tests.train.conftest import inside
from tests.train.serving import Serving, Stored
from tests.train.shapes import (
    CATEGORICAL,
    DAY_MS,
    MULTI,
    NUMERIC,
    Shape,
    around,
    colour,
    constant,
    exactly,
    make,
    number,
    tags,
)

_TOWN, _COLOUR = {"town": (CATEGORICAL, colour)}, {"colour": (CATEGORICAL, colour)}
SHAPES = {
    "other fields, some without information, and one user with thousands of actions": Shape(
        users=80,
        items=120,
        each=around(10),
        user_fields={
            "member level": (CATEGORICAL, colour),
            "income": (NUMERIC, number),
            "hobbies": (MULTI, tags),
            "planet": (CATEGORICAL, constant("earth")),
        },
        item_fields={
            "colour": (CATEGORICAL, colour),
            "weight": (NUMERIC, number),
            "tags": (MULTI, tags),
            "price": (NUMERIC, constant("5")),
            "void": (CATEGORICAL, constant("")),
        },
        kinds={"view": 0.1, "like": 0, "order": 3},
        giant=3000,
    ),
    "no fields at all, 100 items, days only": Shape(80, 100, around(10), granularity=DAY_MS, repeat=0.3),
    "one action a user": Shape(300, 100, exactly(1), user_fields=_TOWN, item_fields=_COLOUR),
    "four actions a user, no user fields, only new items": Shape(
        120, 100, exactly(4), item_fields=_COLOUR, repeats=False
    ),
    "all actions on one day": Shape(
        80, 100, around(10), days=1, granularity=DAY_MS, user_fields=_TOWN, item_fields=_COLOUR
    ),
}

# Budgets in seconds. A generous one must lead to optional steps, and a tiny one must not.
PLENTY, NOTHING = 600.0, 1e-3
BUDGETS = {"all actions on one day": PLENTY, "four actions a user, no user fields, only new items": NOTHING}
OPTIONAL = {"loss of the wide part", "training windows"}

_TRAIN = """
import json, sys
from pathlib import Path
from jobs.train.selection.budget import Budget
from jobs.train.pipeline import train
from recmesh.progress import Reporter
from recmesh.releases import ModelStore
print(json.dumps([train(Path(folder) / "data", ModelStore(f"{folder}/store"), Path(folder), 1, Reporter(),
    Budget(float(budget) or None)).release for folder, budget in zip(sys.argv[1::2], sys.argv[2::2])]))
"""

_WEIGHTS = {"recall@10": 1.0, "recall@100": 0.5, "ndcg@10": 1.0}


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """For each shape the folders of its data set and release. All are trained in one process."""
    folders = {name: tmp_path_factory.mktemp("shape") for name in SHAPES}
    for name, shape in SHAPES.items():
        make(shape, folders[name] / "data")
    arguments = [str(part) for name, folder in folders.items() for part in (folder, BUDGETS.get(name, 0))]
    trained = inside(_TRAIN, *arguments)
    return {
        name: (folder / "data", ModelStore(str(folder / "store")).fetch(release, folder / "fetched"))
        for (name, folder), release in zip(folders.items(), trained, strict=True)
    }


@pytest.mark.parametrize("name", SHAPES)
async def test_every_user_gets_a_list(name: str, releases: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    data, release = releases[name]
    serving, stored = Serving(release), Stored(data, tmp_path / "rejects.csv")
    items, repeats = set(stored.items), SHAPES[name].repeats
    longest = max(stored.histories, key=lambda user_id: len(stored.histories[user_id]))
    known = [(user_id, stored.histories[user_id]) for user_id in (*list(stored.histories)[:5], longest)]
    new = [(user_id, b"") for user_id in list(stored.users)[:5]]
    for user_id, history in known + new:
        for new_only in (False, True):
            user = stored.users[user_id]
            found = await serving.candidates(user, history, new_only)
            seen = stored.seen[user_id] if history and (new_only or not repeats) else set()
            assert len(set(found)) == len(found) >= min(50, len(items - seen))
            assert set(found) <= items - seen
            ranked = await serving.ranked(user, history, new_only, found)
            assert sorted(item for item, _ in ranked) == sorted(found)
            assert all(abs(score) < 1e3 for _, score in ranked)


@pytest.mark.parametrize("name", SHAPES)
def test_no_baseline_is_clearly_better(name: str, releases: dict[str, tuple[Path, Path]]) -> None:
    report = Report.parse((releases[name][1] / "metrics.json").read_bytes(), name)
    segments: set[Segment] = {"cold"} if name == "one action a user" else {"cold", "novel"}
    assert set(report.segments) == segments | ({"repeat"} if SHAPES[name].repeats and len(segments) > 1 else set())
    for segment in report.segments.values():
        simple = [system for system in segment.systems if system.name not in ("chain", "item_cf", "ease")]
        assert {"popularity", "merged", "channel two_tower", "channel popular"} <= {system.name for system in simple}
        for system in simple:
            gain, error = objective_gain(system)
            assert gain >= -margin(error), (system.name, gain, error)


@pytest.mark.parametrize("system", ["merged", "popularity", "channel two_tower", "channel popular"])
def test_over_all_shapes_the_chain_is_better(system: str, releases: dict[str, tuple[Path, Path]]) -> None:
    """One shop has too few lists to show it."""
    gains, errors = [], []
    for name, (_, release) in releases.items():
        report = Report.parse((release / "metrics.json").read_bytes(), name)
        found = [
            objective_gain(other)
            for segment in report.segments.values()
            for other in segment.systems
            if other.name == system
        ]
        gains.append(sum(gain for gain, _ in found))
        errors.append(sum(error for _, error in found))  # segments share users, so their errors may be correlated
    assert sum(gains) > math.hypot(*errors)  # an upper bound of the standard error


def objective_gain(system: System) -> tuple[float, float]:
    """The chain's gain over a system in the objective of training, and an upper bound of its standard error."""
    gain = sum(weight * system.gain[metric].mean for metric, weight in _WEIGHTS.items())
    error = sum(weight * system.gain[metric].error for metric, weight in _WEIGHTS.items())
    return gain, error


@pytest.mark.parametrize("name", SHAPES)
def test_optional_steps_run_only_within_a_budget(name: str, releases: dict[str, tuple[Path, Path]]) -> None:
    report = Report.parse((releases[name][1] / "metrics.json").read_bytes(), name)
    for segment in report.segments.values():
        (deep,) = (decision for decision in segment.decisions if decision.what == "share of the deep part")
        assert deep.chosen == "0" and deep.rule.startswith("not trained: fewer than 200 held-out lists")
        optional = [decision for decision in segment.decisions if decision.what in OPTIONAL]
        if BUDGETS.get(name) == NOTHING:
            assert {decision.what for decision in optional} == OPTIONAL
            assert all("was over" in decision.rule and not decision.tried for decision in optional)
        elif BUDGETS.get(name) == PLENTY:
            assert all(len(decision.tried) == 2 and decision.chosen in decision.tried for decision in optional)
        else:
            assert not optional
    if BUDGETS.get(name) == PLENTY:
        decisions = [decision for segment in report.segments.values() for decision in segment.decisions]
        assert any(decision.what in OPTIONAL for decision in decisions)
