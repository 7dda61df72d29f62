"""`python -m jobs.train --dataset FOLDER --store URL`: train on a data set and store the release."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from jobs.command import run
from jobs.native import limit_threads, quiet
from jobs.train.selection.budget import Budget
from recmesh.contract import DEFAULT_HOME, DEFAULT_MODEL_STORE


def train(
    dataset: Annotated[Path, typer.Option(help="Folder of the data set.")],
    store: Annotated[
        str, typer.Option(help="URL of the model store.", envvar="RECMESH_MODEL_STORE")
    ] = DEFAULT_MODEL_STORE,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 1,
    threads: Annotated[int, typer.Option(help="Number of threads of the numeric libraries.")] = 2,
    budget: Annotated[
        str,
        typer.Option(
            help="Time limit (90s, 10m, 1h) in which to try further ways to rank; default: only the usual ones."
        ),
    ] = "",
    work: Annotated[Path, typer.Option(help="Folder for rejects.csv and temporary files.")] = Path(
        DEFAULT_HOME, "train"
    ),
    archive: Annotated[
        str,
        typer.Option(
            help="Archive of the log of feed (jobs.archive): a folder or an fsspec URL.", envvar="RECMESH_ARCHIVE"
        ),
    ] = "",
    mark: Annotated[str, typer.Option(help="Name under which `jobs.ingest --mark` finds the release.")] = "",
) -> None:
    """Train on a data set and put the release into the model store; the last line printed is `release <id>`."""
    limit_threads(threads)
    _run(dataset, archive, store, seed, work, Budget.parse(budget), mark)


def _run(dataset: Path, archive: str, store: str, seed: int, work: Path, budget: Budget, mark: str) -> None:
    # The numeric libraries read the number of threads when they are imported, and Paddle's import warns about every
    # number except 1.
    with quiet():
        from jobs.train import pipeline
        from recmesh.progress import TimedReporter
        from recmesh.releases import ModelStore

    outcome = pipeline.train(dataset, ModelStore(store), work, seed, TimedReporter(), budget, archive)
    if mark:
        ModelStore(store).set_mark(mark, outcome.release)
    console = Console(highlight=False)
    if outcome.current:
        print("current: the model store already holds the release of this data set, code and seed")
    table = Table(title="held-out metrics, mean over users")
    for column in ("segment", "", "users", "recall@10", "recall@100", "ndcg@10"):
        table.add_column(column, justify="left" if column in ("segment", "") else "right")
    for segment, metrics in outcome.metrics.items():
        systems = {"chain": metrics.chain, "popularity": metrics.popularity, **metrics.channels}
        for name, means in systems.items():
            first = name == "chain"
            shown = (f"{means[metric]:.4f}" for metric in ("recall@10", "recall@100", "ndcg@10"))
            table.add_row(segment if first else "", name, f"{metrics.users:,}" if first else "", *shown)
    console.print(table)
    print(f"release {outcome.release}")


def main() -> int:
    """Run the command. Errors become one line on standard error and an exit code."""
    return run("train", train)


if __name__ == "__main__":
    sys.exit(main())
