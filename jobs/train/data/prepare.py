"""Encodes a data set as integers: vocabularies, catalogue, profiles of users, and actions sorted by user and time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from jobs.train.data.activity import ActiveTime
from recmesh.dataset import DataSet, Side
from recmesh.dataset import Field as Declared
from recmesh.dataset.inputs import Values, is_input
from recmesh.dataset.needs import MIN_ACTIONS, lacking
from recmesh.errors import DataError
from recmesh.features.catalogue import Catalogue
from recmesh.features.spec import DAY_MS, FeatureSpec, Field, Floats, Ints, Longs, Mask, Tower
from recmesh.features.vocabulary import Vocabulary, signed_log
from recmesh.numbers import parse_number
from recmesh.values import ActionWeights

MAX_BUCKETS = 20
"""Quantile buckets of a numeric field."""

MAX_VALUES_OF_A_CELL = 8
"""Values of a multi-valued field that are encoded."""


@dataclass(frozen=True)
class Prepared:
    """An encoded data set.

    The actions are sorted by user and then by time. Actions with the same time keep the order of the data set.

    Attributes:
        spec: What training and serving must know of the features.
        user_vocabularies: The codes of each user field.
        item_vocabularies: The codes of each item field.
        catalogue: The items.
        user_codes: int32 [users, user fields].
        start: int64 [users + 1]; the actions of user u are start[u]:start[u + 1].
        users: int32 [actions].
        items: int32 [actions].
        times: int64 [actions], ms since 1970.
        types: int8 [actions], positions in spec.action_types.
        values: float32 [actions].
        active: When the users were active. It ends at spec.as_of, if there are times; a few stray actions may be later.
        weights: float32 [actions], the weight of each action as long as no return takes it back.
        returns: bool [actions], the actions that take back others.
        positive: bool [actions], what users wanted in the end: actions with a weight that no return takes back, however
            late it comes.
        action_weights: Computes the weights of actions.
    """

    spec: FeatureSpec
    user_vocabularies: list[Vocabulary]
    item_vocabularies: list[Vocabulary]
    catalogue: Catalogue
    user_codes: Ints
    start: Longs
    users: Ints
    items: Ints
    times: Longs
    types: "np.ndarray[tuple[int], np.dtype[np.int8]]"
    values: Floats
    active: ActiveTime
    weights: Floats
    returns: Mask
    positive: Mask
    action_weights: ActionWeights

    def known(self, until: Longs) -> Longs:
        """Return the rows of the actions before `until` (int64 [users], a position for each user), ascending."""
        return np.flatnonzero(np.arange(len(self.users)) < until[self.users])

    def only(self, rows: Longs) -> "Prepared":
        """Return a data set with these actions alone: the others are removed, not masked.

        Args:
            rows: int64, ascending.
        """
        start = np.searchsorted(self.users[rows], np.arange(len(self.start)))
        columns = ("users", "items", "times", "types", "values", "weights", "returns", "positive")
        return replace(self, start=start, **{name: getattr(self, name)[rows] for name in columns})

    def pairs(self, rows: Longs | Mask | slice) -> Longs:
        """Return a number for the user and the item of some actions, int64: user * items + item."""
        return _pairs(self.users[rows], self.items[rows], len(self.catalogue))

    def weights_of(self, rows: Longs | slice) -> Floats:
        """Return the weights of some actions, float32. What others of them take back has weight 0."""
        if not self.returns[rows].any():
            return self.weights[rows]
        return self.action_weights(self.pairs(rows), self.times[rows], self.types[rows], self.values[rows])


def prepare(data: DataSet) -> Prepared:
    """Encode a data set.

    Raises:
        DataError: The data set is too small to train on.
    """
    _check_size(data)
    schema = data.schema
    user_vocabularies = _vocabularies(schema.user, data.users, schema.missing)
    item_vocabularies = _vocabularies(schema.item, data.items, schema.missing)
    numbers = np.zeros((len(data.items), len(item_vocabularies)), np.float32)
    for column, vocabulary in enumerate(item_vocabularies):
        if vocabulary.field.kind == "numeric":
            numbers[:, column] = [vocabulary.number(value) for value in data.items[vocabulary.field.name]]
    codes = [_encode(v, data.items[v.field.name]) for v in item_vocabularies]
    user_codes = [_encode(v, data.users[v.field.name])[:, 0] for v in user_vocabularies]
    actions = _columns(data)
    times = actions["time"].to_numpy()
    users = actions["user"].to_numpy().astype(np.int32)
    granularity = DAY_MS if not (times % DAY_MS).any() else 1
    active = ActiveTime.of(users, times, granularity)
    kinds = data.actions["type"].dtype
    names = kinds.categories.to_list() if isinstance(kinds, pl.Enum) else sorted(data.actions["type"].unique())
    types, values = actions["type"].to_numpy().astype(np.int8), actions["value"].to_numpy()
    type_weights = {name: schema.weight(name) for name in names}
    weights = ActionWeights.of(type_weights, schema.action.rule).scaled_to(types, values)
    items = actions["item"].to_numpy().astype(np.int32)
    positive = weights(_pairs(users, items, len(data.items)), times, types, values) > 0
    if positive.sum() < MIN_ACTIONS:
        raise DataError(
            f"{data.folder}: by the weights of their types and by their values, only {positive.sum()} of "
            f"{len(data.actions):,} actions are positive; training needs at least {MIN_ACTIONS}"
        )
    spec = FeatureSpec(
        as_of=active.end if schema.action.time else 0,
        repeats=schema.repeats,
        clock=False,
        granularity=granularity,
        user_fields=tuple(v.field for v in user_vocabularies),
        item_fields=tuple(v.field for v in item_vocabularies),
        missing=schema.missing,
        action_weights=type_weights,
        values=weights.rule,
        popularities=(),
        tower=Tower(),
    )
    return Prepared(
        spec=spec,
        user_vocabularies=user_vocabularies,
        item_vocabularies=item_vocabularies,
        catalogue=Catalogue.build(data.items["sku_id"].cast(pl.String).to_list(), codes, numbers),
        user_codes=np.stack(user_codes, 1) if user_codes else np.zeros((len(data.users), 0), np.int32),
        start=np.searchsorted(users, np.arange(len(data.users) + 1)),
        users=users,
        items=items,
        times=times,
        types=types,
        values=values,
        weights=weights.before_returns(types, values),
        returns=weights.returns(values),
        positive=positive,
        active=active,
        action_weights=weights,
    )


def _pairs(users: Ints, items: Ints, item_count: int) -> Longs:
    """Return a number for each user and item, int64."""
    return users.astype(np.int64) * item_count + items


def _check_size(data: DataSet) -> None:
    lack = next(lacking(data), None)
    if lack:
        raise DataError(f"{data.folder}: {lack[1]}")


def _columns(data: DataSet) -> pl.DataFrame:
    return data.actions.select(
        user=pl.col("user_id").to_physical(),
        item=pl.col("sku_id").to_physical(),
        time=pl.col("time"),
        type=pl.col("type").to_physical(),
        value=pl.col("value"),
    ).sort("user", "time", maintain_order=True)


def _vocabularies(side: Side, frame: pl.DataFrame, missing: Sequence[str]) -> list[Vocabulary]:
    """Return the codes of the fields that models read."""
    declared = {name: field for name, field in side.fields.items() if is_input(field, frame[name])}
    return [_vocabulary(name, field, frame[name], missing) for name, field in declared.items()]


def _vocabulary(name: str, declared: Declared, column: pl.Series, missing: Sequence[str]) -> Vocabulary:
    if declared.kind == "numeric":
        return Vocabulary(_numeric_field(name, column), (), missing)
    known = Values.of(declared, column).vocabulary()
    if declared.kind == "categorical":
        return Vocabulary(Field(name=name, kind="categorical"), known, missing)
    separator = declared.separator or "|"
    parts = column.drop_nulls().unique().str.split(separator).list.eval(pl.element().str.strip_chars())
    counts = parts.list.eval(pl.element().filter(pl.element() != "")).list.n_unique()
    width = min(MAX_VALUES_OF_A_CELL, int(counts.to_numpy().max(initial=1)))
    return Vocabulary(Field(name=name, kind="multi", separator=separator, width=width), known, missing)


def _numeric_field(name: str, column: pl.Series) -> Field:
    parsed = np.array([parse_number(value) for value in column.drop_nulls()], np.float64)
    parsed = parsed[~np.isnan(parsed)]
    if not len(parsed):
        return Field(name=name, kind="numeric")
    bounds = np.unique(np.quantile(parsed, np.linspace(0, 1, MAX_BUCKETS + 1)[1:-1]))
    logs = np.array([signed_log(number) for number in parsed])
    # Rounding makes the deviation of equal values 4e-16 or so, and any other value infinitely far away.
    scale = float(logs.std()) if np.ptp(logs) > 0 else 1.0
    return Field(name=name, kind="numeric", bounds=tuple(bounds.tolist()), center=float(logs.mean()), scale=scale)


def _encode(vocabulary: Vocabulary, column: pl.Series) -> Ints:
    """Return the codes of a column, int32 [rows, width]. Each distinct value is encoded once."""
    distinct = column.unique(maintain_order=True)
    table = np.array([vocabulary.codes(value) for value in distinct], np.int32).reshape(len(distinct), -1)
    number = column.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    row = np.zeros(int(number.max(initial=0)) + 1, np.int64)
    row[distinct.rank("dense").fill_null(0).to_numpy().astype(np.int64)] = np.arange(len(distinct))
    codes: Ints = table[row[number]]
    return codes
