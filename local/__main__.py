"""`python -m local`: runs the mesh on this machine. Targets of the same names in the Makefile call these commands."""

import errno
import os
import shutil
import sys
from collections import deque
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

from local import programs, settings, show
from local.jobs import JobError
from local.settings import Backend, LocalSettings, Mode
from local.supervisor import Supervisor
from recmesh.errors import RecmeshError, SettingsError
from recmesh.issuing import ROTATIONS

_INTERRUPTED = 130
_LAST_LINES = 100

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def up(
    dataset: Annotated[str, typer.Option(help="Folder of a data set, or a name from docs/datasets.md.")] = "ta_feng",
    mode: Annotated[
        str, typer.Option(help="compact: all services in one process; services: five processes.")
    ] = "compact",
    backend: Annotated[str, typer.Option(help="Where the ranker runs: onnx, paddle-serving or auto.")] = "onnx",
    retrain: Annotated[bool, typer.Option("--retrain", help="Archive first what feed has recorded.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="Let everybody show a certificate of a local CA.")] = False,
) -> None:
    """Go from a data set to recommendations, reusing everything that is current."""
    from local.up import bring_up  # takes half a second, which the other commands save

    try:
        current = settings.load().model_copy(update={"rank_backend": _backend(backend)})
        bring_up(current, dataset, _mode(mode), Console(), retrain, tls)
    except KeyboardInterrupt:
        raise typer.Exit(_fail("interrupted", _INTERRUPTED)) from None


@app.command()
def down() -> None:
    """Stop everything that `up` started; data, releases and logs stay."""
    stopped = Supervisor(settings.load()).shutdown()
    print("stopped" if stopped else "nothing was running")


@app.command()
def rotate(
    what: Annotated[str, typer.Argument(metavar="|".join(ROTATIONS), help="What to rotate.")],
) -> None:
    """Rotate the certificates or the CA of a mesh that was started with TLS."""
    from local import health, secrets
    from local.up import exclusive, set_up_users

    current = settings.load()
    if what not in ROTATIONS:
        raise SettingsError(f"WHAT={what}: expected one of {', '.join(ROTATIONS)}")
    if not current.tls:
        raise SettingsError("this mesh has no certificates: start it with `make up TLS=1`")
    with exclusive(current):
        secrets.update(current, print, what)
        supervisor = Supervisor(current)
        if not supervisor.running():
            return
        if what == "ca":
            # Milvus reads the CAs to trust at its start only. The next step would lock others out.
            supervisor.ensure(programs.stores(current))
            health.wait_for_stores(supervisor, current, print)
        if what == "milvus":
            set_up_users(current)


@app.command()
def observe() -> None:
    """Run Prometheus beside the running mesh, with the alerts of the chart; `down` stops it."""
    from local.observe import observe as run

    run(settings.load(), Console())


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show address, state, uptime and memory of every process."""
    current = settings.load()
    show.status(Console(), current, Supervisor(current).states(), as_json)


@app.command()
def logs(
    service: Annotated[
        str, typer.Option(help="um, cm, recall, rank, as, compact, feed, redis, milvus, paddle-serving or prometheus.")
    ],
    follow: Annotated[bool, typer.Option(help="Keep printing new lines.")] = False,
) -> None:
    """Print the last lines of the log of a process."""
    path = _log(settings.load(), service)
    if follow:
        os.execvp("tail", ["tail", "-n", str(_LAST_LINES), "-F", str(path)])
    with path.open(errors="replace") as lines:
        sys.stdout.writelines(deque(lines, maxlen=_LAST_LINES))


@app.command()
def clean() -> None:
    """Stop everything and delete RECMESH_HOME: downloads, data sets, releases, stores and logs."""
    current = settings.load()
    Supervisor(current).shutdown()
    if current.folder.exists():
        shutil.rmtree(current.folder)
    print(f"{current.folder} was deleted")


def _mode(text: str) -> Mode:
    if text in get_args(Mode):
        return cast(Mode, text)
    raise SettingsError(f"MODE={text}: the modes are compact or services")


def _backend(text: str) -> Backend:
    if text in get_args(Backend):
        return cast(Backend, text)
    raise SettingsError(f"BACKEND={text}: the backends are onnx, paddle-serving or auto")


def _log(current: LocalSettings, service: str) -> Path:
    """The log of a process. Services that share a process share its log."""
    known = (*programs.ALL, settings.PROMETHEUS)
    if service not in known:
        raise SettingsError(f"SERVICE={service}: expected one of {', '.join(known)}")
    running = {state.name for state in Supervisor(current).states()}
    name = "compact" if service in settings.SERVICES and "compact" in running else service
    path = current.logs / f"{name}.log"
    if not path.exists():
        raise SettingsError(f"{path}: no such log; it exists after `make up` has started {name}")
    return path


def main() -> int:
    """Run a command. Errors become one line on standard error and an exit code."""
    os.umask(0o077)  # RECMESH_HOME holds what people do, and who they are
    try:
        app(prog_name="python -m local")
    except JobError as error:  # the job has already printed the error
        return error.status
    except RecmeshError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of the pipe has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail(f"the disk is full ({error.filename or 'home'}): free some space", SettingsError.exit_code)
        return _fail(str(error), RecmeshError.exit_code)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"recmesh: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
