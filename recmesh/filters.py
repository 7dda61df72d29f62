"""The `Filter` of requests as conditions, and back."""

from collections.abc import Iterable

from recmesh.conditions import Condition
from recmesh.errors import InvalidRequest
from recmesh.pb import filter_pb2


def to_conditions(message: filter_pb2.Filter) -> tuple[Condition, ...]:
    """Return the conditions in a message.

    Raises:
        InvalidRequest: A condition is invalid; see `Condition`.
    """
    return tuple(map(_condition, message.conditions))


def to_message(conditions: Iterable[Condition]) -> filter_pb2.Filter | None:
    """Return conditions as a message; None, an absent field, without conditions."""
    messages = [
        filter_pb2.Condition(
            field=condition.field,
            any_of=condition.any_of,
            none_of=condition.none_of,
            range=filter_pb2.Condition.Range(min=condition.minimum, max=condition.maximum)
            if condition.has_range
            else None,
        )
        for condition in conditions
    ]
    return filter_pb2.Filter(conditions=messages) if messages else None


def _condition(message: filter_pb2.Condition) -> Condition:
    bounds = message.range
    try:
        return Condition(
            message.field,
            tuple(message.any_of),
            tuple(message.none_of),
            bounds.min if bounds.HasField("min") else None,
            bounds.max if bounds.HasField("max") else None,
        )
    except ValueError as error:
        raise InvalidRequest(f"filter: {error}") from None
