"""What a page asks for, as the text of its form: a user, a profile, a history, and how the list is made."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from urllib.parse import urlencode

from recmesh.client import History
from recmesh.contract import DETAILED_ACTIONS, MAX_EXCLUDED, MAX_ID_BYTES, MAX_RECOMMENDATIONS
from recmesh.errors import InvalidRequest

DEFAULT_SIZE = 10


@dataclass(frozen=True, slots=True)
class Inquiry:
    """The values of a form. Each is text as it was typed, so that the form shows it again.

    Attributes:
        user: Id of a user; empty for a new one.
        profile: `name=value` lines, which override the stored profile.
        history: Lines `item[,type[,time]]`, newest first, which replace the stored history.
        exclude: Ids of items to leave out, one a line.
        size: Number of items.
        new_only: `on` to leave out items of the history.
        release: Id of a release; empty for the active one.
    """

    user: str = ""
    profile: str = ""
    history: str = ""
    exclude: str = ""
    size: str = ""
    new_only: str = ""
    release: str = ""

    @classmethod
    def of(cls, parameters: Mapping[str, str], prefix: str = "") -> "Inquiry":
        """Read the parameters whose names begin with a prefix."""
        return cls(**{field.name: parameters.get(prefix + field.name, "").strip() for field in fields(cls)})

    def query(self, prefix: str = "") -> str:
        """The parameters that `of` reads, for a link."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return urlencode({prefix + name: value for name, value in named if value})

    @property
    def is_empty(self) -> bool:
        """Whether nothing was asked yet."""
        return self == Inquiry()

    @property
    def count(self) -> int:
        """The number of items to show.

        Raises:
            InvalidRequest: It is no number from 1 to the limit of the contract.
        """
        if not self.size:
            return DEFAULT_SIZE
        if not (self.size.isascii() and self.size.isdigit() and 1 <= int(self.size) <= MAX_RECOMMENDATIONS):
            raise InvalidRequest(f"Items {self.size!r}: use a number from 1 to {MAX_RECOMMENDATIONS}")
        return int(self.size)

    @property
    def user_id(self) -> str:
        """The id of the user.

        Raises:
            InvalidRequest: It is too long.
        """
        return _checked_id(self.user, "User")

    @property
    def profile_fields(self) -> dict[str, str]:
        """The profile by field name.

        Raises:
            InvalidRequest: A line has no `=`.
        """
        pairs = [line.partition("=") for line in _lines(self.profile)]
        if wrong := [name for name, equals, _ in pairs if not equals]:
            raise InvalidRequest(f"Profile {wrong[0]!r}: write one name=value a line, such as age=30-34")
        return {name.strip(): value.strip() for name, _, value in pairs}

    @property
    def excluded(self) -> list[str]:
        """The ids of items to leave out.

        Raises:
            InvalidRequest: There are too many.
        """
        ids = [_checked_id(line, "Leave out") for line in _lines(self.exclude)]
        if len(ids) > MAX_EXCLUDED:
            raise InvalidRequest(f"Leave out: {len(ids)} items; at most {MAX_EXCLUDED}")
        return ids

    def actions(self, default_type: str, default_time: int) -> History:
        """The pasted history.

        Args:
            default_type: Of lines without a type.
            default_time: Of lines without a time, in milliseconds: they are one visit.

        Raises:
            InvalidRequest: A line has a time that is no date, or there are too many lines.
        """
        rows = [[cell.strip() for cell in row] for row in csv.reader(_lines(self.history))]
        if len(rows) > DETAILED_ACTIONS:
            raise InvalidRequest(f"History: {len(rows)} lines; at most {DETAILED_ACTIONS}")
        return History(
            sku_ids=tuple(_checked_id(row[0], "History") for row in rows),
            types=tuple(_cell(row, 1) or default_type for row in rows),
            times=tuple(_milliseconds(_cell(row, 2), default_time) for row in rows),
            values=(1.0,) * len(rows),
        )


def _lines(text: str) -> Iterable[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _cell(row: list[str], number: int) -> str:
    return row[number] if number < len(row) else ""


def _checked_id(text: str, place: str) -> str:
    if len(text.encode()) > MAX_ID_BYTES:
        raise InvalidRequest(f"{place}: the id {text[:20]!r}... is longer than {MAX_ID_BYTES} bytes")
    return text


def _milliseconds(text: str, default: int) -> int:
    if not text:
        return default
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"History: the time {text!r} is no date; write it as 2026-11-29 or leave it out") from None
    return int((time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp() * 1000)
