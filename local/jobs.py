"""Jobs of the pipeline as subprocesses, whose output goes to the terminal."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from local.settings import ROOT
from recmesh.errors import RecmeshError

_GRACE_SECONDS = 10.0
_POLL_INTERVAL_SECONDS = 1.0


class JobError(RecmeshError):
    """A job failed. It has printed the error; `status` is the exit code to end with."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name} failed (status {status})")
        self.status = status if 0 < status < 126 else RecmeshError.exit_code


def run_job(name: str, command: Sequence[str], variables: Mapping[str, str]) -> None:
    """Run a job to its end, in its own process group. An interruption ends the group.

    Raises:
        JobError: The job ended with a status other than 0.
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
    """Wait by polling. Polars installs a SIGINT handler that lets a blocking wait continue after a signal."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return job.wait(_POLL_INTERVAL_SECONDS)


def _end(job: "subprocess.Popen[bytes]") -> None:
    _signal(job, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        job.wait(_GRACE_SECONDS)
    _signal(job, signal.SIGKILL)
    job.wait()


def _signal(job: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(job.pid, number)
