"""Trainings on small data sets that real shops have: they end with a release or with one clear sentence."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from recmesh.errors import ReleaseError
from recmesh.evaluation import Report
from recmesh.releases import ModelStore, beats_popularity
from recmesh.releases.checks import GAIN_ERRORS
from tests.train.conftest import inside

_TRAIN = """
import json, sys
from pathlib import Path
from jobs.train.pipeline import train
from recmesh.errors import DataError
from recmesh.progress import Reporter
from recmesh.releases import ModelStore

def outcome(folder):
    try:
        return train(folder / "data", ModelStore(str(folder / "store")), folder, 1, Reporter()).release
    except DataError as error:
        return str(error)

print(json.dumps([outcome(Path(folder)) for folder in sys.argv[1:]]))
"""

DAY = 86_400
START = 1_700_006_400  # a midnight
FAR = (START - 30 * 365 * DAY, START + 63 * 365 * DAY)

Rows = Sequence[tuple[int, int, int]]


class Outcome(NamedTuple):
    """The folder of a data set, and its release or the error."""

    folder: Path
    end: str


def noise(
    users: int, items: int, each: int, times: Sequence[int] = (START,), seed: int = 1
) -> list[tuple[int, int, int]]:
    """Draw distinct items for each user, all with the same chance, and any of the times."""
    rng = np.random.default_rng(seed)
    return [
        (user, item, times[int(rng.integers(len(times)))])
        for user in range(users)
        for item in rng.permutation(items)[:each].tolist()
    ]


def two_seasons() -> Rows:
    """Draw two seasons of 20 days, a year apart, and an action long before and long after them."""
    days = [START + day * DAY for day in (*range(20), *range(365, 385))]
    return [*noise(80, 60, 8, days), (3, 5, FAR[0]), (4, 6, FAR[1])]


def own_steps() -> Rows:
    """Number the actions of each user as days."""
    return [(user, item, START + number % 8 * DAY) for number, (user, item, _) in enumerate(noise(80, 60, 8))]


NOISE, MORE_NOISE = "noise without times", "noise for a deep ranker"
SETS: dict[str, Rows] = {
    NOISE: noise(190, 400, 12),
    "two seasons and strays": two_seasons(),
    "own steps": own_steps(),
    "ten users": noise(10, 12, 5),
    "always the same item": [(user, user % 10, START + number * DAY) for user in range(30) for number in range(6)],
    "too few": noise(9, 12, 6),
}


def write(folder: Path, rows: Rows, timed: bool) -> None:
    """Write a data set whose ids come from the actions."""
    folder.mkdir(parents=True)
    time = ", time: at, unit: s" if timed else ""
    (folder / "schema.yaml").write_text(f"action: {{user: user, item: item{time}}}\nrepeats: false\n")
    lines = [f"{user:03},{item:03},{time}" for user, item, time in rows]
    (folder / "actions.csv").write_text("\n".join(["user,item,at", *lines]) + "\n")


def outcomes_of(sets: Mapping[str, Rows], make_folder: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Train each data set, all in one process."""
    folders = {name: make_folder.mktemp("nasty") for name in sets}
    for name, rows in sets.items():
        write(folders[name] / "data", rows, timed=name not in (NOISE, MORE_NOISE))
    ended = inside(_TRAIN, *map(str, folders.values()))
    return {name: Outcome(folder, end) for (name, folder), end in zip(folders.items(), ended, strict=True)}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What becomes of each data set."""
    return outcomes_of(SETS, tmp_path_factory)


def report_of(outcome: Outcome) -> Report:
    """Return the report of the release."""
    folder, release = outcome
    return Report.parse(
        (ModelStore(f"{folder}/store").fetch(release, folder / "fetched") / "metrics.json").read_bytes(), release
    )


@pytest.mark.parametrize("name", [name for name in SETS if name != "too few"])
def test_there_is_a_release_that_was_evaluated(name: str, outcomes: dict[str, Outcome]) -> None:
    report = report_of(outcomes[name])
    assert "cold" in report.segments
    assert all(segment.users >= 5 for segment in report.segments.values())


def test_too_few_users_are_one_clear_sentence(outcomes: dict[str, Outcome]) -> None:
    folder, error = outcomes["too few"]
    assert error == f"{folder / 'data'}: 9 users with actions are too few; training needs at least 10"


def check_noise(outcome: Outcome) -> None:
    """Nobody can do better than chance, whatever the ids are."""
    store = ModelStore(f"{outcome.folder}/store")
    with pytest.raises(ReleaseError, match="does not beat popularity"):
        store.activate(outcome.end, [beats_popularity])
    for segment in report_of(outcome).segments.values():
        chain, popularity = segment.systems[0], next(s for s in segment.systems if s.name == "popularity")
        # Ten of the 400 items, of which a known user has seen 9.
        reached = chain.figures["recall@10"]
        assert reached.mean == pytest.approx(10 / 391, abs=3 * reached.error)
        gain = popularity.gain["recall@10"]
        assert abs(gain.mean) < GAIN_ERRORS * gain.error


def test_noise_is_not_activated(outcomes: dict[str, Outcome]) -> None:
    check_noise(outcomes[NOISE])


@pytest.mark.long
def test_noise_is_not_activated_with_a_deep_ranker(tmp_path_factory: pytest.TempPathFactory) -> None:
    check_noise(outcomes_of({MORE_NOISE: noise(300, 400, 12)}, tmp_path_factory)[MORE_NOISE])


def test_no_date_is_made_up_for_actions_without_times(outcomes: dict[str, Outcome]) -> None:
    folder, release = outcomes[NOISE]
    fetched = ModelStore(f"{folder}/store").fetch(release, folder / "fetched")
    assert "1970-01" not in (fetched / "metrics.json").read_text()
    assert "1970-01" not in (fetched / "report.html").read_text()
