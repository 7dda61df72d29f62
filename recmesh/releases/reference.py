"""The reference request: a request to the ranker, recorded with its scores. A healthy backend reproduces them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recmesh.errors import ReleaseError, Unavailable

REFERENCE_REQUEST = "ranker/canary.npz"
_INPUT, _OUTPUT = "inputs.", "outputs."

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ReferenceRequest:
    """A request to the ranker and its answer.

    Attributes:
        inputs: The inputs by name, float32 or int64 [items, width].
        outputs: The outputs by name, float32 [items].
    """

    inputs: Arrays
    outputs: Arrays

    @classmethod
    def load(cls, release: Path) -> "ReferenceRequest":
        """Read the reference request of a release folder.

        Raises:
            ReleaseError: If the release has none.
        """
        path = release / REFERENCE_REQUEST
        if not path.is_file():
            raise ReleaseError(f"{path}: this release has no reference request; train again")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return cls(_part(arrays, _INPUT), _part(arrays, _OUTPUT))

    def save(self, release: Path) -> None:
        """Write the reference request into a release folder."""
        arrays: dict[str, Any] = {_INPUT + name: array for name, array in self.inputs.items()}
        arrays |= {_OUTPUT + name: array for name, array in self.outputs.items()}
        np.savez(release / REFERENCE_REQUEST, **arrays)

    def check(self, outputs: Arrays, tolerance: float) -> None:
        """Compare an answer with the recorded outputs.

        Args:
            outputs: The answer of a backend.
            tolerance: The largest allowed difference; relative for recorded values above 1.

        Raises:
            Unavailable: If an output is missing or differs.
        """
        for name, expected in self.outputs.items():
            got = outputs.get(name)
            if got is None or got.shape != expected.shape:
                raise Unavailable(f"reference request: {name} is missing or has another length")
            distance = difference(expected, got)
            if not distance <= tolerance:  # rejects NaN, too
                raise Unavailable(f"reference request: {name} differs by {distance:.2g} from the recorded values")


def difference(expected: npt.NDArray[Any], got: npt.NDArray[Any]) -> float:
    """Return the largest difference of two arrays of the same shape.

    It is relative for expected values above 1. It is 0 for empty arrays, and NaN if an array contains NaN.
    """
    return float((np.abs(expected - got) / np.maximum(np.abs(expected), 1.0)).max(initial=0.0))


def _part(arrays: Arrays, prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
