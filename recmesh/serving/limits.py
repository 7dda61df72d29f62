"""Limits of requests. The sizes are in `recmesh.contract`, and in docs/services.md."""

from collections.abc import Collection, Sequence

from recmesh.conditions import Condition
from recmesh.contract import (
    DETAILED_ACTIONS,
    HOME,
    MAX_CONDITIONS,
    MAX_CONTEXT,
    MAX_EXCLUDED,
    MAX_FILTER_VALUES,
    MAX_ID_BYTES,
    scenario_fault,
)
from recmesh.errors import InvalidRequest
from recmesh.filters import to_conditions
from recmesh.pb.filter_pb2 import Filter
from recmesh.pb.user_info_pb2 import History


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


def checked_filter(message: Filter) -> tuple[Condition, ...]:
    """Return the conditions of a request.

    Raises:
        InvalidRequest: There are too many conditions or values, one is too long, or a condition is invalid.
    """
    if not message.conditions:
        return ()
    check_count("filter.conditions", len(message.conditions), MAX_CONDITIONS)
    values = [value for condition in message.conditions for value in (*condition.any_of, *condition.none_of)]
    check_count("filter: any_of and none_of", len(values), MAX_FILTER_VALUES)
    check_ids("filter", [*values, *(condition.field for condition in message.conditions)])
    return to_conditions(message)


def check_ids(name: str, ids: Sequence[str]) -> None:
    """Check the ids in a field of a request: no data set has longer ones, and answers repeat them.

    Raises:
        InvalidRequest: An id is too long.
    """
    for identity in ids:
        # Most ids are shorter than a quarter of the limit, and no character takes more than four bytes.
        if len(identity) > MAX_ID_BYTES // 4 and (size := len(identity.encode())) > MAX_ID_BYTES:
            raise InvalidRequest(f"{name}: an id has {size:,} bytes: at most {MAX_ID_BYTES}")


def checked_scenario(scenario: str, context_ids: Sequence[str], new_only: bool) -> str:
    """Check the `scenario` of a request and what goes with it.

    Returns:
        The scenario; empty for home.

    Raises:
        InvalidRequest: There is no such scenario, or it does not go with `context_ids` or `new_only`.
    """
    if fault := scenario_fault(scenario, bool(context_ids), new_only):
        raise InvalidRequest(fault)
    check_count("context_ids", len(context_ids), MAX_CONTEXT)
    check_ids("context_ids", context_ids)
    return "" if scenario == HOME else scenario


def check_history(history: History) -> None:
    """Check the history in a request to `as`.

    Raises:
        InvalidRequest: It has too many actions, an id is too long, or its columns do not fit each other.
    """
    count = len(history.sku_ids)
    check_count("history.sku_ids", count, DETAILED_ACTIONS)
    check_count("history.older_sku_ids", len(history.older_sku_ids), MAX_EXCLUDED)
    check_ids("history.sku_ids", history.sku_ids)
    check_ids("history.older_sku_ids", history.older_sku_ids)
    lengths = {len(history.times), len(history.types), len(history.values)}
    if lengths not in ({0}, {count}):
        raise InvalidRequest("history: times, types and values must be empty, or have one entry for each of sku_ids")
    if max(history.types, default=-1) >= len(history.type_names):
        raise InvalidRequest("history: types has an index beyond type_names")
