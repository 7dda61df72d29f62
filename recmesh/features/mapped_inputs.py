"""The inputs of an imported model, computed by its mapping. `RankerInputs` is the counterpart for recmesh's ranker.

Every imported model is served with two inputs: `dense` float32 [N, D] has the columns of all its float inputs, and
`sparse` int64 [N, C] those of its integer inputs. A model without inputs of a kind gets a single column of zeros. The
import (jobs/import_model) exports models in this form.
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
"""For each item field the value of every item; None for a missing value."""
Tables = Mapping[str, Array]
"""The columns of each slot for the catalogue, [items + 1, width]; the last row is that of an unknown item."""


@dataclass(frozen=True)
class MappedModels:
    """The inputs of a release's imported models; None for recmesh's own models."""

    ranker: "MappedInputs | None" = None
    user_tower: "MappedInputs | None" = None
    item_tower: "MappedInputs | None" = None

    def __bool__(self) -> bool:
        """Tell whether the release has an imported model."""
        return any((self.ranker, self.user_tower, self.item_tower))

    @classmethod
    def load(cls, features: Path, missing: Sequence[str]) -> "MappedModels":
        """Read the mappings and tables of a release.

        Args:
            features: The feature folder of the release.
            missing: Field values that mean "missing".

        Raises:
            ReleaseError: If a file is missing or damaged.
        """
        mappings = Imported.load(features)
        named = {name: mapping for name in cls.__annotations__ if (mapping := getattr(mappings, name)) is not None}
        if not named:
            return cls()
        path = features / TABLES
        try:
            with np.load(path, allow_pickle=False) as file:
                tables = {name: file[name] for name in file.files}
            # The item tower encodes only new items: the vectors of catalogue items are stored.
            return cls(
                **{
                    name: MappedInputs(name, mapping, {} if name == "item_tower" else tables, missing)
                    for name, mapping in named.items()
                }
            )
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ReleaseError(f"{path}: damaged tables of an imported model ({error}); import again") from error


class MappedInputs:
    """Computes `dense` and `sparse` of a model. Threads may share it."""

    def __init__(self, model: str, mapping: ModelMapping, tables: Tables, missing: Sequence[str]) -> None:
        """Prepare the two matrices.

        Args:
            model: The name of the mapping in `Imported`.
            mapping: The mapping.
            tables: The result of `tables` for this mapping; empty for an item tower.
            missing: Field values that mean "missing".
        """
        self._matrices = {
            name: _Matrix(dtype, _keyed(model, mapping, dtype), tables, frozenset(missing))
            for name, dtype in MATRICES.items()
        }

    def of_items(self, user: User | None, items: Ints, unlisted: Sequence[Mapping[str, str]] = ()) -> dict[str, Array]:
        """Return a row for each catalogue item, followed by a row for each unlisted item, given by its fields."""
        return {name: matrix.rows(user, items, unlisted) for name, matrix in self._matrices.items()}

    def of_user(self, user: User) -> dict[str, Array]:
        """Return the row of a model that reads no item."""
        return self.of_items(user, NO_ITEMS, ({},))

    def of_fields(self, fields: Mapping[str, str]) -> dict[str, Array]:
        """Return the row of a model that reads no user, for an item given by its fields, including the id."""
        return self.of_items(None, NO_ITEMS, (fields,))


class _Matrix:
    """The layout of `dense` or `sparse`: which slot fills which columns. Catalogue items need tables."""

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
    """Compute the columns of every slot that reads an item, or the items of a history, for the catalogue.

    Args:
        model: The name of the mapping in `Imported`.
        mapping: The mapping.
        texts: The values of every item field that the mapping uses.

    Returns:
        The arrays [items + 1, width] by slot, the last row for an unknown item. A slot of a history has width 1.
    """
    made: dict[str, Array] = {}
    for dtype in MATRICES.values():
        for key, slot in _keyed(model, mapping, dtype):
            if slot.side in ("item", "history"):
                single = slot.model_copy(update={"width": 1}) if slot.side == "history" else slot
                values = [*texts[slot.field], None]
                rows = {text: single.columns(text) for text in dict.fromkeys(values)}
                made[key] = np.array([rows[text] for text in values], dtype)
    return made


def _keyed(model: str, mapping: ModelMapping, dtype: DType) -> list[tuple[str, Slot]]:
    """Return the slots of a matrix, each with the name of its table."""
    return [(f"{model}/{dtype}/{number}", slot) for number, (_, slot) in enumerate(mapping.matrix(dtype))]
