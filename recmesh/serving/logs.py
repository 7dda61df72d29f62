"""JSON logs on stdout: one object per line, with the ids of the request that caused it: trace, span and `log_id`.

Lines stay short, and no value of a local variable gets into them: requests hold what people do and who they are.
"""

import logging
import sys
import time
from collections.abc import Callable, Hashable
from contextvars import ContextVar

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from recmesh.errors import RecmeshError
from recmesh.serving import tracing

_MAX_CHARACTERS = 500
_MAX_FRAMES = 10
_EXPORTER_SECONDS = 60.0

log_id: ContextVar[int] = ContextVar("recmesh_log_id", default=0)
"""The `log_id` of the request that the current task answers; 0 if it has none."""


def configure(level: str, service: str) -> None:
    """Send the records of structlog and of the standard library to stdout as JSON.

    Args:
        level: The lowest level of recmesh's own records. Libraries log warnings and errors only.
        service: Added to every record that names no service.
    """

    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
        name_service,
        structlog.processors.ExceptionRenderer(
            ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES, use_rich=False)
        ),
        _shorten,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_limited())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelName(level.upper())), handlers=[handler], force=True)


def reason(error: BaseException) -> str:
    """The text of an error, after the name of its class if recmesh did not raise it."""
    return shortened(str(error) if isinstance(error, RecmeshError) else f"{type(error).__name__}: {error}")


def shortened(text: str, characters: int = _MAX_CHARACTERS) -> str:
    """A text, cut after so many characters."""
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text):,} characters)"


class Limit:
    """Lets one line a second through for each key, with the number of those that came since the last one."""

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Have seen nothing yet.

        Args:
            seconds: Between two lines of one key.
            clock: Monotonic time in seconds.
        """
        self._seconds = seconds
        self._clock = clock
        self._waiting: dict[Hashable, int] = {}
        self._next_line: dict[Hashable, float] = {}

    def due(self, key: Hashable) -> int:
        """Count one event. Returns how many the line to log now stands for; 0 if none is due."""
        count = self._waiting.get(key, 0) + 1
        now = self._clock()
        due = now >= self._next_line.get(key, 0.0)
        self._waiting[key] = 0 if due else count
        if due:
            self._next_line[key] = now + self._seconds
        return count if due else 0


def _limited() -> Callable[[logging.LogRecord], bool]:
    """A filter that passes a line a minute of each module of OpenTelemetry, which reports every failed export."""
    limit = Limit(_EXPORTER_SECONDS)
    return lambda record: not record.name.startswith("opentelemetry.") or limit.due(record.name) > 0


def _add_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    trace_id, span_id, number = tracing.current_trace_id(), tracing.current_span_id(), log_id.get()
    if trace_id is not None:
        event["trace_id"] = trace_id
    if span_id is not None:
        event["span_id"] = span_id
    if number:
        event["log_id"] = number
    return event


def _shorten(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = shortened(value)
        elif name == "exception":
            for part in value:
                part["exc_value"] = shortened(part["exc_value"])
    return event
