"""The split of a data set: without times, a random fifth of each user's actions is held out."""

import csv
from pathlib import Path

import numpy as np
import pytest

from recmesh.dataset import read
from recmesh.evaluation.split import split


def write(folder: Path, time: str) -> Path:
    """Write 20 random items for each of 100 users, whose ids come from the actions, all on one day."""
    folder.mkdir()
    (folder / "schema.yaml").write_text(f"action: {{user: user, item: item{time}}}\n")
    rng = np.random.default_rng(1)
    rows = [f"{user:03},{item:03},2024-01-01" for user in range(100) for item in rng.permutation(300)[:20].tolist()]
    (folder / "actions.csv").write_text("\n".join(["user,item,at", *rows]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("time", "rule"),
    [
        ("", "a random fifth of each user's actions is held out"),
        (", time: at", "cut at 80 % of each user's own actions"),
    ],
)
def test_held_out_actions_of_equal_times_say_nothing_about_ids(tmp_path: Path, time: str, rule: str) -> None:
    done = split(read(write(tmp_path / "shop", time)), tmp_path / "out", seed=1)
    assert (done.rule, done.train) == (rule, 90 * 16)
    with (tmp_path / "out" / "truth_novel.csv").open(newline="") as file:
        truth = [int(row["sku_id"]) for row in csv.DictReader(file)]
    # 360 of 1,800 items drawn from 0 to 299: mean 149.5, standard deviation 86.6.
    assert len(truth) == 90 * 4
    assert np.mean(truth) == pytest.approx(149.5, abs=4 * 86.6 / 360**0.5)
    train = read(tmp_path / "out" / "train")
    assert (train.schema.action.time is None) == (not time)
    assert train.actions.height == 90 * 16
