"""Finds out the facts about a data set."""

import polars as pl

from recmesh.dataset import DataSet
from recmesh.profiling.abilities import channels_of, cost_of, evaluation_of, repeats_of
from recmesh.profiling.distributions import of_counts, of_numbers
from recmesh.profiling.fields import fields_of
from recmesh.profiling.model import ActionType, Join, Profile
from recmesh.profiling.times import newcomers, times_of, usual_span


def profile(data: DataSet, now: int) -> Profile:
    """Find out the facts about a data set.

    Args:
        data: The data set.
        now: The present, ms since 1970. Later actions count as future ones.
    """
    per_user = _counts(data.actions["user_id"], data.users.height)
    per_item = _counts(data.actions["sku_id"], data.items.height)
    some = data.actions.height > 0
    span = usual_span(data.actions) if some and data.schema.action.time is not None else None
    repeats, fields = repeats_of(data), tuple(fields_of(data))
    evaluation = evaluation_of(data, span)
    return Profile(
        fingerprint=data.fingerprint,
        joins=(
            Join(side="users", listed=data.users.height, active=int((per_user > 0).sum())),
            Join(side="items", listed=data.items.height, active=int((per_item > 0).sum())),
        ),
        times=times_of(data.actions, span, now) if span else None,
        types=_types(data),
        per_user=of_counts(per_user),
        per_item=of_counts(per_item),
        values=of_numbers(data.actions["value"]) if some and data.schema.action.value else None,
        fields=fields,
        repeats=repeats,
        newcomers=newcomers(data.actions, span) if span else None,
        split=evaluation.by_date,
        channels=channels_of(data, fields, repeats),
        cost=cost_of(evaluation.lists, data.users.height, data.items.height, data.actions.height),
    )


def _counts(ids: pl.Series, listed: int) -> pl.Series:
    """Return the number of actions of each user or item, those without actions included."""
    found = ids.to_physical().value_counts()
    return pl.zeros(listed, dtype=pl.UInt32, eager=True).scatter(found[ids.name], found["count"])


def _types(data: DataSet) -> tuple[ActionType, ...]:
    weights = data.schema.action.weights
    return tuple(
        ActionType(name=name, actions=count, weight=data.schema.weight(name), declared=name in weights)
        for name, count in sorted(data.report.types.items(), key=lambda entry: -entry[1])
    )
