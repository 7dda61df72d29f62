"""The canary of an exported ranker, and what a model server must know to run it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from paddle import inference

from jobs.train.deepfm import RANKER_OUTPUTS
from jobs.train.export import Inputs
from jobs.train.quiet import quiet
from recmesh.releases.canary import Canary
from recmesh.releases.manifest import RankerModel, TensorInput

_ROWS = 8


def record(prefix: Path, recorded: Sequence[Inputs], release: Path) -> None:
    """Have Paddle's own inference answer a few rows of a recorded request, and keep both in the release."""
    request = next((one for one in recorded if _rows(one) >= _ROWS), recorded[0])
    inputs = {name: np.ascontiguousarray(array[:_ROWS]) for name, array in request.items()}
    predictor = _predictor(prefix)
    for name, array in inputs.items():
        predictor.get_input_handle(name).copy_from_cpu(array)
    predictor.run()
    answers = {ours: predictor.get_output_handle(theirs).copy_to_cpu() for ours, theirs in _outputs(predictor).items()}
    Canary(inputs, answers).save(release)


def describe(release: Path, prefix: Path) -> RankerModel:
    """The inputs and outputs of the exported ranker in a release that has its canary."""
    inputs = Canary.load(release).inputs
    return RankerModel(
        inputs={
            name: TensorInput.model_validate({"dtype": str(array.dtype), "width": array.shape[1]})
            for name, array in inputs.items()
        },
        outputs=_outputs(_predictor(prefix)),
    )


def _predictor(prefix: Path) -> inference.Predictor:
    config = inference.Config(f"{prefix}.pdmodel", f"{prefix}.pdiparams")
    with quiet():
        return inference.create_predictor(config)


def _outputs(predictor: inference.Predictor) -> dict[str, str]:
    """Our names of the outputs -> Paddle's, which come in the order of the model's answer."""
    return dict(zip(RANKER_OUTPUTS, predictor.get_output_names(), strict=True))


def _rows(inputs: Inputs) -> int:
    return min(map(len, inputs.values()))
