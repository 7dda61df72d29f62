"""JSON logs on stdout: one object per line, with the ids of the request that caused it: trace, span and `log_id`.

Lines stay short, and no value of a local variable gets into them: requests hold what people do and who they are.
"""

import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from recmesh.errors import RecmeshError
from recmesh.serving import tracing
from recmesh.throttle import LogThrottle

_MAX_CHARACTERS = 500
_MAX_FRAMES = 10
_OWN = frozenset({"recmesh", "services", "local"})

log_id: ContextVar[int] = ContextVar("recmesh_log_id", default=0)
"""The `log_id` of the request that the current task answers; 0 if it has none."""


def configure(level: str, service: str) -> None:
    """Send the records of structlog and of the standard library to stdout as JSON.

    Args:
        level: The lowest level of recmesh's own records. Libraries log warnings and errors only,
            and repeated ones with growing pauses.
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
    handler.addFilter(_throttled())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=[*shared, _add_attempts],
        )
    )
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelName(level.upper())), handlers=[handler], force=True)


def reason(error: BaseException) -> str:
    """The text of an error, after the name of its class if recmesh did not raise it."""
    return shortened(str(error) if isinstance(error, RecmeshError) else f"{type(error).__name__}: {error}")


def shortened(text: str, characters: int = _MAX_CHARACTERS) -> str:
    """A text, cut after so many characters."""
    return text if len(text) <= characters else f"{text[:characters]}... ({len(text):,} characters)"


def _throttled() -> Callable[[logging.LogRecord], bool]:
    """A filter for the records of libraries, each of which logs a lasting fault at every attempt.

    A record that passes gets the attribute `attempts`: how many it stands for.
    """
    throttle = LogThrottle()

    def passes(record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] in _OWN:
            return True
        line = throttle.due((record.pathname, record.lineno), str(record.msg))
        record.attempts = line.events if line else 0
        return line is not None

    return passes


def _add_attempts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    attempts = getattr(event["_record"], "attempts", 1)
    if attempts > 1:
        event["attempts"] = attempts
    return event


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
