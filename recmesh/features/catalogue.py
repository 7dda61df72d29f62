"""The catalogue: the items of a release with their encoded fields. Nothing in it depends on time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from recmesh.errors import ReleaseError
from recmesh.features.spec import Floats, Ints


@dataclass(frozen=True)
class Catalogue:
    """Items by number.

    The arrays have one row more than there are items. The last row, which item -1 reaches as well, stands for an item
    without fields.

    Attributes:
        sku_ids: The id of each item.
        codes: For each item field int32 [items + 1, width].
        numbers: float32 [items + 1, item fields], standardised; 0 for fields that are not numeric.
        index: The number of each id.
    """

    sku_ids: list[str]
    codes: list[Ints]
    numbers: Floats
    index: dict[str, int] = field(repr=False)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.sku_ids)

    def encode(self, sku_ids: Sequence[str]) -> Ints:
        """Return the item numbers int32 of ids; -1 for ids outside the catalogue."""
        return np.fromiter(map(self.index.get, sku_ids, repeat(-1)), np.int32, len(sku_ids))

    def save(self, folder: Path) -> None:
        """Write `catalogue.npz` and `sku_ids.txt`."""
        arrays = {f"codes_{number}": codes for number, codes in enumerate(self.codes)}
        np.savez(folder / "catalogue.npz", numbers=self.numbers, **arrays)  # type: ignore[arg-type]
        (folder / "sku_ids.txt").write_text("".join(f"{sku}\n" for sku in self.sku_ids), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, folder: Path) -> "Catalogue":
        """Read what `save` wrote.

        Raises:
            ReleaseError: If a file is missing or damaged.
        """
        try:
            sku_ids = (folder / "sku_ids.txt").read_text(encoding="utf-8").split("\n")[:-1]
            with np.load(folder / "catalogue.npz") as arrays:
                codes = [arrays[f"codes_{number}"] for number in range(len(arrays.files) - 1)]
                numbers = arrays["numbers"]
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ReleaseError(f"{folder}: damaged catalogue ({error}); train again") from error
        return cls(sku_ids, codes, numbers, {sku: number for number, sku in enumerate(sku_ids)})

    @classmethod
    def build(cls, sku_ids: Sequence[str], codes: Sequence[Ints], numbers: Floats) -> "Catalogue":
        """Make a catalogue by adding the row of an item without fields.

        Args:
            sku_ids: The id of each item.
            codes: For each item field int32 [items, width].
            numbers: float32 [items, item fields].
        """
        rows = [np.concatenate([field_codes, np.zeros((1, field_codes.shape[1]), np.int32)]) for field_codes in codes]
        padded = np.concatenate([numbers, np.zeros((1, numbers.shape[1]), np.float32)])
        return cls(list(sku_ids), rows, padded, {sku: number for number, sku in enumerate(sku_ids)})
