"""`python -m local`: the mesh on this machine. The Makefile's targets of the same names call these commands."""

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

_INTERRUPTED = 130
_LAST_LINES = 100

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def up(
    dataset: Annotated[str, typer.Option(help="A folder, or ta_feng, ml_100k or synthetic.")] = "ta_feng",
    mode: Annotated[str, typer.Option(help="compact: one process; services: five.")] = "compact",
    backend: Annotated[str, typer.Option(help="Where the ranker runs: onnx, paddle-serving or auto.")] = "onnx",
) -> None:
    """From a data set to recommendations: whatever is current is reused."""
    from local.up import bring_up  # gRPC and the release code take half a second that the other commands need not wait

    try:
        current = settings.load().model_copy(update={"rank_backend": _backend(backend)})
        bring_up(current, dataset, _mode(mode), Console())
    except KeyboardInterrupt:
        raise typer.Exit(_fail("interrupted", _INTERRUPTED)) from None


@app.command()
def down() -> None:
    """Stop everything that `up` started; data, releases and logs stay."""
    stopped = Supervisor(settings.load()).shutdown()
    print("stopped" if stopped else "nothing was running")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Every process: address, state, uptime, memory."""
    current = settings.load()
    show.status(Console(), current, Supervisor(current).states(), as_json)


@app.command()
def logs(
    service: Annotated[str, typer.Option(help="um, cm, recall, rank, as, compact, redis, milvus or paddle-serving.")],
    follow: Annotated[bool, typer.Option(help="Go on printing what comes.")] = False,
) -> None:
    """The last lines of a process's log."""
    path = _log(settings.load(), service)
    if follow:
        os.execvp("tail", ["tail", "-n", str(_LAST_LINES), "-F", str(path)])
    with path.open(errors="replace") as lines:
        sys.stdout.writelines(deque(lines, maxlen=_LAST_LINES))


@app.command()
def clean() -> None:
    """Stop everything and delete the home: downloads, data sets, releases, stores and logs."""
    current = settings.load()
    Supervisor(current).shutdown()
    if current.folder.exists():
        shutil.rmtree(current.folder)
    print(f"{current.folder} is gone")


def _mode(text: str) -> Mode:
    if text in get_args(Mode):
        return cast(Mode, text)
    raise SettingsError(f"MODE={text}: it is compact or services")


def _backend(text: str) -> Backend:
    if text in get_args(Backend):
        return cast(Backend, text)
    raise SettingsError(f"BACKEND={text}: it is onnx, paddle-serving or auto")


def _log(current: LocalSettings, service: str) -> Path:
    """The log of a process; where the services run as one, that one's."""
    if service not in programs.ALL:
        raise SettingsError(f"SERVICE={service}: it is one of {', '.join(programs.ALL)}")
    running = {state.name for state in Supervisor(current).states()}
    name = "compact" if service in settings.SERVICES and "compact" in running else service
    path = current.logs / f"{name}.log"
    if not path.exists():
        raise SettingsError(f"{path}: no such log; it is written once `make up` started {name}")
    return path


def main() -> int:
    """Run a command; errors become one line and an exit code."""
    try:
        app(prog_name="python -m local")
    except JobError as error:  # the job has said why
        return error.status
    except RecmeshError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail(f"the disk is full ({error.filename or 'home'}): free some room", SettingsError.exit_code)
        return _fail(str(error), RecmeshError.exit_code)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"recmesh: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
