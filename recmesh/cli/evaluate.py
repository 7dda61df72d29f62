"""`recmesh evaluate`: the metrics of a release, of lists in a file, or of logged answers; splits of a data set."""

import json
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from recmesh.cli.csv_files import read_pairs
from recmesh.cli.options import STORE, AsJson, StoreUrl
from recmesh.contract import without_credentials
from recmesh.errors import ReleaseError, SettingsError

if TYPE_CHECKING:
    from recmesh.evaluation import PredictionScores, Report
    from recmesh.evaluation.report import Figure, Figures, ScenarioReport, System
    from recmesh.releases import ModelStore

_Path = Path | None


class Clock(str, Enum):
    """What the horizon of a logged answer begins at."""

    AUTO = "auto"
    WALL = "wall"
    DATA = "data"


def evaluate(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Default: the active one, else the newest.")] = "",
    store: StoreUrl = STORE,
    report: Annotated[_Path, typer.Option(metavar="FILE", help="Write the release's report, one HTML page.")] = None,
    as_json: AsJson = False,
    predictions: Annotated[_Path, typer.Option(help="Score this CSV (user_id, sku_id; best first) instead.")] = None,
    truth: Annotated[_Path, typer.Option(help="What users did later: CSV (user_id, sku_id).")] = None,
    k: Annotated[
        str, typer.Option("--k", help="Lengths of list to evaluate. Default: 10,50,100; of --answers 1,10.")
    ] = "",
    split: Annotated[_Path, typer.Option("--split", help="Split this data set by time instead.")] = None,
    out: Annotated[_Path, typer.Option(help="Folder for the parts of --split.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed: which users --split holds out as new ones.")] = 42,
    answers: Annotated[_Path, typer.Option(help="Evaluate logged answers instead: a file, or their folder.")] = None,
    dataset: Annotated[_Path, typer.Option(help="Data set with what the users of --answers did next.")] = None,
    days: Annotated[float, typer.Option(help="Days after an answer that count as its consequence.")] = 7.0,
    clock: Annotated[
        Clock, typer.Option(help="When an answer was given: by the wall clock, or in the time of the data set.")
    ] = Clock.AUTO,
    publish: Annotated[bool, typer.Option("--publish", help="Let the services export the rates as metrics.")] = False,
) -> None:
    """Show the metrics of a release, of lists in a file or of logged answers, or split a data set to test the chain."""
    pairs = {"--predictions with --truth": (predictions, truth), "--split with --out": (split, out)}
    pairs["--answers with --dataset"] = answers, dataset
    for needed, (one, other) in pairs.items():
        if (one is None) != (other is None):
            raise SettingsError(f"one option is missing: {needed}")
    if sum(bool(given) for given in (release or report, predictions, split, answers)) > 1:
        raise SettingsError(f"choose one of: a release, {', '.join(pairs)}")
    if answers and dataset:
        from recmesh.cli.shown import Options, evaluate_answers

        chosen = None if clock is Clock.AUTO else clock.value
        options = Options(answers, dataset, _lengths(k or "1,10"), days, chosen, store if publish else "")
        evaluate_answers(options, as_json)
    elif predictions and truth:
        _file(predictions, truth, _lengths(k or "10,50,100"), as_json)
    elif split and out:
        _split(split, out, seed, as_json)
    else:
        from recmesh.releases import ModelStore

        _release(ModelStore(store), release, report, as_json)


def _release(models: "ModelStore", release: str, page: Path | None, as_json: bool) -> None:
    from recmesh.evaluation import METRICS_FILE, PAGE_FILE, Report
    from recmesh.releases.manifest import replace_file

    release = release or models.active() or _newest(models)
    if page is not None:
        replace_file(page, models.read(release, PAGE_FILE))
    content = models.read(release, METRICS_FILE)
    report = Report.parse(content, f"{without_credentials(models.url)}: {METRICS_FILE} of release {release}")
    if as_json:
        print(report.model_dump_json(indent=2))
        return
    console = Console(highlight=False)
    for name, segment in report.segments.items():
        title = f"{name}: {segment.users:,} users, window {segment.window}"
        console.print(_systems(title, segment.systems, "chain"))
    if new := report.new_items:
        title = f"new items: {new.users:,} users, {new.items:,} items, window {new.window}"
        console.print(_systems(title, new.systems, "channel"))
    for name, scenario in report.scenarios.items():
        console.print(_scenario(f"{name}: {scenario.cases:,} cases, window {scenario.window}", scenario))
    for line in _remarks(report):
        console.print(line, markup=False, soft_wrap=True)
    if page is not None:
        console.print(f"report: {page}", markup=False, soft_wrap=True)


def _newest(models: "ModelStore") -> str:
    releases = models.list()
    if not releases:
        raise ReleaseError(f"model store {without_credentials(models.url)}: no release to evaluate; train first")
    return releases[0].id


def _systems(title: str, systems: "Sequence[System]", first: str) -> Table:
    """A table of systems, the first one first, with what it gains over each of the others."""
    metrics = list(systems[0].figures)
    headline = metrics[0]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for column in (*metrics, f"{first}'s gain"):
        table.add_column(column, justify="right", no_wrap=True)
    for system in sorted(systems, key=lambda system: (bool(system.gain), -system.figures[headline].mean)):
        gain = _short(system.gain[headline], "+") if system.gain else ""
        table.add_row(system.name, *_cells(system.figures), gain, end_section=not system.gain)
    return table


def _scenario(title: str, scenario: "ScenarioReport") -> Table:
    """A table of the lists of a scenario, with what the served ones gain over each of the others."""
    metrics = list(scenario.systems[0].figures)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for column in (*metrics, "served's gain, 95 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    for system in scenario.systems:
        gain = system.gain.get(metrics[0])
        shown = f"{gain.mean:+.4f} {gain.low:+.4f} to {gain.high:+.4f}".replace("0.", ".") if gain else ""
        figures = (f"{system.figures[metric]:.4f}".replace("0.", ".") for metric in metrics)
        table.add_row(system.name, *figures, shown, end_section=not system.gain)
    return table


def _cells(figures: "Figures") -> list[str]:
    return [_short(figure) for figure in figures.values()]


def _short(figure: "Figure", sign: str = "") -> str:
    """A mean and its margin without leading zeros, so that a table of them fits 80 columns."""
    from recmesh.evaluation import margin

    return f"{figure.mean:{sign}.4f} ±{margin(figure.error):.4f}".replace("0.", ".")


def _remarks(report: "Report") -> list[str]:
    lines = ["± is half of the 95 % confidence interval over users; the chain's gain is in recall@10."]
    if report.active is not None:
        verb = "compared" if report.active.compared else "not compared"
        lines.append(f"active release {report.active.release}: {verb}, {report.active.reason}")
    for name, segment in report.segments.items():
        if segment.compared:
            gains = ", ".join(f"{metric} {_short(gain, '+')}" for metric, gain in segment.compared.gain.items())
            lines.append(f"  {name}, {segment.compared_users:,} users: the chain's gain is {gains}")
    cost = report.cost
    lines.append(f"release {report.release}: trained in {cost.seconds:.0f} s, peak memory {cost.peak_mib:,.0f} MiB")
    return lines


def _file(predictions: Path, truth: Path, lengths: Sequence[int], as_json: bool) -> None:
    from recmesh.evaluation import margin, names, score

    scored = score(read_pairs(predictions), read_pairs(truth), lengths)
    if as_json:
        print(json.dumps(_plain(scored), indent=2))
        return
    console = Console(highlight=False)
    table = Table("", "mean", "95 % interval", "standard error")
    for name in names(lengths):
        mean, error = scored.means[name], scored.errors[name]
        interval = f"{max(mean - margin(error), 0):.4f} to {min(mean + margin(error), 1):.4f}"
        table.add_row(name, f"{mean:.4f}", interval, f"{error:.4f}")
    console.print(table)
    console.print(f"{scored.users:,} users, {scored.without:,} of them without predictions, which count as 0")
    if scored.unasked:
        console.print(f"not counted: {scored.unasked:,} users with predictions who are not in the truth")


def _plain(scored: "PredictionScores") -> dict[str, object]:
    figures = {name: {"mean": scored.means[name], "error": scored.errors[name]} for name in scored.names}
    users = {"users": scored.users, "users_without_predictions": scored.without, "not_counted": scored.unasked}
    return {**figures, **users}


def _split(folder: Path, out: Path, seed: int, as_json: bool) -> None:
    from recmesh.dataset import read
    from recmesh.evaluation.split import split

    data = read(folder)
    for warning in data.report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    made = split(data, out, seed)
    if as_json:
        print(json.dumps({"rule": made.rule, "train": made.train, **made.segments}, indent=2))
        return
    print(f"{out}: {made.rule}; {made.train:,} actions to train on")
    print(f"\nmake up DATASET={out / 'train'}")
    for segment, users in made.segments.items():
        files = {part: out / f"{part}_{segment}.csv" for part in ("queries", "predictions", "truth")}
        flag = " --new-only" if segment == "novel" else ""
        print(f"\n# {segment}: {users:,} users")
        print(f".venv/bin/python client.py batch --queries {files['queries']} --out {files['predictions']}{flag}")
        print(f".venv/bin/recmesh evaluate --predictions {files['predictions']} --truth {files['truth']}")


def _lengths(text: str) -> list[int]:
    parts = text.replace(",", " ").split()
    if not parts or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise SettingsError(f"--k {text!r}: positive numbers are needed, as in 10,100")
    return [int(part) for part in dict.fromkeys(parts)]
