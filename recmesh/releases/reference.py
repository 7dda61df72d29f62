"""A recorded request to the ranker with its answer: what a model server must reproduce to be called healthy."""

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
    """`inputs` of the ranker by name, float32 or int64 [items, width], and its `outputs` by name, float32 [items]."""

    inputs: Arrays
    outputs: Arrays

    @classmethod
    def load(cls, release: Path) -> "ReferenceRequest":
        """The reference of a release folder. Raises ReleaseError when there is none."""
        path = release / REFERENCE_REQUEST
        if not path.is_file():
            raise ReleaseError(f"{path}: this release was made before rankers had canaries; train again")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return cls(_part(arrays, _INPUT), _part(arrays, _OUTPUT))

    def save(self, release: Path) -> None:
        """Write it into a release folder."""
        arrays: dict[str, Any] = {_INPUT + name: array for name, array in self.inputs.items()}
        arrays |= {_OUTPUT + name: array for name, array in self.outputs.items()}
        np.savez(release / REFERENCE_REQUEST, **arrays)

    def check(self, outputs: Arrays, tolerance: float) -> None:
        """Compare an answer with the recorded one. `tolerance`: relative where figures exceed 1.

        Raises Unavailable when an output is missing or differs.
        """
        for name, expected in self.outputs.items():
            got = outputs.get(name)
            if got is None or got.shape != expected.shape:
                raise Unavailable(f"reference: {name} is missing or of another length")
            distance = difference(expected, got)
            if not distance <= tolerance:  # so that NaN is refused as well
                raise Unavailable(f"reference: {name} differs by {distance:.2g} from what the release recorded")


def difference(expected: npt.NDArray[Any], got: npt.NDArray[Any]) -> float:
    """The largest difference of two arrays of one shape, relative where the expected figure exceeds 1; 0 where they are
    empty, NaN where either holds one."""
    return float((np.abs(expected - got) / np.maximum(np.abs(expected), 1.0)).max(initial=0.0))


def _part(arrays: Arrays, prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
