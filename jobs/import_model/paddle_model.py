"""A model as Paddle saved it: NAME.pdmodel and NAME.pdiparams, from static-graph training or from paddle.jit.save."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import paddle
from paddle import nn

from jobs.train.export.paddle_models import infer, predictor
from jobs.train.silence import quiet
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
    """An input or an output: its dtype by name, and its shape, -1 where that is open."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} ({self.dtype} {list(self.shape)})"


class PaddleModel:
    """A saved model, with what it says of itself."""

    def __init__(self, prefix: Path) -> None:
        """Raises ReleaseError when Paddle cannot read the two files."""
        self.prefix = prefix
        try:
            with quiet():
                self.layer: nn.Layer = paddle.jit.load(str(prefix))
            self._predictor = predictor(prefix)
        except Exception as error:  # Paddle raises whatever comes
            raise ReleaseError(
                f"{prefix}.pdmodel: Paddle {paddle.__version__} cannot read it: {first_line(error)}"
            ) from error
        self.layer.eval()

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """In the order in which the model takes them."""
        return tuple(_tensor(one.name, one) for one in self.layer._input_spec())

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """In the order in which the model gives them."""
        names = self._predictor.get_output_names()
        return tuple(_tensor(name, one) for name, one in zip(names, self.layer._output_spec(), strict=True))

    def run(self, inputs: Mapping[str, Array], output: int) -> Array:
        """One of the outputs, by Paddle's own inference. Raises ReleaseError when the model refuses the inputs."""
        typed = {one.name: inputs[one.name].astype(one.dtype) for one in self.inputs}
        try:
            with quiet():
                answers = infer(self._predictor, typed)
        except Exception as error:  # Paddle raises whatever comes
            raise ReleaseError(f"{self.prefix}.pdmodel does not run: {first_line(error)}") from error
        return list(answers.values())[output]

    @cached_property
    def sha256(self) -> str:
        """Of the two files."""
        digest = hashlib.sha256()
        for suffix in _SUFFIXES:
            digest.update(hashlib.sha256(Path(f"{self.prefix}{suffix}").read_bytes()).digest())
        return digest.hexdigest()


def find(folder: Path, name: str) -> Path:
    """The prefix of the model `name` in a folder; of the only one there without a name. Raises ReleaseError."""
    if not folder.is_dir():
        raise ReleaseError(f"{folder}: no such folder")
    prefix = folder / name if name else _only(folder)
    for suffix in _SUFFIXES:
        if not Path(f"{prefix}{suffix}").is_file():
            raise ReleaseError(f"{prefix}{suffix}: no such file; a model is NAME.pdmodel and NAME.pdiparams")
    return prefix


def _only(folder: Path) -> Path:
    models = sorted(path.stem for path in folder.glob("*.pdmodel"))
    if not models:
        raise ReleaseError(f"{folder}: {_instead(folder)}")
    if len(models) > 1:
        there = ", ".join(models)
        raise ReleaseError(f"{folder}: {len(models)} models ({there}): say which in `model:` of the mapping")
    return folder / models[0]


def _instead(folder: Path) -> str:
    """What a folder without a model has, and what to do about it."""
    if any(folder.glob("*.json")) and any(folder.glob("*.pdiparams")):
        return "a .json instead of a .pdmodel: Paddle 3's form; export again with FLAGS_enable_pir_api=0"
    if any(folder.glob("*.pdparams")):
        what = "set use_inference in the static runner's config, or run tools/to_static.py"
        return f"only a checkpoint (.pdparams): {what}, to get a .pdmodel"
    return "no .pdmodel"


def first_line(error: BaseException) -> str:
    """The line of Paddle's long messages that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error:" in line or line.startswith("(")]
    return (telling or lines or [type(error).__name__])[0][:300]


def _tensor(name: str, spec: paddle.static.InputSpec) -> Tensor:
    return Tensor(name, _DTYPES.get(spec.dtype, str(spec.dtype)), tuple(spec.shape))
