"""`recmesh release import`: a release with models from elsewhere.

The job needs Paddle, so it runs in the training environment.
"""

import os
import signal
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from recmesh.cli.options import STORE, StoreUrl
from recmesh.errors import ReleaseError, SettingsError

_ROOT = Path(__file__).resolve().parents[2]
_PYTHON = "RECMESH_TRAINING_PYTHON"
_Folder = Path | None


def import_models(
    dataset: Annotated[Path, typer.Option(help="Folder of the data set, whose users test the models.")],
    ranker: Annotated[_Folder, typer.Option(metavar="DIR", help="A ranker and its mapping.yaml.")] = None,
    towers: Annotated[_Folder, typer.Option(metavar="DIR", help="Two towers and their mapping.yaml.")] = None,
    base: Annotated[str, typer.Option(help="Release that supplies everything else; default: the active one.")] = "",
    store: StoreUrl = STORE,
) -> None:
    """Make a release with a ranker or towers that PaddleRec trained (docs/models.md)."""
    python = Path(os.environ.get(_PYTHON) or _ROOT / ".venv-train" / "bin" / "python")
    if not python.exists():
        raise SettingsError(f"{python} is missing: run `make environments`, or set {_PYTHON}")
    command = [str(python), "-m", "jobs.import_model", "--dataset", str(dataset), "--store", store, "--base", base]
    for option, folder in (("--ranker", ranker), ("--towers", towers)):
        if folder is not None:
            command += [option, str(folder)]
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    status = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
    if status < 0:
        name = signal.Signals(-status).name
        raise ReleaseError(f"{name} ended the import: Paddle cannot read, convert or run one of the models")
    if status:
        raise typer.Exit(status)
