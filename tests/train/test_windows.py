"""Windows: what is known, what is asked, and what they may be used for."""

import itertools
from pathlib import Path

import pytest

from tests.train.conftest import inside, write

_PLAN = """
import json, sys
from pathlib import Path
import numpy as np
from jobs.train.data.prepare import prepare
from jobs.train.data.windows import plan
from recmesh.dataset import read
data = prepare(read(Path(sys.argv[1]), rejects=Path(sys.argv[2])))
chosen = plan(data, 1)
print(json.dumps({"clock": chosen.clock, "hidden": int(chosen.hidden.sum()), "as_of": data.spec.as_of,
    "first": int(data.times.min()), "windows": [{
    "moment": one.as_of, "cold": one.cold, "held_out": one.held_out, "late": one.late,
    "apart": one.apart,
    "users": one.labelled().tolist(),
    "known": int((one.known - data.start[:-1])[one.labelled()].sum()),
    "last": int(max(data.times[end - 1] for end in one.until[one.labelled()])),
} for one in chosen.windows]}))
"""


def test_labels_last_a_quarter_of_the_time_and_only_late_ones_reach_into_the_held_out(
    shop_data: Path, tmp_path: Path
) -> None:
    plan = inside(_PLAN, str(shop_data), str(tmp_path / "rejects.csv"))
    assert plan["clock"]
    warm = [one for one in plan["windows"] if not one["cold"]]
    moments = [one["moment"] for one in warm]
    day = 86_400_000
    week = 7 * day
    length, span = plan["as_of"] - moments[-1], plan["as_of"] - plan["first"]
    assert length == round(min(span / 4, 4 * week) / week) * week
    assert len(moments) == 16
    assert {later - earlier for earlier, later in itertools.pairwise(moments)} == {round(span / 32 / day) * day}
    assert [one["held_out"] for one in warm] == [False] * 15 + [True]
    late = [one["moment"] for one in warm if one["late"]]
    assert late == [moment for moment in moments[:-1] if moment + length > moments[-1]]
    assert all(one["last"] < moments[-1] for one in warm[:-1] if not one["late"])


def test_by_position_every_user_is_hidden_in_one_cold_window(tmp_path: Path) -> None:
    actions = [(str(user), str((user + step) % 40), "2024-01-01") for user in range(50) for step in range(12)]
    data = write(tmp_path / "data", actions, users=50, items=40)
    plan = inside(_PLAN, str(data), str(tmp_path / "rejects.csv"))
    assert not plan["clock"]
    assert plan["hidden"] == 0
    cold = [one for one in plan["windows"] if one["cold"]]
    assert sorted(user for one in cold for user in one["users"]) == list(range(50))
    assert [one["known"] for one in cold] == [0] * len(cold)
    assert [one["held_out"] for one in cold] == [False] * 4 + [True]
    assert [one["apart"] for one in cold] == [True] * 4 + [False]  # so each user is judged by a fit to the others
    assert not any(one["apart"] for one in plan["windows"] if not one["cold"])


_POPULARITY = """
import json, sys
from pathlib import Path
import numpy as np
from jobs.train.data import statistics
from jobs.train.data.prepare import prepare
from recmesh.dataset import read
data = prepare(read(Path(sys.argv[1]), rejects=Path(sys.argv[2])))
spec = data.spec.model_copy(update={"popularities": statistics.OWN_ORDER})
found = statistics.build(data, spec, data.start[1:], data.spec.as_of).popularity
item = dict(zip(data.catalogue.sku_ids, np.exp(found[:-1])))
names = [one.name for one in spec.popularities]
print(json.dumps({sku: dict(zip(names, item[sku].tolist())) for sku in ("0", "1")}))
"""


def test_even_popularity_counts_users_alike_and_root_popularity_by_the_root_of_how_often_they_acted(
    tmp_path: Path,
) -> None:
    """Item 0 is wanted by one user of sixteen actions, item 1 by 35 users of one."""
    actions = [("0", str(item), "2024-01-01") for item in (0, *range(2, 17))]
    actions += [(str(user), "1", "2024-01-01") for user in range(1, 36)]
    data = write(tmp_path / "data", actions, users=36, items=17)
    found = inside(_POPULARITY, str(data), str(tmp_path / "rejects.csv"))
    # Shares of 51 actions, each item with one more: a user of 16 weighs 1/16 an action, or 1/4 by the root.
    for name, weight in (("all", 1.0), ("root", 1 / 4), ("even", 1 / 16)):
        scale = 51 / (16 * weight + 35)
        assert found["0"][name] == pytest.approx((1 + scale * weight) / (51 + 17), rel=1e-4)
        assert found["1"][name] == pytest.approx((1 + scale * 35) / (51 + 17), rel=1e-4)
