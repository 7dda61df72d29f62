"""A trial of a release before its activation: it is loaded as services load it, and answers one request."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recmesh.errors import RecmeshError, ReleaseError
from recmesh.releases.agreement import TOLERANCE
from recmesh.releases.checks import Check
from recmesh.releases.manifest import Manifest
from recmesh.releases.reference import ReferenceRequest

if TYPE_CHECKING:
    from recmesh.features import Encoder
    from recmesh.features.spec import Floats

_USER_TOWER, _RANKER = "user_tower.onnx", "ranker.onnx"
_ITEMS = 8


def loads(folder_of: Callable[[Manifest], Path]) -> Check:
    """Make the check that a release loads, and that its ranker gives the recorded scores.

    Releases of format 1 pass without a trial: they have no recorded scores. Starters have no ranker.

    Args:
        folder_of: Returns the folder with a copy of the release.
    """

    def check(manifest: Manifest) -> None:
        if manifest.ranker is None and not manifest.starter:
            return
        try:
            _try(manifest, folder_of(manifest))
        except RecmeshError as error:
            raise ReleaseError(f"release {manifest.id} refused: {error}") from error
        except Exception as error:  # ONNX Runtime, numpy, zipfile and others have their own
            raise ReleaseError(
                f"release {manifest.id} refused: it cannot be loaded ({type(error).__name__}: {error}); train again"
            ) from error

    return check


def _try(manifest: Manifest, folder: Path) -> None:
    # These need the compiled kernels, which most commands do without.
    from recmesh.features import Encoder
    from recmesh.features.encoder import FEATURES
    from recmesh.retrieval.scenarios import Scenarios

    encoder = Encoder.load(folder)
    if len(encoder.catalogue) != manifest.items:
        raise ReleaseError(f"the catalogue has {len(encoder.catalogue)} items, the manifest {manifest.items}")
    Scenarios.load(folder / FEATURES, manifest.items)
    vector = None
    if (folder / _USER_TOWER).exists():
        vector = _session(folder / _USER_TOWER).run(None, encoder.tower_inputs(encoder.user({})))[0][0]
        if vector.shape != (manifest.dim,):
            raise ReleaseError(
                f"{_USER_TOWER} gives vectors of {len(vector)} numbers, the manifest says {manifest.dim}"
            )
    if not manifest.starter:
        _try_ranker(encoder, vector, folder)


def _try_ranker(encoder: "Encoder", vector: "Floats | None", folder: Path) -> None:
    user, items = encoder.user({}), np.arange(min(len(encoder.catalogue), _ITEMS), dtype=np.int32)
    ranker = _session(folder / _RANKER)
    scores = ranker.run(None, encoder.ranker_inputs(user, items, False, (), vector))
    if not all(output.shape == items.shape and np.isfinite(output).all() for output in scores):
        raise ReleaseError(f"{_RANKER} does not give one number for each item")
    reference = ReferenceRequest.load(folder)
    names = list(reference.outputs)
    answers = ranker.run(names, dict(reference.inputs))
    reference.check(dict(zip(names, answers, strict=True)), TOLERANCE)


def _session(model: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
