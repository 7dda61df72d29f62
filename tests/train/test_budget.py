"""`--budget`: the time limit for optional steps, and the options that are kept."""

from pathlib import Path
from typing import Any

import pytest

from jobs.train.selection.budget import Budget
from recmesh.errors import SettingsError
from tests.train.conftest import inside, train


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1h", 3600), ("", None)])
def test_a_budget_is_a_duration(text: str, seconds: float | None) -> None:
    assert Budget.parse(text).seconds == seconds


@pytest.mark.parametrize("text", ["soon", "10", "m", "-1m", "0s", "1.5h", "10 m"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="write for example"):
        Budget.parse(text)


def test_the_command_reports_a_wrong_budget_in_a_single_line(tmp_path: Path) -> None:
    run = train(tmp_path / "none", tmp_path / "store", "--budget", "soon")
    assert run.code == SettingsError.exit_code
    assert run.errors.startswith("train: budget 'soon' is not a duration") and run.errors.count("\n") == 1


# Four choices with known gains at two cut-offs, offered with enough time and without time; and the wide part, fitted
# with both losses to rows whose first input raises the probability of an item, whose second input lowers it, and whose
# third input has no influence.
_CHOICES = """
import json
from dataclasses import replace
import numpy as np
from jobs.train.models import wide
from jobs.train.selection.budget import Budget
from jobs.train.selection.choices import Choice, Setting, improved
from jobs.train.data.rows import Rows
rng = np.random.default_rng(1)
base, noise = rng.random((200, 3)), np.resize([1.0, -1.0], 200)[:, None]
gains = {"better": (0.05, 0.05), "better once": (0.1, -0.01), "noise": (0.001, 0.001), "best": (0.2, 0.2)}
def with_input(name):
    return lambda setting: replace(setting, used=np.append(setting.used, name))
offered = [Choice(name, "usual", "other", with_input(name)) for name in gains]
def figures(setting):
    return [base + sum((gains[n][cutoff] + 0.1 * noise * (n == "noise") for n in setting.used), np.zeros((200, 1)))
        for cutoff in (0, 1)]
answers = {}
for name, budget in (("time", Budget(600)), ("none", Budget(1e-6))):
    setting, decisions = improved(Setting(np.empty(0, object)), offered, figures, budget)
    answers[name] = [list(setting.used), [decision.model_dump() for decision in decisions]]
dense = rng.normal(size=(4000, 3)).astype(np.float32)
labels = (rng.random(4000) < 1 / (1 + np.exp(1 - 2 * dense[:, 0] + 2 * dense[:, 1]))).astype(np.float32)
start, ones = np.arange(0, 4001, 40), np.ones(100, np.float32)
rows = Rows(dense, np.zeros((4000, 1), np.int64), labels, start, ones, np.zeros(100, np.int32))
for loss in (wide.LISTWISE, wide.POINTWISE):
    bounded = wide.Fit(rows, (True, True, False))(np.array([True, True, True]), wide.PARAMETERS.penalties[0], loss)
    free = wide.Fit(rows, (False, False, False))(np.array([True, True, False]), wide.PARAMETERS.penalties[0], loss)
    answers[loss] = [bounded.weights.tolist(), free.weights.tolist()]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    found: dict[str, Any] = inside(_CHOICES)
    return found


def test_options_that_are_clearly_better_at_both_cutoffs_are_kept(answers: dict[str, Any]) -> None:
    used, decisions = answers["time"]
    assert used == ["better", "best"]
    assert [decision["chosen"] for decision in decisions] == ["other", "usual", "usual", "other"]
    assert all(set(decision["tried"]) == {"usual", "other"} for decision in decisions)
    # Each option is compared with all that were kept before it.
    assert decisions[3]["tried"]["usual"] == pytest.approx(decisions[0]["tried"]["other"])


def test_without_time_the_default_is_kept_and_the_rule_says_why(answers: dict[str, Any]) -> None:
    used, decisions = answers["none"]
    assert used == []
    assert {decision["chosen"] for decision in decisions} == {"usual"}
    assert all("time" in decision["rule"] and not decision["tried"] for decision in decisions)


@pytest.mark.parametrize("loss", ["listwise", "pointwise"])
def test_both_losses_find_the_informative_inputs(loss: str, answers: dict[str, Any]) -> None:
    (first, second, third), free = answers[loss]
    assert first > 0.5 and second == 0 and abs(third) < 0.2
    assert free[0] > 0.5 and free[1] < -0.5 and free[2] == 0


_GAINS = """
import json
import numpy as np
from jobs.train.selection.choices import gain
noise = np.resize([1.0, -1.0], 400)
def at_cutoff(*means):
    return np.stack([mean + 0.2 * noise for mean in means], 1)  # standard errors of 0.01
print(json.dumps({
    "better": gain([at_cutoff(0.03, 0.04, 0.02)]),
    "within its error": gain([at_cutoff(0.03, 0.04, -0.005)]),
    "clearly lower": gain([at_cutoff(0.03, 0.04, -0.02)]),
    "better twice": gain([at_cutoff(0.03, 0.04, 0.02), at_cutoff(0.05, 0.06, 0.04)]),
    "lower once": gain([at_cutoff(0.05, 0.05, 0.05), at_cutoff(0.03, 0.03, -0.005)]),
    "clearly lower once": gain([at_cutoff(0.05, 0.05, 0.05), at_cutoff(0.03, 0.03, -0.02)]),
    "noise": gain([at_cutoff(0.005, 0.005, 0.005)]),
}))
"""


def test_a_gain_must_exceed_its_standard_error_and_lower_no_metric_clearly() -> None:
    gains = inside(_GAINS)
    assert gains["better"] == pytest.approx(0.03 + 0.04 / 2 + 0.02)
    assert gains["within its error"] == pytest.approx(0.03 + 0.04 / 2 - 0.005)
    assert gains["better twice"] == pytest.approx(0.04 + 0.05 / 2 + 0.03)
    assert gains["lower once"] == 0  # with several cut-offs, no loss is accepted
    assert (gains["clearly lower"], gains["clearly lower once"], gains["noise"]) == (0, 0, 0)
