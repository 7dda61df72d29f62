"""Errors that users of recmesh see. Each class has a gRPC status and an exit code.

Raise the most specific class. The message names the place (a file, a setting, a service) and says what to do; commands
print it on a line of its own.
"""

from typing import ClassVar

__all__ = [
    "AnswerFailed",
    "DamagedData",
    "DataError",
    "DeadlineExceeded",
    "InvalidRequest",
    "LeakError",
    "Overloaded",
    "PermissionDenied",
    "RecmeshError",
    "ReleaseError",
    "SettingsError",
    "Unauthenticated",
    "Unavailable",
]


class RecmeshError(Exception):
    """Base class of all errors of recmesh."""

    grpc_status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1


class SettingsError(RecmeshError):
    """A setting, an option or an environment is wrong, such as a port in use, a wrong Python or a missing folder."""

    grpc_status = "FAILED_PRECONDITION"
    exit_code = 2


class DataError(RecmeshError):
    """A data set cannot be used. The message names the file, the line and the reason."""

    grpc_status = "FAILED_PRECONDITION"
    exit_code = 3


class LeakError(RecmeshError):
    """The features of a training have seen the labels that they predict. This is a bug; training makes no release."""


class ReleaseError(RecmeshError):
    """A release is missing, damaged or fails a check."""

    grpc_status = "FAILED_PRECONDITION"
    exit_code = 4


class InvalidRequest(RecmeshError):
    """A request violates the contract. The message names the limit."""

    grpc_status = "INVALID_ARGUMENT"
    exit_code = 5


class Overloaded(RecmeshError):
    """There is no capacity for this call at the moment."""

    grpc_status = "RESOURCE_EXHAUSTED"
    exit_code = 6


class Unavailable(RecmeshError):
    """Redis, Milvus, a stage or a service does not answer."""

    grpc_status = "UNAVAILABLE"
    exit_code = 6


class DamagedData(RecmeshError):
    """A store holds a value that recmesh did not write."""

    grpc_status = "DATA_LOSS"
    exit_code = 6


class DeadlineExceeded(RecmeshError):
    """There was no answer within the caller's deadline."""

    grpc_status = "DEADLINE_EXCEEDED"
    exit_code = 7


class Unauthenticated(RecmeshError):
    """The caller has not shown who it is: no certificate or token, or one that is not accepted."""

    grpc_status = "UNAUTHENTICATED"
    exit_code = 9


class PermissionDenied(RecmeshError):
    """The caller is known, and may not call the method."""

    grpc_status = "PERMISSION_DENIED"
    exit_code = 9


class AnswerFailed(RecmeshError):
    """The answer of a service reports a failure (`error.code` 500). The message is the text of the answer."""

    grpc_status = "NOT_FOUND"
    exit_code = 8
