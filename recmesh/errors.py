"""The errors that cross module borders. Each knows its gRPC status and its exit code: one place turns it into either.

Raise the most specific one, with a message that names the place and says what to do; commands print it as one line.
"""

from typing import ClassVar

__all__ = [
    "AnswerFailed",
    "DataError",
    "DeadlineExceeded",
    "InvalidRequest",
    "LeakError",
    "Overloaded",
    "RecmeshError",
    "ReleaseError",
    "SettingsError",
    "Unavailable",
]


class RecmeshError(Exception):
    """Base of every error that recmesh raises on purpose."""

    grpc_status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1


class SettingsError(RecmeshError):
    """A setting, an option or an environment that cannot work (port taken, wrong Python, missing folder)."""

    grpc_status = "FAILED_PRECONDITION"
    exit_code = 2


class DataError(RecmeshError):
    """A data set that cannot be used: names the file, the line and the reason."""

    grpc_status = "FAILED_PRECONDITION"
    exit_code = 3


class LeakError(RecmeshError):
    """A training whose features have seen what they are to predict: a fault of its code, found before a release."""


class ReleaseError(RecmeshError):
    """A release that is missing, damaged, or refused activation."""

    grpc_status = "FAILED_PRECONDITION"
    exit_code = 4


class InvalidRequest(RecmeshError):
    """A request outside the contract; the message says the limit."""

    grpc_status = "INVALID_ARGUMENT"
    exit_code = 5


class Overloaded(RecmeshError):
    """No capacity for this call now."""

    grpc_status = "RESOURCE_EXHAUSTED"
    exit_code = 6


class Unavailable(RecmeshError):
    """Redis, Milvus, a stage or a service did not answer."""

    grpc_status = "UNAVAILABLE"
    exit_code = 6


class DeadlineExceeded(RecmeshError):
    """The answer did not come within the caller's deadline."""

    grpc_status = "DEADLINE_EXCEEDED"
    exit_code = 7


class AnswerFailed(RecmeshError):
    """A service answered, and its answer says that it failed (`error.code` 500); the message is its text."""

    grpc_status = "NOT_FOUND"
    exit_code = 8
