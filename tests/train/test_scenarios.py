"""Scenarios: what is counted, the figures of a training, and the same lists in the evaluation and in recall."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmesh.evaluation import Report
from recmesh.features import Encoder
from recmesh.features.encoder import FEATURES
from recmesh.pb.recall_pb2 import RecallRequest
from recmesh.retrieval.scenarios import LIST_SCENARIOS, REPEAT_INPUTS, Scenarios
from tests.train.conftest import inside
from tests.train.serving import Serving

# Two users. The first visits twice: items 0, 1, 2 (1 and 2 at the same time), then 1, 0. The second sees 2, 0.
_COUNTING = """
import json
import numpy as np
from jobs.train.data.co_occurrence import Occurrences, lists
from recmesh.retrieval.scenarios import Formula
found = {}
for scenario in ("related", "basket"):
    items, groups = np.array([0, 1, 2, 1, 0, 2, 0], np.int32), np.array([0, 0, 0, 1, 1, 2, 2])
    users, times = np.array([0, 0, 0, 0, 0, 1, 1], np.int32), np.array([1, 2, 2, 9, 10, 3, 4])
    seen = Occurrences(scenario, items, groups, users, times, 4)
    made, = lists(seen, [Formula(exponent=0.5, shrinkage=1)])
    by_item = [
        dict(zip(made.items[a:b].tolist(), made.scores[a:b].tolist())) for a, b in zip(made.start, made.start[1:])
    ]
    cases = seen.cases(np.random.default_rng(0), 9)
    found[scenario] = {
        "pairs": seen.pairs(np.arange(4)).toarray().tolist(),
        "some": seen.pairs(np.array([2])).toarray().tolist(),
        "lists": by_item,
        "cases": [[case.context.tolist(), case.wanted.tolist()] for case in cases],
    }
print(json.dumps(found))
"""

# The lists of the held-out window, with a release of what was known before it. The vectors are random: they only
# decide which items represent those without lists.
_EVALUATION = """
import json, sys
from pathlib import Path
import numpy as np
from jobs.train import pipeline
from jobs.train.data import statistics
from jobs.train.data.co_occurrence import Occurrences, lists
from jobs.train.data.prepare import prepare
from jobs.train.data.rows import Snapshot
from jobs.train.data.windows import plan
from jobs.train.selection import scenarios
from recmesh.dataset import read
from recmesh.features import Encoder
from recmesh.features.encoder import padded
from recmesh.retrieval import Scored
folder, work = map(Path, sys.argv[1:])
data = prepare(read(folder, rejects=work / "rejects.csv"))
windows = plan(data, 1)
spec = pipeline.feature_spec(data, windows)
training = scenarios.ScenarioTraining(data, windows.windows, 1)
vectors = np.random.default_rng(1).normal(size=(len(data.catalogue), spec.tower.dim)).astype(np.float32)
for window in filter(training.uses, windows.windows):
    known = statistics.build(data, spec, window.known, window.as_of)
    encoder = Encoder(
        spec, data.user_vocabularies, data.item_vocabularies, data.catalogue, known, padded(vectors)
    )
    training.observe(Snapshot(window, encoder, vectors, lambda users: None, Scored.none()))
rows, made, settings, found = data.known(window.known), {}, {}, {}
skus = np.array(data.catalogue.sku_ids, object)
for name, (chosen, _, _) in training._lists.items():
    settings[name] = chosen
    (made[name],) = lists(Occurrences.of(data, rows, name, chosen.groups), [chosen.formula])
    snapshot = Snapshot(window, encoder, vectors, None, Scored.none())
    cases = training._cases(snapshot, name, chosen.groups, scenarios.HELD_OUT_CASES)
    answers = training.measured[name].lists
    found[name] = [[skus[case.context].tolist(), skus[items].tolist()] for case, items in zip(cases, answers)]
repeat = training._repeat[0]
users = training._returning(Snapshot(window, encoder, vectors, None, Scored.none()))
found["repeat"] = []
for (user, _), items in zip(users, training.measured["repeat"].lists):
    past = user.history
    columns = {"sku_ids": skus[past.items].tolist(), "times": past.times.tolist(), "types": past.types.tolist(),
        "values": past.values.tolist(), "type_names": spec.action_types, "older_sku_ids": skus[past.older].tolist()}
    found["repeat"].append([columns, skus[items].tolist()])
settings = scenarios.ScenarioSettings(lists=settings, repeat=repeat)
encoder.save(work)
np.save(work / "item_vectors.npy", vectors)
scenarios.Scenarios(settings, made, scenarios._intervals(data, rows)).save(work / "features")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def report(release: Path) -> Report:
    return Report.parse((release / "metrics.json").read_bytes(), "metrics.json")


def test_related_counts_what_follows_and_basket_what_is_in_the_same_group() -> None:
    found = inside(_COUNTING)
    related, basket = found["related"], found["basket"]
    # 1 and 2 happened at once, so each follows the other; 1 and 2 follow 0; 0 follows 1 and, in another group, 2.
    assert related["pairs"] == [[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert related["some"] == [[1, 1, 0, 0]]
    together = np.array(basket["pairs"])
    assert together.tolist() == [[3, 2, 2, 0], [2, 2, 1, 0], [2, 1, 2, 0], [0, 0, 0, 0]]
    # By hand: 1 / (sqrt(3 * 2) + 1); an item does not go with itself, and 3 has no list.
    assert related["lists"][0] == {"1": pytest.approx(1 / (6**0.5 + 1)), "2": pytest.approx(1 / (6**0.5 + 1))}
    assert basket["lists"][1] == {"0": pytest.approx(2 / (6**0.5 + 1)), "2": pytest.approx(1 / 3)}
    assert related["lists"][3] == basket["lists"][3] == {}


def test_a_user_gives_one_case() -> None:
    found = inside(_COUNTING)
    possible = {"[0]": [1, 2], "[1]": [2, 0], "[2]": [1, 0]}
    assert len(found["related"]["cases"]) == len(found["basket"]["cases"]) == 2
    for context, wanted in found["related"]["cases"]:
        assert wanted and set(wanted) <= set(possible[str(context)])
    for context, wanted in found["basket"]["cases"]:
        assert context and wanted and not set(context) & set(wanted)


def test_the_report_has_the_figures_of_every_scenario(report: Report) -> None:
    assert set(report.scenarios) == {"related", "basket", "repeat"}
    for name, scenario in report.scenarios.items():
        assert scenario.cases >= 50
        served, *others = scenario.systems
        baseline = "frequency" if name == "repeat" else "item_cf"
        assert [served.name, others[0].name] == ["served", baseline]
        assert set(served.figures) == {"recall@10", "recall@20", "ndcg@10", "hit_rate@10", "hit_rate@20"}
        for other in others:
            for metric, gain in other.gain.items():
                assert gain.mean == pytest.approx(served.figures[metric] - other.figures[metric], abs=2e-5)
                assert gain.low <= gain.mean <= gain.high


def test_no_scenario_is_worse_than_its_baseline_beyond_noise(report: Report) -> None:
    for name, scenario in report.scenarios.items():
        assert scenario.replaced or scenario.systems[1].gain["ndcg@10"].high > 0, name
    popular = next(system for system in report.scenarios["related"].systems if system.name == "popular")
    assert popular.gain["ndcg@10"].mean > 0


def test_the_page_shows_every_scenario(release: Path) -> None:
    html = (release / "report.html").read_text(encoding="utf-8")
    assert '<a href="#scenarios">' in html
    assert [name for name in ("related", "basket", "repeat") if f"<h3>{name}</h3>" not in html] == []


def test_a_release_has_lists_from_all_its_actions(release: Path) -> None:
    made = Scenarios.load(release / FEATURES, len(Encoder.load(release).catalogue))
    assert set(made.lists) == set(LIST_SCENARIOS)
    assert made.settings.repeat is not None
    assert len(made.settings.repeat.weights) in (0, len(REPEAT_INPUTS))
    assert np.isfinite(made.intervals).all() and (made.intervals > 0).all()
    for name, lists in made.lists.items():
        assert (np.diff(lists.start) > 0).mean() > 0.5, name
        assert (lists.scores > 0).all()


@pytest.fixture(scope="module")
def evaluated(shop_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Serving, dict[str, Any]]:
    """recall with what was known before the held-out window, and the lists of the evaluation."""
    work = tmp_path_factory.mktemp("evaluated")
    found = inside(_EVALUATION, str(shop_data), str(work))
    return Serving(work), found


@pytest.mark.parametrize("scenario", LIST_SCENARIOS)
async def test_recall_gives_the_lists_of_the_evaluation(
    scenario: str, evaluated: tuple[Serving, dict[str, Any]]
) -> None:
    serving, found = evaluated
    assert len(found[scenario]) >= 50
    for context, expected in found[scenario]:
        served = await serving.recalled(RecallRequest(scenario=scenario, context_ids=context))
        assert served[: len(expected)] == expected


async def test_recall_gives_the_order_of_repeat_of_the_evaluation(evaluated: tuple[Serving, dict[str, Any]]) -> None:
    serving, found = evaluated
    assert len(found["repeat"]) >= 50
    for history, expected in found["repeat"]:
        served = await serving.recalled(RecallRequest(scenario="repeat", history=history))
        assert served[: len(expected)] == expected
