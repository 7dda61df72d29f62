"""The inputs of a model from elsewhere, computed by its mapping: what `RankerInputs` is for recmesh's own ranker.

Whatever the model's own inputs are called, it is served with two: `dense` float32 [N, D], the columns of all its float
inputs side by side, and `sparse` int64 [N, C], those of its integer inputs. A model without the one kind gets a column
of zeros there. The import (jobs/import_model) exports it in that form.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from recmesh.errors import ReleaseError
from recmesh.features.mapping import DType, Imported, ModelMapping
from recmesh.features.slot import Slot
from recmesh.features.spec import Array, Ints
from recmesh.features.user import NO_ITEMS, User

TABLES = "imported.npz"
MATRICES: dict[str, DType] = {"dense": "float32", "sparse": "int64"}

Texts = Mapping[str, Sequence[str | None]]
"""A value an item for each item field, None where it has none."""
Tables = Mapping[str, Array]
"""What slots give for the items of the catalogue, [items + 1, width]; the last row stands for an unknown item."""


@dataclass(frozen=True)
class MappedModels:
    """The inputs of a release's models that come from elsewhere; None where a model is recmesh's own."""

    ranker: "MappedInputs | None" = None
    user_tower: "MappedInputs | None" = None
    item_tower: "MappedInputs | None" = None

    def __bool__(self) -> bool:
        return any((self.ranker, self.user_tower, self.item_tower))

    @classmethod
    def load(cls, features: Path, missing: Sequence[str]) -> "MappedModels":
        """From the feature folder of a release. Raises ReleaseError when a file is missing or damaged."""
        mappings = Imported.load(features)
        named = {name: mapping for name in cls.__annotations__ if (mapping := getattr(mappings, name)) is not None}
        if not named:
            return cls()
        path = features / TABLES
        try:
            with np.load(path, allow_pickle=False) as file:
                tables = {name: file[name] for name in file.files}
            # An item tower is asked for new items only: those of the catalogue have their vectors.
            return cls(
                **{
                    name: MappedInputs(name, mapping, {} if name == "item_tower" else tables, missing)
                    for name, mapping in named.items()
                }
            )
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise ReleaseError(f"{path}: damaged tables of an imported model ({error}); import again") from error


class MappedInputs:
    """Makes `dense` and `sparse` of one model. Safe to share between threads.

    model: the name of its mapping in `Imported`. tables: those that `tables` made for it. missing: values that mean
    that there is none.
    """

    def __init__(self, model: str, mapping: ModelMapping, tables: Tables, missing: Sequence[str]) -> None:
        self._matrices = {
            name: _Matrix(dtype, _keyed(model, mapping, dtype), tables, frozenset(missing))
            for name, dtype in MATRICES.items()
        }

    def of_items(self, user: User | None, items: Ints, unlisted: Sequence[Mapping[str, str]] = ()) -> dict[str, Array]:
        """A row for each item of the catalogue, and after them for each other one, which is known by its fields."""
        return {name: matrix.rows(user, items, unlisted) for name, matrix in self._matrices.items()}

    def of_user(self, user: User) -> dict[str, Array]:
        """One row, of a model that looks at no item."""
        return self.of_items(user, NO_ITEMS, ({},))

    def of_fields(self, fields: Mapping[str, str]) -> dict[str, Array]:
        """One row, of a model that looks at no user: an item by its fields, the id among them."""
        return self.of_items(None, NO_ITEMS, (fields,))


class _Matrix:
    """One of the two: which slot fills which columns. Without tables, no item of the catalogue can be asked for."""

    def __init__(self, dtype: DType, slots: Sequence[tuple[str, Slot]], tables: Tables, missing: Set[str]) -> None:
        self._dtype = np.dtype(dtype)
        self._missing = missing
        self._width = max(sum(slot.width for _, slot in slots), 1)
        self._constant = np.zeros(self._width, self._dtype)
        self._user: list[tuple[slice, Slot]] = []
        self._history: list[tuple[slice, Slot, Array]] = []
        self._item: list[tuple[slice, Slot]] = []
        self._columns: list[int] = []
        parts, begin = [], 0
        for key, slot in slots:
            place = slice(begin, begin + slot.width)
            begin += slot.width
            if slot.side == "constant":
                self._constant[place] = slot.columns(None)
            elif slot.side == "user":
                self._user.append((place, slot))
            elif slot.side == "history":
                self._history.append((place, slot, tables[key][:, 0]))
            else:
                self._item.append((place, slot))
                self._columns += range(place.start, place.stop)
                parts.append(tables[key] if tables else np.zeros((0, slot.width)))
        self._table = np.concatenate(parts, 1).astype(self._dtype) if parts else np.zeros((0, 0), self._dtype)

    def rows(self, user: User | None, items: Ints, unlisted: Sequence[Mapping[str, str]]) -> Array:
        """See `MappedInputs.of_items`."""
        rows: Array = np.empty((len(items) + len(unlisted), self._width), self._dtype)
        rows[:] = self._constant if user is None else self._of_user(user)
        if self._columns:
            if len(items):
                rows[: len(items), self._columns] = self._table[items]
            for row, fields in enumerate(unlisted, len(items)):
                for place, slot in self._item:
                    rows[row, place] = self._columns_of(slot, fields)
        return rows

    def _of_user(self, user: User) -> Array:
        row: Array = self._constant.copy()
        for place, slot in self._user:
            row[place] = self._columns_of(slot, user.profile)
        for place, slot, table in self._history:
            newest = table[user.owned.items[: slot.width]]
            row[place] = slot.padding
            row[place.start : place.start + len(newest)] = newest
        return row

    def _columns_of(self, slot: Slot, fields: Mapping[str, str]) -> list[float]:
        value = fields.get(slot.field)
        return slot.columns(None if value in self._missing else value)


def tables(model: str, mapping: ModelMapping, texts: Texts) -> dict[str, Array]:
    """What the slots of a mapping that look at items (or at those of a history) give for each item. `texts` has every
    field of theirs."""
    made: dict[str, Array] = {}
    for dtype in MATRICES.values():
        for key, slot in _keyed(model, mapping, dtype):
            if slot.side in ("item", "history"):
                one = slot.model_copy(update={"width": 1}) if slot.side == "history" else slot
                values = [*texts[slot.field], None]
                rows = {text: one.columns(text) for text in dict.fromkeys(values)}
                made[key] = np.array([rows[text] for text in values], dtype)
    return made


def _keyed(model: str, mapping: ModelMapping, dtype: DType) -> list[tuple[str, Slot]]:
    """The slots of one matrix, each with the name of its table."""
    return [(f"{model}/{dtype}/{number}", slot) for number, (_, slot) in enumerate(mapping.matrix(dtype))]
