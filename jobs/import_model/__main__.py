"""`python -m jobs.import_model --dataset FOLDER --ranker DIR`: make a release with an imported ranker or towers.

`recmesh release import` starts it.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.command import run
from jobs.native import limit_threads, quiet
from recmesh.contract import DEFAULT_HOME, DEFAULT_MODEL_STORE


def import_model(
    dataset: Annotated[Path, typer.Option(help="Folder of the data set. The models are tested on its users.")],
    ranker: Annotated[Path | None, typer.Option(help="Folder with a ranker and its mapping.yaml.")] = None,
    towers: Annotated[Path | None, typer.Option(help="Folder with two towers and their mapping.yaml.")] = None,
    base: Annotated[str, typer.Option(help="Release that provides everything else. Default: the active one.")] = "",
    store: Annotated[
        str, typer.Option(envvar="RECMESH_MODEL_STORE", help="Model store: a folder or an fsspec URL.")
    ] = DEFAULT_MODEL_STORE,
    home: Annotated[Path, typer.Option(envvar="RECMESH_HOME", help="Folder for the cache of releases.")] = Path(
        DEFAULT_HOME
    ),
) -> None:
    """Combine an existing release with imported models. The last line printed is `release <id>`."""
    limit_threads(2)
    with quiet():  # Paddle prints warnings when it is imported
        from jobs.import_model.pipeline import import_models
        from recmesh.progress import TimedReporter
        from recmesh.releases import ModelStore

    outcome = import_models(ModelStore(store), base, dataset, ranker, towers, home, TimedReporter())
    if outcome.current:
        print("current: the model store already has the release of these models, mappings, base and data set")
    for name, difference in outcome.differences.items():
        print(f"{name}: ONNX Runtime and Paddle Inference differ by at most {difference:.1e} on recorded requests")
    given = "" if store == DEFAULT_MODEL_STORE else f" --store {store}"
    ingest = f"python -m jobs.ingest{given} --dataset {dataset} --release {outcome.release} --only milvus --no-activate"
    print(f"next: {ingest}\n      recmesh release activate{given} {outcome.release} --force")
    print(f"release {outcome.release}")


def main() -> int:
    """Run the command. Errors become one line on standard error and an exit code."""
    return run("import_model", import_model)


if __name__ == "__main__":
    sys.exit(main())
