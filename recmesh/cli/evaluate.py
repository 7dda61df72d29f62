"""`recmesh evaluate`: how good a release is, how good lists in a file are, and how to measure the chain on own data."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from recmesh.cli.tables import read_pairs
from recmesh.dataset import read
from recmesh.errors import ReleaseError, SettingsError
from recmesh.evaluation import METRICS_FILE, PAGE_FILE, PredictionScores, Report, margin, names, score
from recmesh.evaluation.report import CHAIN, Figure, Figures, SegmentReport
from recmesh.evaluation.split import split
from recmesh.releases import ModelStore
from recmesh.releases.manifest import replace_file

StoreUrl = Annotated[
    str, typer.Option("--store", envvar="RECMESH_MODEL_STORE", help="Model store: a folder or an fsspec URL.")
]
_Path = Path | None


def evaluate(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Default: the active one, else the newest.")] = "",
    store: StoreUrl = ".recmesh/store",
    report: Annotated[_Path, typer.Option(metavar="FILE", help="Write the release's report, one HTML page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    predictions: Annotated[_Path, typer.Option(help="Score this CSV (user_id, sku_id; best first) instead.")] = None,
    truth: Annotated[_Path, typer.Option(help="What users did later: CSV (user_id, sku_id).")] = None,
    k: Annotated[str, typer.Option("--k", help="Lengths of list to look at.")] = "10,50,100",
    split: Annotated[_Path, typer.Option("--split", help="Cut this data set in time instead.")] = None,
    out: Annotated[_Path, typer.Option(help="Folder for the parts of --split.")] = None,
    seed: Annotated[int, typer.Option(help="Which users --split holds out as new ones.")] = 42,
) -> None:
    """How good a release's lists are on held-out data; or lists in a file. Or cut a data set to measure the chain."""
    if (predictions is None) != (truth is None) or (split is None) != (out is None):
        raise SettingsError("--predictions goes with --truth, and --split with --out")
    if sum(bool(given) for given in (release or report, predictions, split)) > 1:
        raise SettingsError("ask for one thing: a release, --predictions with --truth, or --split with --out")
    if predictions and truth:
        _file(predictions, truth, _lengths(k), as_json)
    elif split and out:
        _split(split, out, seed, as_json)
    else:
        _release(ModelStore(store), release, report, as_json)


def _release(models: ModelStore, release: str, page: Path | None, as_json: bool) -> None:
    release = release or models.active() or _newest(models)
    if page is not None:
        replace_file(page, models.read(release, PAGE_FILE))
    content = models.read(release, METRICS_FILE)
    report = Report.parse(content, f"{models.url}: {METRICS_FILE} of release {release}")
    if as_json:
        print(report.model_dump_json(indent=2))
        return
    console = Console(highlight=False)
    for name, segment in report.segments.items():
        console.print(_systems(name, segment))
    for line in _remarks(report):
        console.print(line, markup=False, soft_wrap=True)
    if page is not None:
        console.print(f"report: {page}", markup=False, soft_wrap=True)


def _newest(models: ModelStore) -> str:
    releases = models.list()
    if not releases:
        raise ReleaseError(f"model store {models.url}: no release to evaluate; train first")
    return releases[0].id


def _systems(name: str, segment: SegmentReport) -> Table:
    metrics = list(segment.systems[0].figures)
    headline = metrics[0]
    title = f"{name}: {segment.users:,} users, window {segment.window}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for column in (*metrics, "chain's gain"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in sorted(segment.systems, key=lambda one: (one.name != CHAIN, -one.figures[headline].mean)):
        gain = _short(one.gain[headline], "+") if one.gain else ""
        table.add_row(one.name, *_cells(one.figures), gain, end_section=one.name == CHAIN)
    return table


def _cells(figures: Figures) -> list[str]:
    return [_short(one) for one in figures.values()]


def _short(figure: Figure, sign: str = "") -> str:
    """As in `.1234 ±.0056`: a table of them must fit a terminal."""
    return f"{figure.mean:{sign}.4f} ±{margin(figure.error):.4f}".replace("0.", ".")


def _remarks(report: Report) -> list[str]:
    lines = ["± is half of the 95 % confidence interval over users; the chain's gain is in recall@10."]
    if report.active is not None:
        verb = "compared" if report.active.compared else "not compared"
        lines.append(f"active release {report.active.release}: {verb}, {report.active.reason}")
    for name, segment in report.segments.items():
        if segment.compared:
            gains = ", ".join(f"{metric} {_short(one, '+')}" for metric, one in segment.compared.gain.items())
            lines.append(f"  {name}, {segment.compared_users:,} users: the chain's gain is {gains}")
    cost = report.cost
    lines.append(f"release {report.release}: trained in {cost.seconds:.0f} s, peak memory {cost.peak_mib:,.0f} MiB")
    return lines


def _file(predictions: Path, truth: Path, lengths: Sequence[int], as_json: bool) -> None:
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
    console.print(f"{scored.users:,} users, {scored.without:,} of them without predictions (they count as 0)")
    if scored.unasked:
        console.print(f"not counted: {scored.unasked:,} users with predictions whom the truth does not hold")


def _plain(scored: PredictionScores) -> dict[str, object]:
    figures = {name: {"mean": scored.means[name], "error": scored.errors[name]} for name in scored.names}
    users = {"users": scored.users, "users_without_predictions": scored.without, "not_counted": scored.unasked}
    return {**figures, **users}


def _split(folder: Path, out: Path, seed: int, as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as work:
        made = split(read(folder, rejects=Path(work) / "rejects.csv"), out, seed)
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
        raise SettingsError(f"--k {text!r}: numbers from 1 up are needed, as in 10,100")
    return [int(part) for part in dict.fromkeys(parts)]
