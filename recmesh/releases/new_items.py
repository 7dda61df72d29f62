"""What an ingestion after the training of a release changed: items that came, with vectors, and items that went."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from recmesh.errors import ReleaseError


@dataclass(frozen=True)
class NewItems:
    """Items that the catalogue of a release does not contain, and those that the data set no longer contains.

    Attributes:
        sku_ids: The ids of the new items, ascending.
        vectors: float32 [items, dim] of the release's item tower, encoded from the fields.
        dropped: The ids of items of the catalogue that the data set no longer contains, ascending.
    """

    sku_ids: Sequence[str]
    vectors: npt.NDArray[np.float32]
    dropped: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Tell whether the ingestion changed anything."""
        return bool(self.sku_ids or self.dropped)

    @classmethod
    def none(cls) -> "NewItems":
        """Return no changes."""
        return cls((), np.empty((0, 0), np.float32))

    def dump(self) -> bytes:
        """Return what `load` reads. Equal items give equal bytes."""
        buffer = io.BytesIO()
        # Ids have no control characters.
        ids, dropped = (np.frombuffer("\n".join(ids).encode(), np.uint8) for ids in (self.sku_ids, self.dropped))
        np.savez(buffer, sku_ids=ids, vectors=self.vectors, dropped=dropped)
        return buffer.getvalue()

    @classmethod
    def load(cls, content: bytes, place: str) -> "NewItems":
        """Parse what `dump` returned.

        Args:
            content: The bytes.
            place: Named in the error message.

        Raises:
            ReleaseError: If the content is damaged.
        """
        try:
            with np.load(io.BytesIO(content)) as arrays:
                sku_ids, vectors = _ids(arrays["sku_ids"]), arrays["vectors"]
                dropped = _ids(arrays["dropped"]) if "dropped" in arrays else []  # version 0.2.0 has none
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ReleaseError(f"{place}: damaged new items ({error}); run the ingestion again") from error
        if vectors.ndim != 2 or vectors.dtype != np.float32 or len(sku_ids) != len(vectors):
            raise ReleaseError(f"{place}: damaged new items (ids and vectors do not fit); run the ingestion again")
        return cls(sku_ids, vectors, dropped)


def _ids(array: npt.NDArray[np.uint8]) -> list[str]:
    text = array.tobytes().decode()
    return text.split("\n") if text else []
