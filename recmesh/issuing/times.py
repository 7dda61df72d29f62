"""Times as Secrets hold them: ISO 8601 in UTC, to the second."""

from datetime import datetime, timezone


def text_of(time: datetime) -> str:
    """A time as text."""
    return time.astimezone(timezone.utc).isoformat(timespec="seconds")


def time_of(text: bytes | None) -> datetime | None:
    """The time of a text; None if it is missing or not such a text."""
    try:
        time = datetime.fromisoformat((text or b"").decode())
    except ValueError:
        return None
    return time if time.tzinfo else None
