"""Limits of requests. The sizes are in `recmesh.contract`, and in docs/services.md."""

from collections.abc import Collection, Sequence

from recmesh.contract import MAX_EXCLUDED, MAX_ID_BYTES
from recmesh.errors import InvalidRequest


def check_count(name: str, count: int, most: int) -> None:
    """Check how many entries a field of a request has.

    Raises:
        InvalidRequest: There are more than `most`.
    """
    if count > most:
        raise InvalidRequest(f"{name} has {count:,} entries: at most {most:,}")


def check_excluded(exclude_ids: Collection[str]) -> None:
    """Check the `exclude_ids` of a request. See `check_count`."""
    check_count("exclude_ids", len(exclude_ids), MAX_EXCLUDED)


def check_ids(name: str, ids: Sequence[str]) -> None:
    """Check the ids in a field of a request: no data set has longer ones, and answers repeat them.

    Raises:
        InvalidRequest: An id is too long.
    """
    for identity in ids:
        # Most ids are shorter than a quarter of the limit, and no character takes more than four bytes.
        if len(identity) > MAX_ID_BYTES // 4 and (size := len(identity.encode())) > MAX_ID_BYTES:
            raise InvalidRequest(f"{name}: an id has {size:,} bytes: at most {MAX_ID_BYTES}")
