"""The reference request: a request to the ranker, recorded with its scores. A healthy backend reproduces them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recmesh.errors import ReleaseError, Unavailable
from recmesh.releases.agreement import disagreement

REFERENCE_REQUEST = "ranker/canary.npz"
_INPUT, _OUTPUT, _SCALE = "inputs.", "outputs.", "scales."

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ReferenceRequest:
    """A request to the ranker and its answer.

    Attributes:
        inputs: The inputs by name, float32 or int64 [items, width].
        outputs: The outputs by name, float32 [items].
        scales: The typical scale of each output; 1 for an output that is not named.
    """

    inputs: Arrays
    outputs: Arrays
    scales: Mapping[str, float] = field(default_factory=dict)

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
        scales = {name: float(scale) for name, scale in _part(arrays, _SCALE).items()}
        return cls(_part(arrays, _INPUT), _part(arrays, _OUTPUT), scales)

    def save(self, release: Path) -> None:
        """Write the reference request into a release folder."""
        arrays: dict[str, Any] = {_INPUT + name: array for name, array in self.inputs.items()}
        arrays |= {_OUTPUT + name: array for name, array in self.outputs.items()}
        arrays |= {_SCALE + name: np.float64(scale) for name, scale in self.scales.items()}
        np.savez(release / REFERENCE_REQUEST, **arrays)

    def check(self, outputs: Arrays, tolerance: float) -> None:
        """Compare an answer with the recorded outputs.

        Args:
            outputs: The answer of a backend.
            tolerance: The largest difference, relative to the scale of the recorded outputs.

        Raises:
            Unavailable: If an output is missing or differs, or sorts the items differently.
        """
        for name, expected in self.outputs.items():
            got = outputs.get(name)
            if got is None:
                raise Unavailable(f"reference request: {name} is missing")
            fault = disagreement(expected, got, tolerance, self.scales.get(name, 1.0))
            if fault:
                raise Unavailable(f"reference request: {name} {fault}")


def _part(arrays: Arrays, prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
