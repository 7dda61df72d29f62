"""Assembles the report from the held-out lists of every segment and the facts of the training."""

import resource
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from jobs.train.data.prepare import Prepared
from jobs.train.data.windows import Plan, Role, Window
from jobs.train.export.release import Trained
from jobs.train.report import new_items
from jobs.train.report.ablation import ablation
from jobs.train.report.calibration import calibrate
from jobs.train.report.examples import Examples
from jobs.train.report.exposure import exposures
from jobs.train.report.figures import chain_of, channel_parts, compared, kinds, systems
from jobs.train.report.page import page
from jobs.train.report.scenarios import scenario_report
from jobs.train.report.times import formatted, span
from recmesh.dataset import DataSet
from recmesh.evaluation import METRICS_FILE, PAGE_FILE, Report
from recmesh.evaluation.report import ActiveFacts, Cost, SegmentReport, WindowFacts
from recmesh.features import Segment
from recmesh.releases.versions import TRAINING_VERSION

_KIB_PER_MIB = 1024
"""Linux reports resident memory in KiB."""


@dataclass(frozen=True)
class Sources:
    """What the report is made from.

    Attributes:
        dataset: The data set.
        plan: The windows.
        trained: The results of the training.
        active: Facts about the active release, None without one.
        seed: The random seed.
        began: time.monotonic() at the start of the training.
    """

    dataset: DataSet
    plan: Plan
    trained: Trained
    active: ActiveFacts | None
    seed: int
    began: float


def write(sources: Sources, folder: Path, release: str) -> Report:
    """Write metrics.json and report.html into the folder of a release, and return the report."""
    began = time.monotonic()
    segments: dict[str, SegmentReport] = {segment: _segment(sources, segment) for segment in sources.trained.judged}
    of_new_items = new_items.evaluate(sources.trained.data, sources.trained.encoder.spec, sources.plan, sources.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = Report(
        release=release,
        facts=_facts(sources),
        windows=tuple(_window(sources.trained.data, window) for window in sources.plan.windows),
        active=sources.active,
        cost=Cost(
            seconds=round(time.monotonic() - sources.began, 1),
            report_seconds=round(time.monotonic() - began, 1),
            peak_mib=round(peak / _KIB_PER_MIB),
        ),
        segments=segments,
        new_items=of_new_items,
        scenarios={name: scenario_report(name, measured) for name, measured in sources.trained.measured.items()},
    )
    (folder / METRICS_FILE).write_text(report.model_dump_json(indent=1), encoding="utf-8")
    (folder / PAGE_FILE).write_text(page(report), encoding="utf-8")
    return report


_USES = {
    Role.TRAINING: "training",
    Role.EARLY: "training, evaluation of options",
    Role.FOLD: "training, evaluation of options",
    Role.OVERLAPPING: "final fit only",
    Role.HELD_OUT: "held-out evaluation",
}


def _segment(sources: Sources, segment: Segment) -> SegmentReport:
    trained = sources.trained
    observed, judged, spec = trained.observed[segment], trained.judged[segment], trained.encoder.spec
    chain = chain_of(judged, observed)
    calibration = calibrate(judged.scores, [candidates.labels for candidates in observed.found])
    against, compared_users = compared(chain, observed)
    examples = Examples(sources.dataset, trained.data, spec)
    return SegmentReport(
        window=observed.window.name,
        users=len(observed.found),
        systems=tuple(systems(chain, observed)),
        compared=against,
        compared_users=compared_users,
        kinds=tuple(kinds(chain, observed, spec.clock)),
        channels=tuple(channel_parts(observed, spec.channels[segment])),
        exposure=tuple(exposures(chain, observed)),
        calibration=calibration,
        groups=tuple(ablation(spec, judged, observed)),
        # If all options have the same figure, there was nothing to choose.
        decisions=tuple(decision for decision in judged.decisions if len(set(decision.tried.values())) != 1),
        examples=tuple(examples(chain, judged, observed, calibration)),
    )


def _facts(sources: Sources) -> dict[str, str]:
    dataset, data, spec = sources.dataset, sources.trained.data, sources.trained.encoder.spec
    fields = (f"{field.name} ({field.kind})" for field in (*spec.user_fields, *spec.item_fields))
    return {
        "trained": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "data": f"{len(dataset.users):,} users, {len(dataset.items):,} items, {len(data.items):,} actions",
        "times": span(int(data.times.min()), int(data.times.max())),
        "fields": ", ".join(fields) or "none",
        "repeats": "items that a user acted on may be recommended again" if spec.repeats else "new items only",
        "windows": "split by date" if sources.plan.clock else "split by position in each user's history",
        "fingerprint of the data": dataset.fingerprint,
        "training version": str(TRAINING_VERSION),
        "seed": str(sources.seed),
    }


def _window(data: Prepared, window: Window) -> WindowFacts:
    labelled = window.labelled()
    first = data.times[window.begin[labelled]]
    last = data.times[window.until[labelled] - 1]
    return WindowFacts(
        name=window.name,
        known_until=formatted(window.as_of),
        labels=span(int(first.min()), int(last.max())) if len(labelled) else "none",
        users=len(labelled),
        used_for=_USES[window.role],
    )
