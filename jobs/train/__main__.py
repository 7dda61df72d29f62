"""python -m jobs.train --dataset FOLDER --store URL: train on a data set and put the release into the model store."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from jobs.train.selection.budget import Budget
from jobs.train.silence import quiet
from recmesh.errors import RecmeshError


def main(
    dataset: Annotated[Path, typer.Option(help="Folder of the data set.")],
    store: Annotated[
        str, typer.Option(help="URL of the model store.", envvar="RECMESH_MODEL_STORE")
    ] = ".recmesh/store",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the numeric libraries.")] = 2,
    budget: Annotated[
        str, typer.Option(help="Time to try more ways to rank in (90s, 10m, 1h); default: only the usual ones.")
    ] = "",
    work: Annotated[Path, typer.Option(help="Folder for rejects and what is being written.")] = Path(".recmesh/train"),
    mark: Annotated[str, typer.Option(help="Name under which `jobs.ingest --mark` finds the release.")] = "",
) -> None:
    """Train on a data set and put the release into the model store; the last line printed is `release <id>`."""
    limit_threads(threads)
    try:
        _run(dataset, store, seed, work, Budget.parse(budget), mark)
    except RecmeshError as error:
        print(f"train: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None


def _run(dataset: Path, store: str, seed: int, work: Path, budget: Budget, mark: str) -> None:
    # Imported here: the numeric libraries read their number of threads when they are imported. Paddle's import warns
    # about
    # any number but one.
    with quiet():
        from jobs.train.pipeline import Outcome, train
        from recmesh.progress import TimedReporter
        from recmesh.releases import ModelStore

    outcome: Outcome = train(dataset, ModelStore(store), work, seed, TimedReporter(), budget)
    if mark:
        ModelStore(store).set_mark(mark, outcome.release)
    console = Console(highlight=False)
    if outcome.current:
        print("current: the model store holds what this data set, code and seed make")
    table = Table(title="held-out metrics, mean over users")
    for column in ("segment", "", "users", "recall@10", "recall@100", "ndcg@10"):
        table.add_column(column, justify="left" if column in ("segment", "") else "right")
    for segment, figures in outcome.metrics.items():
        for name, one in (("chain", figures.chain), ("popularity", figures.popularity), *figures.channels.items()):
            shown = (f"{one[metric]:.4f}" for metric in ("recall@10", "recall@100", "ndcg@10"))
            table.add_row(
                segment if name == "chain" else "", name, f"{figures.users:,}" if name == "chain" else "", *shown
            )
    console.print(table)
    print(f"release {outcome.release}")


def limit_threads(threads: int) -> None:
    """Tell the numeric libraries, before they are imported, how many threads they may start."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[variable] = str(threads)
    # Many small systems of equations: handing one out to threads costs more than solving it.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Threads that spin while they wait starve everything else on a small machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    os.environ.setdefault("GLOG_minloglevel", "2")


if __name__ == "__main__":
    typer.run(main)
