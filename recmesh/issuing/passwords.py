"""Passwords of the users of a store, and their rotation.

A Secret has a key for each user, with the password that programs log in with. During a rotation, Redis knows two
passwords of a user: first `<user>.next`, which no program uses yet; later `<user>.old`, which no program uses any more.
Milvus knows one. There `<user>.old` is what it may still have until an ingestion has set the new one.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recmesh.issuing.times import text_of, time_of

_SINCE = "since"
_BYTES = 32


def new_password() -> str:
    """Make a password: 256 random bits, in characters that need no quotes anywhere."""
    return secrets.token_urlsafe(_BYTES)


@dataclass(frozen=True)
class Passwords:
    """The passwords of a store.

    Attributes:
        current: What programs log in with, by user.
        next: What they will log in with after the next step of a rotation.
        old: What they logged in with before the last step.
        since: When the last step of a rotation was taken; None if none is under way.
    """

    current: Mapping[str, str]
    next: Mapping[str, str]
    old: Mapping[str, str]
    since: datetime | None = None

    @classmethod
    def read(cls, data: Mapping[str, bytes], users: Sequence[str]) -> "Passwords":
        """Read what a Secret has of these users. Passwords that are no text do not count."""
        texts = {name: value.decode(errors="replace") for name, value in data.items()}
        current, coming, old = (
            {user: texts[f"{user}{suffix}"] for user in users if texts.get(f"{user}{suffix}")}
            for suffix in ("", ".next", ".old")
        )
        return cls(current, coming, old, time_of(data.get(_SINCE)))

    def data(self) -> dict[str, bytes]:
        """The keys of the Secret."""
        parts = (("", self.current), (".next", self.next), (".old", self.old))
        texts = {f"{user}{suffix}": password for suffix, part in parts for user, password in part.items()}
        if self.since:
            texts[_SINCE] = text_of(self.since)
        return {name: text.encode() for name, text in texts.items()}

    def accepted(self) -> dict[str, list[str]]:
        """The passwords with which each user may log in."""
        return {
            user: [password, *(part[user] for part in (self.next, self.old) if user in part)]
            for user, password in self.current.items()
        }

    def complete(self, users: Sequence[str]) -> "Passwords":
        """Passwords for exactly these users: those that are missing are new."""
        return replace(self, current={user: self.current.get(user) or new_password() for user in users})

    @property
    def rotating(self) -> bool:
        """Whether a rotation is under way."""
        return bool(self.next or self.old)

    def begin(self, now: datetime) -> "Passwords":
        """The first step of a rotation."""
        return replace(self, next={user: new_password() for user in self.current}, since=now)

    def replace(self, now: datetime, settle: timedelta) -> "Passwords":
        """New passwords at once, unless that has just been done. The former ones stay as the old ones until then."""
        if self.since and now - self.since < settle:
            return self
        return Passwords({user: new_password() for user in self.current}, {}, self.current, now)

    def proceed(self, now: datetime, settle: timedelta) -> "Passwords":
        """The next step of a rotation, once every process had the time to see the last one."""
        if not self.rotating:
            return self
        if self.since is None:
            return replace(self, since=now)
        if now - self.since < settle:
            return self
        if self.next:
            return Passwords({**self.current, **self.next}, {}, {user: self.current[user] for user in self.next}, now)
        return Passwords(self.current, {}, {})
