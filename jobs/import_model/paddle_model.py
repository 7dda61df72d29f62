"""Models as Paddle saves them: NAME.pdmodel and NAME.pdiparams, from a static graph or from paddle.jit.save."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import paddle
from paddle import nn

from jobs.native import quiet
from jobs.train.export.paddle_models import infer, predictor
from recmesh.errors import ReleaseError
from recmesh.features.spec import Array

_SUFFIXES = (".pdmodel", ".pdiparams")
_DTYPES = {
    paddle.int64: "int64",
    paddle.int32: "int32",
    paddle.float32: "float32",
    paddle.float64: "float64",
}


@dataclass(frozen=True)
class Tensor:
    """An input or output: its dtype by name, and its shape with -1 for open dimensions."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} ({self.dtype} {list(self.shape)})"


class PaddleModel:
    """A saved model and the description of its inputs and outputs."""

    def __init__(self, prefix: Path) -> None:
        """Load the two files `prefix`.pdmodel and `prefix`.pdiparams.

        Raises:
            ReleaseError: Paddle cannot read them.
        """
        self.prefix = prefix
        try:
            with quiet():
                self.layer: nn.Layer = paddle.jit.load(str(prefix))
            self._predictor = predictor(prefix)
        except Exception as error:  # Paddle raises exceptions of any class
            raise ReleaseError(
                f"{prefix}.pdmodel: Paddle {paddle.__version__} cannot read it: {first_line(error)}"
            ) from error
        self.layer.eval()

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs, in the order of the model."""
        return tuple(_tensor(spec.name, spec) for spec in self.layer._input_spec())

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs, in the order of the model."""
        names = self._predictor.get_output_names()
        return tuple(_tensor(name, spec) for name, spec in zip(names, self.layer._output_spec(), strict=True))

    def run(self, inputs: Mapping[str, Array], output: int) -> Array:
        """Compute one of the outputs with Paddle Inference.

        Raises:
            ReleaseError: The model rejects the inputs.
        """
        typed = {tensor.name: inputs[tensor.name].astype(tensor.dtype) for tensor in self.inputs}
        try:
            with quiet():
                answers = infer(self._predictor, typed)
        except Exception as error:  # Paddle raises exceptions of any class
            raise ReleaseError(f"{self.prefix}.pdmodel fails: {first_line(error)}") from error
        return list(answers.values())[output]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the two files."""
        digest = hashlib.sha256()
        for suffix in _SUFFIXES:
            digest.update(hashlib.sha256(Path(f"{self.prefix}{suffix}").read_bytes()).digest())
        return digest.hexdigest()


def find(folder: Path, name: str) -> Path:
    """Find the model `name` in a folder, or the only model if the name is empty.

    Returns:
        The path of its files without their suffixes.

    Raises:
        ReleaseError: There is no such model, or there are several and none is named.
    """
    if not folder.is_dir():
        raise ReleaseError(f"{folder}: no such folder")
    prefix = folder / name if name else _only(folder)
    for suffix in _SUFFIXES:
        if not Path(f"{prefix}{suffix}").is_file():
            raise ReleaseError(f"{prefix}{suffix}: no such file; a model consists of NAME.pdmodel and NAME.pdiparams")
    return prefix


def _only(folder: Path) -> Path:
    models = sorted(path.stem for path in folder.glob("*.pdmodel"))
    if not models:
        raise ReleaseError(f"{folder}: {_why_none(folder)}")
    if len(models) > 1:
        names = ", ".join(models)
        raise ReleaseError(f"{folder}: {len(models)} models ({names}): name one of them in `model:` of the mapping")
    return folder / models[0]


def _why_none(folder: Path) -> str:
    """Explains why a folder holds no model, and what to do."""
    if any(folder.glob("*.json")) and any(folder.glob("*.pdiparams")):
        return "a .json instead of a .pdmodel, the format of Paddle 3; export again with FLAGS_enable_pir_api=0"
    if any(folder.glob("*.pdparams")):
        how = "set use_inference in the config of the static runner, or run tools/to_static.py"
        return f"only a checkpoint (.pdparams); to get a .pdmodel, {how}"
    return "no .pdmodel"


def first_line(error: BaseException) -> str:
    """The line of a long message of Paddle that states the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    relevant = [line for line in lines if "Error:" in line or line.startswith("(")]
    return (relevant or lines or [type(error).__name__])[0][:300]


def _tensor(name: str, spec: paddle.static.InputSpec) -> Tensor:
    return Tensor(name, _DTYPES.get(spec.dtype, str(spec.dtype)), tuple(spec.shape))
