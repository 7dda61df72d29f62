"""Only positive actions are taught: in popularity, lifts, neighbours, the two-tower model, and as labels."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.conftest import inside

_SCHEMA = """\
user: {{id: user, fields: {{age: {{kind: categorical}}}}}}
item: {{id: item, fields: {{cate: {{kind: categorical}}}}}}
action: {{user: user, item: item, time: day, type: kind, value: {value}, weights: {{order: 1, like: 0}}}}
"""

# What is taught of every item, at the time of the release.
_TAUGHT = """
import json, sys
from pathlib import Path
import numpy as np
from jobs.train.data import counts, statistics
from jobs.train.data.prepare import prepare
from jobs.train.data.rows import wanted_items
from jobs.train.data.windows import plan
from jobs.train.models.tower_parameters import PARAMETERS
from jobs.train.models.visits import Visits, positive
from recmesh.dataset import read
found = {}
for folder in map(Path, sys.argv[1:]):
    data = prepare(read(folder))
    windows = plan(data, 1)
    spec = data.spec.model_copy(update={"popularities": counts.OWN_ORDER})
    known = statistics.build(data, spec, data.start[1:], data.spec.as_of)
    neighbours = {int(item) for lists in (known.cosine, known.ridge) for item in lists.items}
    neighbours |= set(np.flatnonzero(np.diff(known.cosine.start)).tolist())
    first = Visits.of(data, *positive(data, data.start[1:]), PARAMETERS, by_visit=False)
    wanted = {int(item) for window in windows.windows for user in window.labelled()
              for segment in ("novel", "repeat", "cold") for item in wanted_items(data, window, int(user), segment)}
    found[folder.name] = {sku: {
        "popularity": known.popularity[item].tolist(),
        "buyers": float(known.buyers[item]),
        "lifts": int((known.lift_items == item).sum()),
        "neighbours": item in neighbours,
        "targets": int((first.items == item).sum()),
        "weights": first.weights[first.items == item].tolist(),
        "wanted": item in wanted,
    } for item, sku in enumerate(data.catalogue.sku_ids)} | {"none": known.popularity[-1].tolist()}
print(json.dumps(found))
"""

NEGATIVE, RETURNED, LIKED, KEPT, NOBODY = "negative", "returned", "liked", "kept", "nobody"


def _write(folder: Path, value: str, ratings: bool = False) -> Path:
    """Write a data set in which 40 users act on all items, and on four of them in a special way."""
    folder.mkdir()
    (folder / "schema.yaml").write_text(_SCHEMA.format(value=value))
    (folder / "users.csv").write_text("user,age\n" + "".join(f"{user},{user % 3}\n" for user in range(40)))
    items = [NEGATIVE, RETURNED, LIKED, KEPT, NOBODY, *map(str, range(12))]
    (folder / "products.csv").write_text("item,cate\n" + "".join(f"{item},{len(item) % 2}\n" for item in items))
    rng, rows = random.Random(1), list[tuple[int, str, int, str, int]]()
    for user in range(40):
        for item in range(12):
            rows.append((user, str(item), rng.randint(1, 27), "order", 5 if ratings else 1))
        day = rng.randint(1, 26)
        rows += [(user, NEGATIVE, day, "order", 1 if ratings else -1), (user, LIKED, day, "like", 5)]
        if not ratings:
            rows += [(user, RETURNED, day, "order", 2), (user, RETURNED, day + 1, "order", -2)]
        rows.append((user, KEPT, day, "order", 7))
    lines = (f"{user},{item},2024-01-{day:02},{kind},{value}\n" for user, item, day, kind, value in rows)
    (folder / "actions.csv").write_text("user,item,day,kind,quantity\n" + "".join(lines))
    return folder


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("values")
    sets = [
        _write(folder / "quantities", "quantity"),
        _write(folder / "ratings", '{column: quantity, positive: ">= 4"}', ratings=True),
        _write(folder / "weighted", "quantity, weight_by: value", ratings=True),
        _write(folder / "alike", "quantity", ratings=True),
    ]
    found: dict[str, Any] = inside(_TAUGHT, *map(str, sets))
    return found


@pytest.mark.parametrize(
    ("dataset", "item"),
    [
        ("quantities", NEGATIVE),
        ("quantities", RETURNED),
        ("quantities", LIKED),
        ("ratings", NEGATIVE),
        ("ratings", LIKED),
    ],
)
def test_an_item_without_positive_actions_is_taught_like_one_without_actions(
    dataset: str, item: str, taught: dict[str, Any]
) -> None:
    nothing = taught[dataset]["none"]
    assert taught[dataset][item] == taught[dataset][NOBODY]
    assert taught[dataset][item] == {
        "popularity": nothing,
        "buyers": 0,
        "lifts": 0,
        "neighbours": False,
        "targets": 0,
        "weights": [],
        "wanted": False,
    }


def test_items_with_positive_actions_are_taught(taught: dict[str, Any]) -> None:
    kept = taught["quantities"][KEPT]
    assert (kept["buyers"], kept["lifts"], kept["targets"], kept["neighbours"], kept["wanted"]) == (
        40,
        3,
        40,
        True,
        True,
    )
    assert kept["weights"] == [1] * 40
    assert kept["popularity"][0] > taught["quantities"]["none"][0]


def test_by_default_a_low_rating_is_taught_like_a_high_one(taught: dict[str, Any]) -> None:
    low, high = (taught["alike"][item]["popularity"][0] for item in (NEGATIVE, KEPT))
    assert low == high
    assert taught["alike"][NEGATIVE]["buyers"] == 40


def test_weighted_by_value_a_low_rating_counts_less(taught: dict[str, Any]) -> None:
    # 12 items at 5, one at 1 and one at 7, each 40 times: log2(1 + value) is 2.585, 1 and 3.
    mean = (12 * np.log2(6) + np.log2(2) + np.log2(8)) / 14
    low, high = taught["weighted"][NEGATIVE], taught["weighted"][KEPT]
    assert low["weights"] == pytest.approx([1 / mean] * 40)
    assert high["weights"] == pytest.approx([3 / mean] * 40)
    mass = 40 * np.array([1, 3]) / mean
    ratio = np.log((mass[1] + 1) / (mass[0] + 1))
    assert high["popularity"][0] - low["popularity"][0] == pytest.approx(ratio, abs=1e-5)
