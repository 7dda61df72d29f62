"""The weights of actions: by their type, by their value, and 0 for what a return takes back.

Reading, training, evaluation and serving share these rules.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]
Integers = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

Comparison = Literal[">", ">=", "<", "<=", "=="]

_COMPARE: dict[Comparison, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
}
_POSITIVE = re.compile(r"\s*(>=|<=|==|>|<)\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*")
_LARGEST = float(np.finfo(np.float32).max)

_ROUNDING = 1e-6
"""A return of 3.3 takes back three purchases of 1.1, whatever the last bits say."""

_TYPES = 128
"""More than the number of action types, which fit a signed byte."""


class ValueRule(BaseModel):
    """How the values of a data set's actions are understood.

    An action is positive if `value comparison bound` holds. Any other action shows that the user knows the item, but
    not that the user likes it.

    Attributes:
        comparison: Between the value and the bound.
        bound: The bound.
        weighted: Whether an action counts the more, the larger its value is.
        mean: Of log2(1 + value) over the positive actions. It scales the weights, so that their mean is 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    comparison: Comparison = ">"
    bound: float = 0.0
    weighted: bool = False
    mean: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "ValueRule":
        """Read a condition such as `>= 4`.

        Raises:
            ValueError: The text is something else.
        """
        found = _POSITIVE.fullmatch(text)
        if not found or abs(float(found[2])) > _LARGEST:
            raise ValueError(f'"{text}" is not a condition; write a comparison and a number, such as ">= 4"')
        return cls(comparison=cast(Comparison, found[1]), bound=float(found[2]))

    @property
    def only_above_zero(self) -> bool:
        """Whether every positive value is above 0."""
        return self.comparison in (">", ">=", "==") and (self.bound > 0 or (self.comparison, self.bound) == (">", 0))

    @property
    def unknown(self) -> float:
        """What stands for a missing value, which says nothing against an action: 1, or else the bound, if positive."""
        bound, one = np.float32(self.bound), np.float32(1)
        beyond = np.nextafter(bound, np.float32(np.inf if self.comparison == ">" else -np.inf))
        return next(float(value) for value in (one, bound, beyond) if _COMPARE[self.comparison](value, bound))

    def positive(self, values: Floats) -> Mask:
        """Return which values are positive, bool of the same length."""
        # Values are float32, in which 4.1 is below the float64 4.1.
        found: Mask = _COMPARE[self.comparison](values, np.float32(self.bound))
        return found

    def returns(self, values: Floats) -> Mask:
        """Return which actions take back earlier ones: values below 0 that are not positive."""
        return (values < 0) & ~self.positive(values)

    def factors(self, values: Floats) -> Floats:
        """Return the factor float32 by which each action's weight is multiplied; 0 if it is not positive."""
        positive = self.positive(values)
        if not self.weighted:
            return positive.astype(np.float32)
        factors: Floats = np.where(positive, amounts(values) / np.float32(self.mean), np.float32(0))
        return factors

    def __str__(self) -> str:
        return f"{self.comparison} {self.bound:.9g}"


def amounts(values: Floats) -> Floats:
    """Return log2(1 + value), float32: 1 for a value of 1, and 10 for one of 1,023. Values below 0 give 0."""
    found: Floats = np.log2(1.0 + np.maximum(values, 0)).astype(np.float32)
    return found


def taken_back(pairs: Longs, times: Longs, values: Floats, returns: Mask) -> tuple[Mask, Mask]:
    """Return which actions are taken back by returns, and which returns find nothing to take back, both bool.

    A return takes back the newest earlier actions of the same pair, up to its amount. An action is taken back when
    nothing is left of it. Actions at the time of a return count as earlier.

    Args:
        pairs: int64, what the actions and returns belong to, such as user and item.
        times: int64.
        values: float32.
        returns: Which rows are returns.
    """
    back, unmatched = np.zeros(len(pairs), np.bool_), np.zeros(len(pairs), np.bool_)
    rows = np.flatnonzero(np.isin(pairs, pairs[returns]))
    # Newest first. Of several actions at one time, the first row is the newest, as in a history.
    rows = rows[np.lexsort((~returns[rows], -times[rows], pairs[rows]))]
    pair, left, open_returns = -1, 0.0, list[int]()
    for row, of, value, is_return in zip(
        rows.tolist(), pairs[rows].tolist(), values[rows].tolist(), returns[rows].tolist(), strict=True
    ):
        if of != pair:
            unmatched[open_returns] = True
            pair, left, open_returns = of, 0.0, []
        if is_return:
            left -= value
            open_returns.append(row)
        elif value > 0:
            back[row] = left >= value * (1 - _ROUNDING)
            left = max(left - value, 0.0)
            open_returns.clear()
    unmatched[open_returns] = True
    return back, unmatched


@dataclass(frozen=True)
class ActionWeights:
    """Computes the weights of actions. An action of weight 0 teaches nothing but that the user knows the item.

    Attributes:
        types: float32, the weight of each action type relative to the largest, and last that of an unknown type, which
            is the smallest.
        rule: How values are understood; None if the data set has none.
    """

    types: Floats
    rule: ValueRule | None

    @classmethod
    def of(cls, types: Mapping[str, float], rule: ValueRule | None) -> "ActionWeights":
        """Return the weights for the declared weights of the types, in the order of their codes."""
        weights = np.array(list(types.values()), np.float32)
        relative = weights / max(float(weights.max()), 1e-9)
        return cls(np.append(relative, relative.min()).astype(np.float32), rule)

    def scaled_to(self, types: Integers, values: Floats) -> "ActionWeights":
        """Return the weights whose mean over the positive ones of these actions is 1, apart from the types."""
        positive = self.before_returns(types, values) > 0
        if self.rule is None or not self.rule.weighted or not positive.any():
            return self
        mean = float(amounts(values[positive]).mean(dtype=np.float64))
        return replace(self, rule=self.rule.model_copy(update={"mean": mean}))

    def __call__(self, pairs: Integers, times: Longs, types: Integers, values: Floats) -> Floats:
        """Return the weight of each action, float32.

        Args:
            pairs: A number for each user and item. Returns take back actions with the same number.
            times: int64.
            types: Codes of the types; -1 for an unknown type.
            values: float32.
        """
        weights, returns = self.before_returns(types, values), self.returns(values)
        if returns.any():
            weights[self.taken_back(pairs, times, types, values, returns)[0]] = 0
        return weights

    def before_returns(self, types: Integers, values: Floats) -> Floats:
        """Return the weight that each action has as long as no return takes it back, float32."""
        weights: Floats = self.types[types]
        return weights if self.rule is None else weights * self.rule.factors(values)

    def returns(self, values: Floats) -> Mask:
        """Return which actions are returns, bool."""
        return np.zeros(len(values), np.bool_) if self.rule is None else self.rule.returns(values)

    def taken_back(
        self, pairs: Integers, times: Longs, types: Integers, values: Floats, returns: Mask
    ) -> tuple[Mask, Mask]:
        """Return which actions are taken back by returns of the same pair and type; see `taken_back`.

        A type of weight 0 has only returns: those take back actions of the type with the largest weight.
        """
        main = int(self.types[:-1].argmax())
        kinds = np.where(returns & (self.types[types] == 0), main, types).astype(np.int64) % _TYPES
        return taken_back(pairs.astype(np.int64) * _TYPES + kinds, times, values, returns)
