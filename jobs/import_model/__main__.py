"""python -m jobs.import_model --dataset FOLDER --ranker DIR: a release whose ranker (or towers) comes from elsewhere.

`recmesh release import` starts it.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.train.__main__ import limit_threads
from jobs.train.silence import quiet
from recmesh.errors import RecmeshError

_STORE = ".recmesh/store"


def main(
    dataset: Annotated[Path, typer.Option(help="Folder of the data set: the models are tried on its users.")],
    ranker: Annotated[Path | None, typer.Option(help="Folder of a ranker and its mapping.yaml.")] = None,
    towers: Annotated[Path | None, typer.Option(help="Folder of two towers and their mapping.yaml.")] = None,
    base: Annotated[
        str, typer.Option(help="Release that everything else is taken from; default: the active one.")
    ] = "",
    store: Annotated[str, typer.Option(help="URL of the model store.", envvar="RECMESH_MODEL_STORE")] = _STORE,
    home: Annotated[Path, typer.Option(envvar="RECMESH_HOME", help="Releases are cached here.")] = Path(".recmesh"),
) -> None:
    """Make a release of an existing one and models from elsewhere; the last line printed is `release <id>`."""
    limit_threads(2)
    try:
        _run(store, base, dataset, ranker, towers, home)
    except RecmeshError as error:
        print(f"import: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None


def _run(store: str, base: str, dataset: Path, ranker: Path | None, towers: Path | None, home: Path) -> None:
    with quiet():
        from jobs.import_model.pipeline import import_models
        from recmesh.progress import TimedReporter
        from recmesh.releases import ModelStore

    outcome = import_models(ModelStore(store), base, dataset, ranker, towers, home, TimedReporter())
    if outcome.current:
        print("current: the model store holds what these models, mappings, base and data make")
    for name, difference in outcome.differences.items():
        print(f"{name}: ONNX and Paddle's own inference differ by {difference:.1e} at most, on recorded requests")
    given = "" if store == _STORE else f" --store {store}"
    ingest = f"python -m jobs.ingest{given} --dataset {dataset} --release {outcome.release} --only milvus --no-activate"
    print(f"next: {ingest}\n      recmesh release activate{given} {outcome.release} --force")
    print(f"release {outcome.release}")


if __name__ == "__main__":
    typer.run(main)
