"""Small generated data sets of many shapes.

Every user and every item has one of a few tastes. With probability `LOYALTY` an action goes to an item of the user's
taste, otherwise to any item, and popularity has a long tail. Models can therefore learn something, whatever the columns
and times look like.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Random = np.random.Generator
Column = Callable[[Random, Ints], Sequence[str]]
"""Makes the cells of a field from the taste of each row."""

TASTES, LOYALTY = 5, 0.7
DAY_MS, START = 86_400, 1_700_006_400  # seconds; a midnight
_TAIL = 0.8


@dataclass(frozen=True)
class Shape:
    """A kind of data set.

    Attributes:
        users: Number of users.
        items: Number of items.
        each: Draws the number of actions of each user.
        days: Time span of the actions.
        granularity: Time resolution, in seconds.
        user_fields: By name, the declaration in schema.yaml and the cells.
        item_fields: By name, the declaration in schema.yaml and the cells.
        repeats: Whether items may be recommended again.
        repeat: Probability that an action goes to an item that the user acted on before.
        kinds: Kinds of action with their weights.
        value: The declaration of the column `amount` in schema.yaml; empty for no such column.
        amounts: Draws the amounts of the actions.
        giant: Number of actions of a single user, 0 for no such user.
        one_visit: Whether all actions of a user have the same time.
    """

    users: int
    items: int
    each: Callable[[Random, int], Ints]
    days: int = 60
    granularity: int = 1
    user_fields: Mapping[str, tuple[str, Column]] = field(default_factory=dict)
    item_fields: Mapping[str, tuple[str, Column]] = field(default_factory=dict)
    repeats: bool = True
    repeat: float = 0.0
    kinds: Mapping[str, float] = field(default_factory=lambda: {"order": 1})
    value: str = ""
    amounts: Callable[[Random, int], Sequence[object]] = lambda rng, actions: [1] * actions
    giant: int = 0
    one_visit: bool = False


def make(shape: Shape, folder: Path, seed: int = 5) -> Path:
    """Write a data set into a new folder, and return the folder."""
    rng = np.random.default_rng(seed)
    user_taste, item_taste = rng.integers(TASTES, size=shape.users), rng.integers(TASTES, size=shape.items)
    each = shape.each(rng, shape.users)
    if shape.giant:
        each[shape.users // 2] = shape.giant
    user = np.repeat(np.arange(shape.users), each)
    item = _items(shape, rng, user, user_taste, item_taste)
    offset = rng.integers(shape.days * DAY_MS, size=len(user)) // shape.granularity * shape.granularity
    time = START + (offset[np.searchsorted(user, user)] if shape.one_visit else offset)
    kind = rng.choice(list(shape.kinds), len(user))
    folder.mkdir(parents=True)
    (folder / "schema.yaml").write_text(_schema(shape), encoding="utf-8")
    for name, key, fields, taste in (
        ("users", "who", shape.user_fields, user_taste),
        ("products", "what", shape.item_fields, item_taste),
    ):
        columns = [cells(rng, taste) for _, cells in fields.values()]
        _write(folder / f"{name}.csv", [key, *fields], [range(len(taste)), *columns])
    columns = [user.tolist(), item.tolist(), time.tolist(), kind.tolist()]
    amount = {"amount": shape.amounts(rng, len(user))} if shape.value else {}
    _write(folder / "actions.csv", ["who", "what", "when", "how", *amount], [*columns, *amount.values()])
    return folder


def _items(shape: Shape, rng: Random, user: Ints, user_taste: Ints, item_taste: Ints) -> Ints:
    mass = rng.permutation(1.0 / np.arange(10, shape.items + 10) ** _TAIL)
    item = rng.choice(shape.items, len(user), p=mass / mass.sum())
    loyal = rng.random(len(user)) < LOYALTY
    for taste in range(TASTES):
        rows, own = np.flatnonzero(loyal & (user_taste[user] == taste)), np.flatnonzero(item_taste == taste)
        item[rows] = rng.choice(own, len(rows), p=mass[own] / mass[own].sum())
    begin = np.searchsorted(user, user)
    number = np.arange(len(user)) - begin
    for row in np.flatnonzero((rng.random(len(user)) < shape.repeat) & (number > 0)).tolist():
        item[row] = item[begin[row] + int(rng.integers(number[row]))]
    return item


def _schema(shape: Shape) -> str:
    def fields(declared: Mapping[str, tuple[str, Column]]) -> str:
        return "{" + ", ".join(f"{name}: {{{declaration}}}" for name, (declaration, _) in declared.items()) + "}"

    value = f", {shape.value}" if shape.value else ""
    weights = ", ".join(f"{name}: {weight}" for name, weight in shape.kinds.items())
    return (
        f"user: {{id: who, fields: {fields(shape.user_fields)}}}\n"
        f"item: {{id: what, fields: {fields(shape.item_fields)}}}\n"
        f"action: {{user: who, item: what, time: when, unit: s, type: how, weights: {{{weights}}}{value}}}\n"
        f"repeats: {'true' if shape.repeats else 'false'}\n"
    )


def _write(path: Path, header: Sequence[str], columns: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))


def around(mean: int) -> Callable[[Random, int], Ints]:
    """Return a distribution of the number of actions: geometric, at least 2."""
    return lambda rng, users: 1 + rng.geometric(1 / (mean - 1), users)


def exactly(number: int) -> Callable[[Random, int], Ints]:
    """Return a distribution of the number of actions: the same for every user."""
    return lambda rng, users: np.full(users, number)


COLOURS = ("red", "green", "blue", "grey", "gold", "", "pink")


def colour(rng: Random, taste: Ints) -> Sequence[str]:
    """Draw a value that depends on the taste, and is missing for some rows."""
    value = np.where(rng.random(len(taste)) < 0.8, taste, rng.integers(len(COLOURS), size=len(taste)))
    return [COLOURS[index] for index in value.tolist()]


def number(rng: Random, taste: Ints) -> Sequence[str]:
    """Draw a number that increases with the taste, and is missing for some rows."""
    value = np.exp(rng.normal(taste, 0.5)) * 10
    present = rng.random(len(taste)) < 0.7
    return [f"{drawn:.2f}" if given else "" for drawn, given in zip(value, present, strict=True)]


def tags(rng: Random, taste: Ints) -> Sequence[str]:
    """Draw two or three values, of which the second depends on the taste."""
    others = rng.choice(("old", "new", "big", "small"), (len(taste), 2)).tolist()
    return [f"{first};{COLOURS[index]};{last}" for index, (first, last) in zip(taste.tolist(), others, strict=True)]


def constant(value: str) -> Column:
    """Return a column with the same value in every row."""
    return lambda rng, taste: [value] * len(taste)


CATEGORICAL, NUMERIC, MULTI = "kind: categorical", "kind: numeric", 'kind: multi, separator: ";"'
