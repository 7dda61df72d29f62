"""`recmesh evaluate --answers`: what users did with the answers that `as` has logged."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from recmesh.answers import answer_files, read_answers
from recmesh.dataset import read
from recmesh.errors import DataError, SettingsError
from recmesh.evaluation.hit_rates import Clock, ShownAnswer, hit_rates
from recmesh.evaluation.report import CHAIN
from recmesh.evaluation.shown import Rate, ReleaseRates, ShownRates


@dataclass(frozen=True, slots=True)
class Options:
    """What to evaluate.

    Attributes:
        answers: A file of the log, or its folder.
        dataset: A data set with the next actions of the users.
        cutoffs: Lengths of list.
        days: Length of the horizon.
        clock: See `hit_rates`.
        store: URL of the model store that gets the rates; empty for none.
    """

    answers: Path
    dataset: Path
    cutoffs: Sequence[int]
    days: float
    clock: Clock | None
    store: str


def evaluate_answers(options: Options, as_json: bool) -> None:
    """Print the rates, and publish them if the options ask for it.

    Raises:
        DataError: There are no answers, the data set is unusable, or no answer can be evaluated.
        SettingsError: The horizon is not positive.
    """
    if not options.days > 0:
        raise SettingsError(f"--days {options.days:g}: use a positive number")
    answers = _read(options.answers)
    data = read(options.dataset)
    for warning in data.report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    rates = hit_rates(answers, data, options.cutoffs, options.days, options.clock)
    if options.store:
        from recmesh.releases import ModelStore

        ModelStore(options.store).set_shown_rates(rates)
    if as_json:
        print(rates.model_dump_json(indent=2))
    else:
        _print(rates, published=bool(options.store))


def _read(path: Path) -> list[ShownAnswer]:
    def warn(fault: str) -> None:
        print(f"warning: {fault}", file=sys.stderr)

    answers = [ShownAnswer.of(answer) for _, answer in read_answers(answer_files(path), warn)]
    if not answers:
        raise DataError(f"{path}: no logged answer")
    return answers


def _print(rates: ShownRates, *, published: bool) -> None:
    console = Console(highlight=False)
    for found in rates.releases:
        console.print(_table(found))
    begins = "the time of the answer" if rates.clock == "wall" else "what was the present in the data"
    lines = [f"counted: actions within {rates.days:g} days from {begins}; in brackets: 95 % intervals"]
    if rates.left_out:
        lines.append(f"left out: {', '.join(f'{count:,} ({reason})' for reason, count in rates.left_out.items())}")
    if published:
        lines.append("published: recall exports the rates as recmesh_shown_rate")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _table(found: ReleaseRates) -> Table:
    title = f"release {found.release}: {found.answers:,} answers to {found.users:,} users, {found.followed:,} followed"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    metrics = list(found.systems[CHAIN])
    for metric in metrics:
        table.add_column(metric, justify="right")
    for system, rates in found.systems.items():
        cells = [_cell(rates.get(metric)) for metric in metrics]
        table.add_row(system, *cells, end_section=system == CHAIN)
    return table


def _cell(rate: Rate | None) -> str:
    """A rate and, below it, its interval, without leading zeros: five of them fit 80 columns."""
    return f"{rate.value:.3f}\n({rate.low:.3f}-{rate.high:.3f})".replace("0.", ".") if rate else ""
