"""Training stops with an error if features depend on the labels."""

import pytest

from tests.train.conftest import inside, orders, write

# Trains several times, each time with one part of the training replaced by a leaking one, and prints the errors. The
# leak is one more action of every user than is known, or all actions of a cold user.
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

build, fit, history_of, at = statistics.build, two_tower.TwoTower.fit, rows.history_of, windows._at_cutoff

def one_more(data, known):
    return known + (known < data.start[1:])

def statistics_with_label_actions(data, spec, known, as_of, *, with_lists=True):
    return build(data, spec, one_more(data, known), as_of, with_lists=with_lists)

def lists_with_label_actions(data, spec, known, as_of, *, with_lists=True):
    found, leaking = (build(data, spec, end, as_of, with_lists=with_lists) for end in (known, one_more(data, known)))
    return replace(found, cosine=leaking.cosine)

def statistics_with_cold_users(data, spec, known, as_of, *, with_lists=True):
    before = np.bincount(data.users[data.times < as_of], minlength=len(data.start) - 1)
    everyone = np.where(known == data.start[:-1], data.start[:-1] + before, known)
    return build(data, spec, everyone, as_of, with_lists=with_lists)

def towers_with_label_actions(self, data, known, effort, progress):
    fit(self, data, one_more(data, known), effort, progress)

def windows_with_known_cold_users(data, cutoff, end, hidden):
    warm, cold = at(data, cutoff, end, hidden)
    return warm, replace(cold, known=warm.known)

def history_with_label_actions(data, begin, end):
    return history_of(data, begin, end + 1)

folder, work = map(Path, sys.argv[1:])
errors = {}
for name, place, attribute, leaking in (
    ("statistics", statistics, "build", statistics_with_label_actions),
    ("lists", statistics, "build", lists_with_label_actions),
    ("statistics of cold users", statistics, "build", statistics_with_cold_users),
    ("towers", two_tower.TwoTower, "fit", towers_with_label_actions),
    ("cold window", windows, "_at_cutoff", windows_with_known_cold_users),
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
    ("plant", "message"),
    [
        ("statistics", "the statistics (popularity) include actions that are not known"),
        ("lists", "the neighbour lists include actions that are not known"),
        ("statistics of cold users", "cold: the statistics (popularity) include actions that are not known"),
        ("towers", "the two-tower model was trained on labels"),
        ("cold window", "cold: its known actions include labels"),
        ("history", "differs from the known actions"),
    ],
)
def test_a_planted_leak_ends_the_training(plant: str, message: str, errors: dict[str, str]) -> None:
    assert errors[plant].startswith("leak in the window 2024-01-")
    assert message in errors[plant]
    assert "\n" not in errors[plant]
