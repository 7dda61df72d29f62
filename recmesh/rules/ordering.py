"""Applies rules to ranked items.

Items are left out, pinned and weighted first. Then one pass fills the positions from the first to the last. At each
position it takes

1. the item that is pinned there; else, of the items that are left,
2. those that exceed no limit of `at_most`, or all of them if each exceeds one;
3. of these, the fresh ones if fewer of the items so far are fresh than `freshness` asks for, unless there are none;
4. of these, the best one by its place and, with `diversity`, by how much it differs from the items so far.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from recmesh.conditions import SKU_ID, Condition
from recmesh.numbers import parse_number
from recmesh.rules.model import Boost, Bury, Diversity, Exclude, Freshness, Limit, Pin, Rule

FIELDS = "rules"
"""What `degraded` names if rules were skipped because the fields of items are unknown."""

DIVERSITY = "rules:diversity"
"""What `degraded` names if items have no vectors."""

_DAY_SECONDS = 86_400.0
# Seconds since 1970 stay below it for 3,000 years; milliseconds since 1970 exceed it after three.
_MAX_SECONDS = 1e11
# Of similarities: equal items must not be told apart by rounding errors.
_DIGITS = 6
# For shares such as 0.1, whose multiples are not whole in binary, and for differences of equal vectors.
_ROUNDING = 1e-9

Mask: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RankedItems:
    """The items that rules choose from.

    Attributes:
        ids: Best first; after them those that only a pin can show.
        ranked: How many of the ids are ranked.
        fields: For each field that the rules read, the values of each item; None if the fields are unknown.
        vectors: float32 [ranked, dim]; zeros for items without a vector. None if there are none.
    """

    ids: Sequence[str]
    ranked: int
    fields: Mapping[str, Sequence[tuple[str, ...]]] | None = None
    vectors: Floats | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """What rules make of ranked items.

    Attributes:
        positions: The items of the list by their positions in `RankedItems.ids`, best first.
        rules: The names of the rules that moved an item of the list, by its position in `RankedItems.ids`.
        excluded: The name of the rule that left an item out, by its position in `RankedItems.ids`.
        skipped: What `degraded` names.
    """

    positions: Sequence[int]
    rules: Mapping[int, Sequence[str]]
    excluded: Mapping[int, str]
    skipped: Sequence[str] = ()


class RequestRules:
    """The rules that apply to one request.

    Attributes:
        pinned: The ids of the pinned items.
        fields: The fields of items that the rules read.
        reorders: Whether any rule but pins applies, so that all candidates are needed.
        needs_vectors: Whether item vectors are needed.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        """Sort rules by their kinds."""
        self._kind_of = {rule.name: rule.kind for rule in rules}
        self._pins = [rule for rule in rules if isinstance(rule, Pin)]
        self._weights = [rule for rule in rules if isinstance(rule, Boost | Bury)]
        self._excludes = [rule for rule in rules if isinstance(rule, Exclude)]
        self._limits = [rule for rule in rules if isinstance(rule, Limit)]
        self._shares = [rule for rule in rules if isinstance(rule, Freshness)]
        # Two strengths have no sensible sum: the first rule of the file counts.
        self._diversity = next((rule for rule in rules if isinstance(rule, Diversity) and rule.strength), None)
        self.pinned = tuple(dict.fromkeys(chain.from_iterable(rule.items for rule in self._pins)))
        self.fields: frozenset[str] = frozenset().union(*(rule.fields for rule in rules))
        self.reorders = len(self._pins) < len(rules)
        self.needs_vectors = self._diversity is not None

    def __bool__(self) -> bool:
        """Whether any rule applies."""
        return bool(self._kind_of)

    def kind(self, name: str) -> str:
        """The kind of a rule."""
        return self._kind_of[name]

    def order(self, items: RankedItems, size: int, now: float) -> Ordered:
        """Apply the rules.

        Args:
            items: Among them those of `pinned` that may be shown.
            size: Number of items in the list.
            now: Seconds since 1970.
        """
        columns = _Columns(items)
        skipped = [FIELDS] if self.fields and items.fields is None else []
        if self._diversity and items.vectors is None:
            skipped.append(DIVERSITY)
        excluded: dict[int, str] = {}
        for rule in self._excludes:
            for position in np.flatnonzero(columns.met(rule)).tolist():
                excluded.setdefault(position, rule.name)
        moved = _Names()
        pinned = self._pinned(items, excluded, moved)
        left = np.array(
            [position for position in range(items.ranked) if position not in excluded and position not in pinned],
            np.int64,
        )
        left = self._weighted(left, columns, moved)
        at = {place: position for position, place in pinned.items()}
        positions = _Pass(items, columns, left, at, moved).fill(
            size,
            [rule for rule in self._limits if columns.known(rule)],
            [(rule, columns.fresh(rule, now)) for rule in self._shares if columns.known(rule)],
            self._diversity if items.vectors is not None else None,
        )
        return Ordered(positions, moved.of(positions), excluded, skipped)

    def _pinned(self, items: RankedItems, excluded: Mapping[int, str], moved: "_Names") -> dict[int, int]:
        """The place, from 0 up, of each pinned item. Of two pins at one place, the later one moves down."""
        if not self._pins:
            return {}
        position_of = {sku_id: position for position, sku_id in enumerate(items.ids)}
        places: dict[int, int] = {}
        taken: set[int] = set()
        for rule in self._pins:
            place = rule.position - 1
            for sku_id in rule.items:
                position = position_of.get(sku_id)
                if position is None or position in excluded or position in places:
                    continue
                while place in taken:
                    place += 1
                places[position] = place
                taken.add(place)
                moved.add(position, rule.name)
        return places

    def _weighted(self, left: npt.NDArray[np.int64], columns: "_Columns", moved: "_Names") -> npt.NDArray[np.int64]:
        """Reorder by place / factor. At equal quotients, boosted items come first and buried ones last."""
        if not self._weights:
            return left
        boost, bury = np.ones(len(left)), np.ones(len(left))
        matched: list[tuple[str, Mask]] = []
        for rule in self._weights:
            met = columns.met(rule)[left]
            factors = boost if isinstance(rule, Boost) else bury
            factors[met] *= rule.factor
            matched.append((rule.name, met))
        places = np.arange(1.0, len(left) + 1)
        order = np.lexsort((places, np.sign(bury - boost), places * bury / boost))
        shifted = order != np.arange(len(left))
        for name, met in matched:
            mask = np.zeros(columns.count, np.bool_)
            mask[left[order[shifted & met[order]]]] = True
            moved.add_all(name, mask)
        return left[order]


NO_RULES = RequestRules()


class _Names:
    """The names of the rules that moved each item, in the order of their application."""

    def __init__(self) -> None:
        self._of_many: list[tuple[str, Mask]] = []
        self._of_one: dict[int, list[str]] = {}

    def add_all(self, name: str, moved: Mask) -> None:
        """Add a name to many items; moved: bool [ids]. Those that are not shown cost nothing more."""
        self._of_many.append((name, moved))

    def add(self, position: int, name: str) -> None:
        """Add a name to one item."""
        names = self._of_one.setdefault(position, [])
        if name not in names:
            names.append(name)

    def of(self, positions: Iterable[int]) -> dict[int, list[str]]:
        """The names for the items that have any."""
        names = {
            position: [*(name for name, moved in self._of_many if moved[position]), *self._of_one.get(position, ())]
            for position in positions
        }
        return {position: of_item for position, of_item in names.items() if of_item}


@dataclass(slots=True)
class _LimitState:
    """A limit of `at_most` during a pass: the items with each value, and how many more may come."""

    name: str
    first: int
    values: Sequence[Sequence[str]]
    members: Mapping[str, Sequence[int]]
    room: dict[str, int]
    full: Mask


class _Pass:
    """Fills the positions of a list from the first to the last."""

    def __init__(
        self,
        items: RankedItems,
        columns: "_Columns",
        left: npt.NDArray[np.int64],
        pinned: Mapping[int, int],
        moved: _Names,
    ) -> None:
        """Prepare a pass.

        Args:
            items: The items.
            columns: Their fields.
            left: int64 [n], positions of the items that are not pinned, in their order.
            pinned: Positions of pinned items by their places.
            moved: Gets the names of rules.
        """
        self._items = items
        self._columns = columns
        self._left = left
        self._pinned = pinned
        self._moved = moved

    def fill(
        self,
        size: int,
        limits: Sequence[Limit],
        shares: Sequence[tuple[Freshness, Mask]],
        diversity: Diversity | None,
    ) -> list[int]:
        """The positions of the best `size` items."""
        left, count = self._left, len(self._left)
        # The discount of DCG: a place near the top is worth more than one far below, whatever the scores' scale.
        worth = 1 / np.log2(2 + np.arange(count))
        gain = worth
        similar, unit = np.zeros(count), self._unit_vectors() if diversity else None
        units = unit[left] if unit is not None else None
        taken = np.zeros(count, np.bool_)
        caps = [self._limit(rule) for rule in limits]
        found: list[int] = []
        windows = [rule.first for rule in (*limits, *(rule for rule, _ in shares), diversity) if rule is not None]
        # After the last window, the other items follow in their order.
        while len(found) < min(size, max(windows, default=0)) and not taken.all():
            place = len(found)
            chosen = self._pinned.get(place)
            if chosen is None:
                index = self._choose(place, gain, worth, taken, caps, shares, found, diversity)
                taken[index] = True
                chosen = int(left[index])
                for cap in caps:
                    _count(cap, cap.values[index], place)
            found.append(chosen)
            if diversity and unit is not None and units is not None and place + 1 < diversity.first:
                np.maximum(similar, np.round(units @ unit[chosen], _DIGITS), out=similar)
                gain = (1 - diversity.strength) * worth - diversity.strength * similar
            else:
                gain = worth
        filled = len(found)
        found += left[~taken][: size - filled].tolist()
        for place, position in sorted(self._pinned.items()):
            if place >= filled:
                found.insert(place, position)
        return found[:size]

    def _choose(
        self,
        place: int,
        gain: npt.NDArray[np.float64],
        worth: npt.NDArray[np.float64],
        taken: Mask,
        caps: Sequence[_LimitState],
        shares: Sequence[tuple[Freshness, Mask]],
        found: Sequence[int],
        diversity: Diversity | None,
    ) -> int:
        """The index in `left` of the item for a place."""
        free = ~taken
        allowed = free
        active = [cap for cap in caps if place < cap.first]
        for cap in active:
            allowed = allowed & ~cap.full
        if not allowed.any():
            allowed, active = free, []
        best, name = _best(gain, allowed), ""
        for rule, fresh in shares:
            wanted = math.floor((place + 1) * rule.share + _ROUNDING)
            if place < rule.first and np.count_nonzero(fresh[found]) < wanted and not fresh[self._left[best]]:
                candidates = allowed & fresh[self._left]
                if candidates.any():
                    best, name = _best(gain, candidates), rule.name
                    break
        if name:
            self._moved.add(int(self._left[best]), name)
        elif diversity and place < diversity.first and best != _best(worth, allowed):
            self._moved.add(int(self._left[best]), diversity.name)
        for cap in active:
            for held in np.flatnonzero(free & cap.full & (gain > gain[best])):
                self._moved.add(int(self._left[held]), cap.name)
        return best

    def _limit(self, rule: Limit) -> _LimitState:
        column = self._columns.values(rule.field)
        values = [column[position] for position in self._left.tolist()]
        members: dict[str, list[int]] = {}
        for index, of_item in enumerate(values):
            for value in of_item:
                members.setdefault(value, []).append(index)
        room = dict.fromkeys(members, rule.count)
        cap = _LimitState(rule.name, rule.first, values, members, room, np.zeros(len(values), np.bool_))
        for place, position in self._pinned.items():
            _count(cap, column[position], place)
        return cap

    def _unit_vectors(self) -> npt.NDArray[np.float64]:
        """The vectors around their mean, with length 1; zeros for items that have none or that only a pin shows.

        The vectors of towers share a direction, so that without this step all items would resemble each other.
        """
        assert self._items.vectors is not None
        known = np.flatnonzero(self._items.vectors.any(axis=1))
        vectors = np.zeros((len(self._items.ids), self._items.vectors.shape[1]))
        if len(known):
            vectors[known] = self._items.vectors[known]
            vectors[known] -= vectors[known].mean(axis=0)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > _ROUNDING, length, 1)


def _best(gain: npt.NDArray[np.float64], allowed: Mask) -> int:
    """The index of the allowed item with the largest gain; of equal ones, the first."""
    return int(np.argmax(np.where(allowed, gain, -np.inf)))


def _count(cap: _LimitState, values: Iterable[str], place: int) -> None:
    """Count an item that stands at a place. Pinned ones count from the beginning."""
    if place >= cap.first:
        return
    for value in values:
        if value in cap.room:
            cap.room[value] -= 1
            if cap.room[value] <= 0:
                cap.full[cap.members[value]] = True


class _Columns:
    """The fields of items, and which items meet conditions."""

    def __init__(self, items: RankedItems) -> None:
        self._items = items
        self._codes: dict[str, tuple[npt.NDArray[np.int64], Sequence[tuple[str, ...]]]] = {}

    @property
    def count(self) -> int:
        """The number of items."""
        return len(self._items.ids)

    def known(self, rule: Rule) -> bool:
        """Whether the fields that a rule reads are known."""
        return self._items.fields is not None or not rule.fields

    def values(self, name: str) -> Sequence[tuple[str, ...]]:
        """The values of a field for each item."""
        if name == SKU_ID or self._items.fields is None:
            return [(sku_id,) for sku_id in self._items.ids]
        return self._items.fields[name]

    def met(self, rule: Boost | Bury | Exclude) -> Mask:
        """Which items meet all conditions of a rule; none if their fields are unknown."""
        met = np.full(len(self._items.ids), self.known(rule))
        if self.known(rule):
            for condition in rule.when:
                met &= self._verdicts(condition)
        return met

    def fresh(self, rule: Freshness, now: float) -> Mask:
        """Which items are fresh."""
        oldest = now - rule.days * _DAY_SECONDS
        column = self.values(rule.field)
        return np.array([any(time_of(value) >= oldest for value in values) for values in column], np.bool_)

    def _verdicts(self, condition: Condition) -> Mask:
        """Whether each item meets a condition, which is asked once for each combination of values."""
        name = condition.field
        if name not in self._codes:
            number: dict[tuple[str, ...], int] = {}
            column = self.values(name)
            codes = np.array([number.setdefault(values, len(number)) for values in column], np.int64)
            self._codes[name] = codes, list(number)
        codes, distinct = self._codes[name]
        verdicts = np.array([condition.met_by({name: values}) for values in distinct], np.bool_)
        met: npt.NDArray[Any] = verdicts[codes] if len(codes) else np.zeros(0, np.bool_)
        return met


def time_of(text: str) -> float:
    """Return a time in seconds since 1970; NaN if the text is none.

    Args:
        text: A date or a time in ISO 8601, which is in UTC unless it has a zone, or seconds or milliseconds since 1970.
    """
    number = parse_number(text)
    if not math.isnan(number):
        return number if abs(number) < _MAX_SECONDS else number / 1_000
    try:
        # Python 3.10 does not know the zone Z.
        found = datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in "Zz" else text)
    except ValueError:
        return math.nan
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
