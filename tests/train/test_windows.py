"""Windows: what is known, what is asked, and what they may be used for."""

import itertools
from pathlib import Path

from tests.train.conftest import inside, write

_PLAN = """
import json, sys
from pathlib import Path
import numpy as np
from jobs.train.prepare import prepare
from jobs.train.windows import plan
from recmesh.dataset import read
data = prepare(read(Path(sys.argv[1]), rejects=Path(sys.argv[2])))
chosen = plan(data, 1)
print(json.dumps({"clock": chosen.clock, "hidden": int(chosen.hidden.sum()), "as_of": data.spec.as_of, "windows": [{
    "moment": one.as_of, "cold": one.cold, "held_out": one.held_out, "late": one.late,
    "users": one.labelled().tolist(),
    "known": int((one.known - data.start[:-1])[one.labelled()].sum()),
    "last": int(max(data.times[end - 1] for end in one.until[one.labelled()])),
} for one in chosen.windows]}))
"""


def test_moments_lie_half_a_length_apart_and_only_late_ones_reach_into_the_held_out_labels(
    shop_data: Path, tmp_path: Path
) -> None:
    plan = inside(_PLAN, str(shop_data), str(tmp_path / "rejects.csv"))
    assert plan["clock"]
    warm = [one for one in plan["windows"] if not one["cold"]]
    moments = [one["moment"] for one in warm]
    length = plan["as_of"] - moments[-1]
    assert len(moments) == 8
    assert {later - earlier for earlier, later in itertools.pairwise(moments)} == {length // 2}
    assert [one["held_out"] for one in warm] == [False] * 7 + [True]
    assert [one["late"] for one in warm] == [one["last"] >= moments[-1] and not one["held_out"] for one in warm]
    assert sum(one["late"] for one in warm) == 1


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
