"""The entry point of jobs: settings, log lines, spans; errors become one line on standard error and an exit code."""

import functools
import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import structlog
import typer

from recmesh import progress
from recmesh.errors import RecmeshError
from recmesh.settings import ProcessSettings, load_settings

Record: TypeAlias = Callable[[str, ProcessSettings], AbstractContextManager[None]]
"""Records a run of a job for the duration of a block: see `jobs.tracing.recorded`."""


def _unrecorded(_job: str, _settings: ProcessSettings) -> AbstractContextManager[None]:
    return nullcontext()


def run(job: str, command: Callable[..., None], record: Record = _unrecorded) -> int:
    """Run the command of `python -m jobs.<job>` with the arguments of this process, and return its exit code.

    Args:
        job: Name of the job.
        command: Does its work.
        record: Records the run. The jobs of the training environment, which has no OpenTelemetry, are not recorded.
    """

    @functools.wraps(command)
    def configured(*arguments: object, **options: object) -> None:
        settings = load_settings(ProcessSettings)
        _configure_logs(settings.log_level)
        with record(job, settings):
            command(*arguments, **options)

    try:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(configured)
        app(prog_name=f"python -m jobs.{job}")
    except RecmeshError as error:
        print(f"{job}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _configure_logs(level: str) -> None:
    """Send log lines to standard error. The lines of a `Reporter` are of the level info, its warnings of warning."""
    number = logging.getLevelName(level.upper())
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=max(logging.WARNING, number))
    for logger in (progress.log, logging.getLogger("recmesh"), logging.getLogger("jobs")):
        logger.setLevel(number)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["event"], drop_missing=True),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
