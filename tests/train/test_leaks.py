"""A training that sees what it is to predict stops, and says so."""

import pytest

from tests.train.conftest import inside, orders, write

# Trains again and again, each time with one part of the training replaced by a leaking one, and prints the errors that
# ended it. Label actions are one action more than known of every user; a cold user's own actions are all of them.
_PLANTED = """
import json, sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch
import numpy as np
from jobs.train import pipeline
from jobs.train.data import rows, statistics, windows
from jobs.train.models import two_tower
from recmesh.progress import Reporter
from recmesh.errors import LeakError
from recmesh.releases import ModelStore

build, fit, history_of, at = statistics.build, two_tower.TwoTower.fit, rows.history_of, windows._at

def one_more(data, known):
    return known + (known < data.start[1:])

def statistics_with_label_actions(data, spec, known, as_of, *, with_lists=True):
    return build(data, spec, one_more(data, known), as_of, with_lists=with_lists)

def lists_with_label_actions(data, spec, known, as_of, *, with_lists=True):
    found, leaking = (build(data, spec, one, as_of, with_lists=with_lists) for one in (known, one_more(data, known)))
    return replace(found, cosine=leaking.cosine)

def statistics_with_cold_users(data, spec, known, as_of, *, with_lists=True):
    before = np.bincount(data.users[data.times < as_of], minlength=len(data.start) - 1)
    everyone = np.where(known == data.start[:-1], data.start[:-1] + before, known)
    return build(data, spec, everyone, as_of, with_lists=with_lists)

def towers_with_label_actions(self, data, known, effort, progress):
    fit(self, data, one_more(data, known), effort, progress)

def windows_with_known_cold_users(data, moment, length, hidden, *how):
    warm, cold = at(data, moment, length, hidden, *how)
    return [replace(cold, known=warm.known), warm]

def history_with_label_actions(data, begin, end):
    return history_of(data, begin, end + 1)

folder, work = map(Path, sys.argv[1:])
errors = {}
for name, place, attribute, leaking in (
    ("statistics", statistics, "build", statistics_with_label_actions),
    ("lists", statistics, "build", lists_with_label_actions),
    ("cold statistics", statistics, "build", statistics_with_cold_users),
    ("towers", two_tower.TwoTower, "fit", towers_with_label_actions),
    ("cold window", windows, "_at", windows_with_known_cold_users),
    ("history", rows, "history_of", history_with_label_actions),
):
    with patch.object(place, attribute, leaking):
        try:
            pipeline.train(folder, ModelStore(str(work / "store")), work, 1, Reporter())
        except LeakError as error:
            errors[name] = str(error)
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("leaks")
    data = write(folder / "data", orders(60, 100, 8), 60, 100)
    found: dict[str, str] = inside(_PLANTED, str(data), str(folder))
    assert not (folder / "store" / "releases").exists()
    return found


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        ("statistics", "the statistics (popularity) have seen actions that are not known there"),
        ("lists", "the neighbour lists have seen actions that are not known there"),
        ("cold statistics", "cold: the statistics (popularity) have seen actions that are not known there"),
        ("towers", "the two-tower model was trained on actions that are asked for"),
        ("cold window", "cold: what is known of its users reaches into what is asked of them"),
        ("history", "is not what is known there"),
    ],
)
def test_a_planted_leak_ends_the_training(plant: str, said: str, errors: dict[str, str]) -> None:
    assert errors[plant].startswith("leak in the window 2024-01-")
    assert said in errors[plant]
    assert "\n" not in errors[plant]
