"""A run of a job as a trace: a span for the run, and one for each of its steps."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from recmesh.settings import ProcessSettings

log = structlog.get_logger(__name__)


@contextmanager
def recorded(job: str, settings: ProcessSettings) -> Iterator[None]:
    """Record a run, and export it at the end if there is a receiver, whether the run succeeds or not.

    Args:
        job: Name of the job.
        settings: Name the receiver, as do the variables of OpenTelemetry.

    Raises:
        SettingsError: A variable of OpenTelemetry has an impossible value.
    """
    try:
        from recmesh.serving.tracing import Tracer
    except ImportError:  # `jobs.data` also runs in the image of training, which has no OpenTelemetry
        log.debug("spans are not recorded: OpenTelemetry is not installed")
        yield
        return
    tracer = Tracer.of_job(job, settings)
    try:
        with tracer.run(f"jobs.{job}"):
            yield
    finally:
        tracer.close()
