"""`python -m benchmarks.scenarios FOLDER`: the lists of the scenarios against simpler ones, on held-out data.

It trains the scenarios alone, which takes a few minutes at most, and prints the figures of docs/scenarios.md.
Run it with the Python of the training environment. Items without a list are not represented by others here, which takes
the two-tower model.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from jobs.train.data import statistics
from jobs.train.data.prepare import prepare
from jobs.train.data.rows import Snapshot
from jobs.train.data.windows import plan
from jobs.train.pipeline import feature_spec
from jobs.train.report.scenarios import scenario_report
from jobs.train.selection.scenarios import ScenarioTraining
from recmesh.dataset import read
from recmesh.features import Encoder
from recmesh.features.spec import Floats
from recmesh.retrieval import Scored

_METRICS = ("recall@10", "recall@20", "ndcg@10", "hit_rate@10")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a data set")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        data = prepare(read(options.folder, rejects=Path(work) / "rejects.csv"))
    windows = plan(data, options.seed)
    spec = feature_spec(data, windows)
    training, seconds = ScenarioTraining(data, windows.windows, options.seed), 0.0
    none: Floats = np.empty((0, 0), np.float32)
    for window in filter(training.uses, windows.windows):
        known = statistics.build(data, spec, window.known, window.as_of)
        parts = (data.user_vocabularies, data.item_vocabularies, data.catalogue, known, none)
        began = time.process_time()
        training.observe(Snapshot(window, Encoder(spec, *parts), none, lambda users: none, Scored.none()))
        seconds += time.process_time() - began
    began = time.process_time()
    training.finish()
    seconds += time.process_time() - began
    print(f"{options.folder.name}: {seconds:.0f} s of CPU time besides the statistics of the windows")
    print(f"| scenario | cases | lists | {' | '.join(_METRICS)} | gain, recall@10 | gain, ndcg@10 |")
    print("|" + "---|" * (len(_METRICS) + 5))
    for name, measured in training.measured.items():
        report = scenario_report(name, measured)
        for system in report.systems:
            figures = " | ".join(f"{system.figures[metric]:.4f}" for metric in _METRICS)
            gains = (system.gain.get(metric) for metric in ("recall@10", "ndcg@10"))
            shown = " | ".join(
                f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" if gain else "" for gain in gains
            )
            print(f"| {name} | {report.cases:,} | {system.name} | {figures} | {shown} |")
        for decision in report.decisions:
            print(f"    {name}: {decision.chosen}{' (replaced by the baseline)' if report.replaced else ''}")


if __name__ == "__main__":
    main()
