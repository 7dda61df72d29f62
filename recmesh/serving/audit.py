"""Audit lines: who called what, about which users, and with which result (docs/callers.md).

Users are named by a keyed hash of their ids, so that the lines of a user can be found, and not read.
"""

import hashlib
import hmac
import logging
import sys
from pathlib import Path

import structlog

from recmesh.contract import NO_USER_IDS
from recmesh.errors import SettingsError
from recmesh.serving.callers import Caller
from recmesh.throttle import LogThrottle

_MAX_USERS = 50
_HASH_CHARACTERS = 32
_MIN_KEY_BYTES = 16


class Audit:
    """Writes audit lines to the log, whatever the log level is."""

    def __init__(self, key: bytes = b"") -> None:
        """Write lines.

        Args:
            key: Of the hashes of user ids. Without one, whoever guesses an id can confirm it by SHA-256.
        """
        self._key = key
        self._throttle = LogThrottle(max_pause=1.0)
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(sys.stdout), wrapper_class=structlog.make_filtering_bound_logger(logging.INFO)
        )

    @classmethod
    def with_key_of(cls, file: Path | None) -> "Audit":
        """Audit lines with the key in a file.

        Raises:
            SettingsError: It cannot be read, or is too short.
        """
        if file is None:
            return cls()
        try:
            key = file.read_bytes().strip()
        except OSError as error:
            raise SettingsError(
                f"RECMESH_AUDIT_KEY_FILE {file} cannot be read: {error.strerror}; mount the Secret, or unset it"
            ) from None
        if len(key) < _MIN_KEY_BYTES:
            raise SettingsError(
                f"RECMESH_AUDIT_KEY_FILE {file} has {len(key)} bytes: at least {_MIN_KEY_BYTES}; "
                "openssl rand -hex 32 makes a key"
            )
        return cls(key)

    def answered(self, service: str, method: str, caller: Caller, status: str, request: object) -> None:
        """Write the lines of a call that was admitted: one, or more for a call about many users.

        Args:
            service: The called service.
            method: The called method.
            caller: Who called.
            status: The gRPC status of the answer.
            request: The message; None if it was not read.
        """
        users = [self._hashed(user) for user in dict.fromkeys(_users_of(request)) if user not in NO_USER_IDS]
        for start in range(0, len(users) or 1, _MAX_USERS):
            self._log.info(
                "audit",
                service=service,
                method=method,
                caller=caller.name,
                status=status,
                users=users[start : start + _MAX_USERS],
            )

    def refused(self, service: str, method: str, caller: str, status: str) -> None:
        """Write a line for calls that were refused before they were read: one a second.

        Args:
            service: The called service.
            method: The called method.
            caller: The name of the caller in metrics, of which there is a limited number.
            status: The gRPC status of the answer.
        """
        if line := self._throttle.due((service, method, caller, status)):
            self._log.info(
                "audit", service=service, method=method, caller=caller, status=status, users=[], requests=line.events
            )

    def _hashed(self, user: str) -> str:
        content = user.encode(errors="replace")
        hashed = hmac.new(self._key, content, hashlib.sha256) if self._key else hashlib.sha256(content)
        return hashed.hexdigest()[:_HASH_CHARACTERS]


def _users_of(request: object) -> list[str]:
    """The ids of the users that a request is about."""
    user_info, actions, users = (getattr(request, name, ()) for name in ("user_info", "actions", "users"))
    return [getattr(message, "user_id", "") for message in (request, user_info, *actions, *users)]
