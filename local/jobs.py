"""Jobs of the pipeline as subprocesses: their output goes to the terminal, their end is ours."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from local.settings import ROOT
from recmesh.errors import RecmeshError

_GRACE = 10.0
_POLL = 1.0


class JobError(RecmeshError):
    """A job ended with a non-zero status; it has printed why, and its status becomes ours."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name} failed (status {status})")
        self.status = status if 0 < status < 126 else RecmeshError.exit_code


def run_job(name: str, command: Sequence[str], variables: Mapping[str, str]) -> None:
    """Run a job to its end. It leads a process group of its own: an interruption of ours ends the whole group once.

    Raises JobError when it ends with another status than 0.
    """
    job = subprocess.Popen(list(command), cwd=ROOT, env={**os.environ, **variables}, start_new_session=True)
    try:
        status = _wait(job)
    except BaseException:
        _end(job)
        raise
    if status:
        raise JobError(name, status)


def _wait(job: "subprocess.Popen[bytes]") -> int:
    """Wait by polling: Polars installs a SIGINT handler after which a blocking wait is resumed, not interrupted."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return job.wait(_POLL)


def _end(job: "subprocess.Popen[bytes]") -> None:
    _signal(job, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        job.wait(_GRACE)
    _signal(job, signal.SIGKILL)
    job.wait()


def _signal(job: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, number)
