"""Writes the models of a release in Paddle's and ONNX's formats, and checks that both give the same answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import paddle
import paddle2onnx
from paddle import inference, nn
from paddle.static import InputSpec

from jobs.native import quiet
from jobs.train.export.onnx_names import name_outputs
from recmesh.errors import ReleaseError
from recmesh.features.spec import Array, Floats
from recmesh.releases.reference import difference

TOLERANCE = 1e-5
"""Largest difference between the formats; relative for values above 1."""

_OPSET = 17

Inputs = Mapping[str, Array]
"""The inputs of a model by name."""


def export(
    model: nn.Layer,
    inputs: Sequence[InputSpec],
    outputs: Sequence[str],
    onnx_path: Path,
    folder: Path,
    name: str,
) -> Path:
    """Save a model in both formats.

    Args:
        model: The model.
        inputs: Its inputs.
        outputs: Names of the outputs in the ONNX file.
        onnx_path: The ONNX file.
        folder: Folder of Paddle's files, name.pdmodel and name.pdiparams.
        name: Name of Paddle's files.

    Returns:
        The prefix of Paddle's files, folder/name.
    """
    model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    prefix = folder / name
    with quiet():
        paddle.jit.save(model, str(prefix), input_spec=list(inputs))
        paddle2onnx.export(
            f"{prefix}.pdmodel",
            f"{prefix}.pdiparams",
            save_file=str(onnx_path),
            opset_version=_OPSET,
            enable_onnx_checker=True,
        )
    (folder / f"{name}.pdiparams.info").unlink(missing_ok=True)
    name_outputs(onnx_path, outputs)
    return prefix


def check_equal(prefix: Path, onnx_path: Path, recorded: Sequence[Inputs], *, ranked: bool) -> float:
    """Run both saved formats on recorded inputs.

    Args:
        prefix: Prefix of Paddle's files.
        onnx_path: The ONNX file.
        recorded: The inputs.
        ranked: Whether the outputs must also sort the rows in the same order.

    Returns:
        The largest difference.

    Raises:
        ReleaseError: The formats differ by more than TOLERANCE, or sort the rows differently.
    """
    with quiet():
        native = paddle.jit.load(str(prefix))
    native.eval()
    session = session_of(onnx_path)
    names = [tensor.name for tensor in session.get_inputs()]
    worst = 0.0
    for number, inputs in enumerate(recorded):
        with paddle.no_grad():
            answer = native(*(paddle.to_tensor(inputs[name]) for name in names))
        pairs = zip(
            answer if isinstance(answer, (list, tuple)) else [answer],
            session.run(None, {name: inputs[name] for name in names}),
            strict=True,
        )
        for tensor, got in pairs:
            worst = max(worst, checked(tensor.numpy(), got, f"{onnx_path}: recorded input {number}", ranked))
    return worst


def checked(expected: Floats, got: Floats, what: str, ranked: bool) -> float:
    """Compare one output of both formats, float32 [N] or [N, dim].

    Returns:
        The largest difference.

    Raises:
        ReleaseError: As `check_equal`.
    """
    distance = difference(expected, got)
    if not distance <= TOLERANCE:  # this form also refuses NaN
        raise ReleaseError(f"{what}: ONNX and Paddle differ by {distance:.2g}, more than {TOLERANCE:g}; not released")
    if ranked and not _same_order(expected, got):
        raise ReleaseError(f"{what}: ONNX and Paddle sort the items differently; not released")
    return distance


def predictor(prefix: Path) -> inference.Predictor:
    """Load a saved model into Paddle Inference, as Paddle Serving does."""
    with quiet():
        return inference.create_predictor(inference.Config(f"{prefix}.pdmodel", f"{prefix}.pdiparams"))


def infer(model: inference.Predictor, inputs: Inputs) -> dict[str, Array]:
    """Run a model in Paddle Inference. Returns the outputs in order, by Paddle's names."""
    for name, array in inputs.items():
        model.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(array))
    model.run()
    return {name: model.get_output_handle(name).copy_to_cpu() for name in model.get_output_names()}


def session_of(path: Path) -> onnxruntime.InferenceSession:
    """Load an ONNX file as serving does: one thread, no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _same_order(expected: Floats, got: Floats) -> bool:
    """Return whether both sort the rows in the same order. Scores closer than the tolerance count as equal."""
    order = np.argsort(-got, kind="stable")
    return bool((np.diff(expected[order]) <= TOLERANCE * np.maximum(np.abs(expected[order][1:]), 1.0)).all())
