"""The reference request of an exported ranker, and the description that a model server needs to run the ranker."""

from collections.abc import Sequence
from pathlib import Path

from jobs.train.export.paddle_models import Inputs, infer, predictor
from jobs.train.models.deepfm import RANKER_OUTPUTS
from recmesh.releases.agreement import typical_scale
from recmesh.releases.manifest import RankerModel, TensorInput
from recmesh.releases.reference import ReferenceRequest

MAX_ROWS = 8
"""Rows of a reference request."""


def record(prefix: Path, recorded: Sequence[Inputs], release: Path) -> None:
    """Write a reference request, with the scores of Paddle Inference, into the folder of a release.

    Args:
        prefix: Prefix of Paddle's files of the ranker.
        recorded: Inputs of the ranker, of which the first rows of one are used.
        release: Folder of the release.
    """
    request = next((inputs for inputs in recorded if _rows(inputs) >= MAX_ROWS), recorded[0])
    inputs = {name: array[:MAX_ROWS] for name, array in request.items()}
    model = predictor(prefix)
    lists = zip(*(infer(model, other).values() for other in recorded), strict=True)
    scales = dict(zip(RANKER_OUTPUTS, map(typical_scale, lists), strict=True))
    answers = dict(zip(RANKER_OUTPUTS, infer(model, inputs).values(), strict=True))
    ReferenceRequest(inputs, answers, scales).save(release)


def describe(release: Path, prefix: Path) -> RankerModel:
    """Describe the inputs and outputs of the ranker.

    Args:
        release: Folder of the release, with its reference request.
        prefix: Prefix of Paddle's files of the ranker.
    """
    inputs = ReferenceRequest.load(release).inputs
    return RankerModel(
        inputs={
            name: TensorInput.model_validate({"dtype": str(array.dtype), "width": array.shape[1]})
            for name, array in inputs.items()
        },
        outputs=dict(zip(RANKER_OUTPUTS, predictor(prefix).get_output_names(), strict=True)),
    )


def _rows(inputs: Inputs) -> int:
    return min(map(len, inputs.values()))
