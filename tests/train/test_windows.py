"""Windows: the known actions, the labels, and the roles."""

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
    "cutoff": window.as_of, "cold": window.cold, "role": window.role.value,
    "users": window.labelled().tolist(),
    "known": int((window.known - data.start[:-1])[window.labelled()].sum()),
    "last": int(max(data.times[end - 1] for end in window.until[window.labelled()])),
} for window in chosen.windows]}))
"""


def test_labels_cover_a_quarter_of_the_time_span_and_only_overlapping_ones_reach_the_held_out_labels(
    shop_data: Path, tmp_path: Path
) -> None:
    plan = inside(_PLAN, str(shop_data), str(tmp_path / "rejects.csv"))
    assert plan["clock"]
    warm = [window for window in plan["windows"] if not window["cold"]]
    cutoffs = [window["cutoff"] for window in warm]
    day = 86_400_000
    week = 7 * day
    end = -(-plan["as_of"] // day) * day  # cut-offs lie at midnight
    length, span = end - cutoffs[-1], end - plan["first"]
    assert length == round(min(span / 4, 4 * week) / week) * week
    assert len(cutoffs) == 16
    assert {later - earlier for earlier, later in itertools.pairwise(cutoffs)} == {round(span / 32 / day) * day}
    disjoint = [cutoff for cutoff in cutoffs if cutoff + length <= cutoffs[-1]]
    early = len(disjoint) // 2
    roles = ["early"] * early + ["training"] * (len(disjoint) - early)
    roles += ["overlapping"] * (15 - len(disjoint)) + ["held-out"]
    assert early > 0 and len(disjoint) < 15
    assert [window["role"] for window in warm] == roles
    assert [window["role"] for window in plan["windows"] if window["cold"]] == roles
    assert all(window["last"] < cutoffs[-1] for window in warm[: len(disjoint)])


def test_a_split_by_position_hides_every_user_in_one_cold_window(tmp_path: Path) -> None:
    actions = [(str(user), str((user + step) % 40), "2024-01-01") for user in range(50) for step in range(12)]
    data = write(tmp_path / "data", actions, users=50, items=40)
    plan = inside(_PLAN, str(data), str(tmp_path / "rejects.csv"))
    assert not plan["clock"]
    assert plan["hidden"] == 0
    cold = [window for window in plan["windows"] if window["cold"]]
    assert sorted(user for window in cold for user in window["users"]) == list(range(50))
    assert [window["known"] for window in cold] == [0] * len(cold)
    # Each user is evaluated with a fit to the other users.
    assert [window["role"] for window in cold] == ["fold"] * 4 + ["held-out"]
    warm = [window["role"] for window in plan["windows"] if not window["cold"]]
    assert warm == ["early", "training", "held-out"]


_POPULARITY = """
import json, sys
from pathlib import Path
import numpy as np
from jobs.train.data import counts, statistics
from jobs.train.data.prepare import prepare
from recmesh.dataset import read
data = prepare(read(Path(sys.argv[1]), rejects=Path(sys.argv[2])))
spec = data.spec.model_copy(update={"popularities": counts.OWN_ORDER})
found = statistics.build(data, spec, data.start[1:], data.spec.as_of).popularity
item = dict(zip(data.catalogue.sku_ids, np.exp(found[:-1])))
names = [popularity.name for popularity in spec.popularities]
print(json.dumps({sku: dict(zip(names, item[sku].tolist())) for sku in ("0", "1")}))
"""


def test_even_popularity_weighs_users_equally_and_root_popularity_by_the_root_of_their_number_of_actions(
    tmp_path: Path,
) -> None:
    """A user with sixteen actions wants item 0, and 35 users with a single action want item 1."""
    actions = [("0", str(item), "2024-01-01") for item in (0, *range(2, 17))]
    actions += [(str(user), "1", "2024-01-01") for user in range(1, 36)]
    data = write(tmp_path / "data", actions, users=36, items=17)
    found = inside(_POPULARITY, str(data), str(tmp_path / "rejects.csv"))
    # Shares of 51 actions, smoothed by 1 for each item. An action of the first user weighs 1/16, or 1/4 by the root.
    for name, weight in (("all", 1.0), ("root", 1 / 4), ("even", 1 / 16)):
        scale = 51 / (16 * weight + 35)
        assert found["0"][name] == pytest.approx((1 + scale * weight) / (51 + 17), rel=1e-4)
        assert found["1"][name] == pytest.approx((1 + scale * 35) / (51 + 17), rel=1e-4)
