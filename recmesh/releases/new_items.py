"""Items that were ingested after a release had been trained, with vectors of the release's item tower."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from recmesh.errors import ReleaseError


@dataclass(frozen=True)
class NewItems:
    """Items that the catalogue of a release does not contain.

    Attributes:
        sku_ids: The ids, ascending.
        vectors: float32 [items, dim], encoded from the fields.
    """

    sku_ids: Sequence[str]
    vectors: npt.NDArray[np.float32]

    @classmethod
    def none(cls) -> "NewItems":
        """Return no items."""
        return cls((), np.empty((0, 0), np.float32))

    def dump(self) -> bytes:
        """Return what `load` reads. Equal items give equal bytes."""
        buffer = io.BytesIO()
        ids = np.frombuffer("\n".join(self.sku_ids).encode(), np.uint8)  # ids have no control characters
        np.savez(buffer, sku_ids=ids, vectors=self.vectors)
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
                ids, vectors = arrays["sku_ids"].tobytes().decode(), arrays["vectors"]
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ReleaseError(f"{place}: damaged new items ({error}); run the ingestion again") from error
        sku_ids = ids.split("\n") if ids else []
        if len(sku_ids) != len(vectors):
            raise ReleaseError(
                f"{place}: damaged new items (ids and vectors differ in number); run the ingestion again"
            )
        return cls(sku_ids, vectors)
