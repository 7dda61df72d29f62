"""What the types and values of a data set's actions amount to: their weights, and what the report says about them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

from recmesh.dataset.schema import Schema
from recmesh.values import ActionWeights, Floats, Longs


@dataclass(frozen=True)
class ValueSummary:
    """What the values of the actions mean.

    Attributes:
        column: The column of the values.
        condition: Under which an action is positive.
        weighted: Whether larger values count more.
        actions: Number of actions.
        positive: How many meet the condition.
        zeros: How many of the others have the value 0.
        returns: How many of the others have a value below 0, and so take back earlier actions.
        taken_back: How many positive actions are taken back.
        unmatched: Returns for which nothing before them is left to take back.
        lowest: The lowest value.
        highest: The highest value.
    """

    column: str
    condition: str
    weighted: bool
    actions: int
    positive: int
    zeros: int
    returns: int
    taken_back: int
    unmatched: int
    lowest: float
    highest: float

    def sentences(self) -> Iterator[str]:
        """Yield what happens to the actions because of their values."""
        name, others = f"{self.column} {self.condition}", self.actions - self.positive
        if others:
            yield (
                f"value: {others:,} of {self.actions:,} actions are not positive ({name} does not hold); "
                "they stay in the histories and teach nothing else"
            )
        if self.zeros and self.condition == "> 0":
            yield (
                f'value: {self.zeros:,} of them have {self.column} 0; if 0 does not mean "no", '
                "declare value: {column: " + self.column + ', positive: ">= 0"}'
            )
        if self.returns:
            yield (
                f"value: {self.returns:,} actions with {self.column} below 0 are returns and take back "
                f"{self.taken_back:,} earlier actions of the same user and item; {self.unmatched:,} find none"
            )
        span = f"{self.lowest:g} to {self.highest:g}"
        if self.weighted:
            yield f"value: positive actions count by log2(1 + {self.column}); {self.column} is {span}"
        elif not others and self.lowest < self.highest:
            yield (
                f"value: all {self.actions:,} actions are positive ({name}) and count alike; {self.column} is {span}. "
                'To tell them apart, declare positive: ">= ..." or weight_by: value'
            )


def action_weights(schema: Schema, actions: pl.DataFrame) -> Floats:
    """Return the weight of each action of a data set, float32, after all returns."""
    return _weights(schema, actions)(*_columns(actions))


def value_summary(schema: Schema, actions: pl.DataFrame) -> ValueSummary | None:
    """Summarise the values of the actions; None if the schema declares no column for them."""
    rule, declared = schema.action.rule, schema.action.value
    if rule is None or declared is None or actions.is_empty():
        return None
    columns = _columns(actions)
    values = columns[-1]
    positive, returns = rule.positive(values), rule.returns(values)
    back, unmatched = _weights(schema, actions).taken_back(*columns, returns)
    return ValueSummary(
        column=declared.column,
        condition=str(rule),
        weighted=rule.weighted,
        actions=len(values),
        positive=int(positive.sum()),
        zeros=int((~positive & (values == 0)).sum()),
        returns=int(returns.sum()),
        taken_back=int((back & positive).sum()),
        unmatched=int(unmatched.sum()),
        lowest=float(values.min()),
        highest=float(values.max()),
    )


def _weights(schema: Schema, actions: pl.DataFrame) -> ActionWeights:
    types = cast(pl.Enum, actions["type"].dtype).categories.to_list()
    return ActionWeights.of({name: schema.weight(name) for name in types}, schema.action.rule)


def _columns(actions: pl.DataFrame) -> tuple[Longs, Longs, npt.NDArray[np.uint8], Floats]:
    users, items = (actions[name].to_physical().to_numpy().astype(np.int64) for name in ("user_id", "sku_id"))
    pairs = users * (int(items.max(initial=0)) + 1) + items
    return pairs, actions["time"].to_numpy(), actions["type"].to_physical().to_numpy(), actions["value"].to_numpy()
