"""The reference of an exported ranker, and what a model server must know to run it."""

from collections.abc import Sequence
from pathlib import Path

from jobs.train.export.paddle_models import Inputs, infer, predictor
from jobs.train.models.deepfm import RANKER_OUTPUTS
from recmesh.releases.manifest import RankerModel, TensorInput
from recmesh.releases.reference import ReferenceRequest

_ROWS = 8


def record(prefix: Path, recorded: Sequence[Inputs], release: Path) -> None:
    """Have Paddle's own inference answer a few rows of a recorded request, and keep both in the release."""
    request = next((one for one in recorded if _rows(one) >= _ROWS), recorded[0])
    inputs = {name: array[:_ROWS] for name, array in request.items()}
    answers = infer(predictor(prefix), inputs).values()
    ReferenceRequest(inputs, dict(zip(RANKER_OUTPUTS, answers, strict=True))).save(release)


def describe(release: Path, prefix: Path) -> RankerModel:
    """The inputs and outputs of the exported ranker in a release that has its reference."""
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
