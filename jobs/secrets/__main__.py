"""`python -m jobs.secrets --spec FILE`: make, renew and rotate the Secrets of an installation."""

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from jobs.command import run as run_command
from jobs.secrets.cluster import Secrets
from jobs.tracing import recorded
from recmesh.cli.kube import connect
from recmesh.errors import SettingsError
from recmesh.issuing import ROTATIONS, RenderAcl, Rotation, Spec, run
from recmesh.progress import Reporter
from recmesh.stores.acl import users_file

_ACL = cast(RenderAcl, users_file)  # refuses users that Redis does not have


def secrets(
    spec: Annotated[Path, typer.Option(envvar="RECMESH_SECRETS_SPEC", help="What the installation needs: JSON.")],
    rotate: Annotated[str, typer.Option(metavar="|".join(ROTATIONS), help="Rotate these although it is not due.")] = "",
) -> None:
    """Create the Secrets that are missing, renew certificates before they end, and go on with rotations.

    Everything else stays as it is, and so do Secrets that somebody else made. Any number of runs at the same time do no
    harm.
    """
    if rotate and rotate not in ROTATIONS:
        raise SettingsError(f"--rotate {rotate}: expected one of {', '.join(ROTATIONS)}")
    needed = Spec.parse(_text(spec), str(spec))
    connect()
    reporter = Reporter(Console(highlight=False))
    store = Secrets(needed.release, needed.namespace)
    run(needed, store, _now, _ACL, reporter.say, cast(Rotation, rotate) or None)
    reporter.say(f"secrets of {needed.release}: up to date")


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def main() -> int:
    """Run the command. Errors become one line on standard error and an exit code."""
    return run_command("secrets", secrets, recorded)


if __name__ == "__main__":
    sys.exit(main())
