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
from recmesh.releases.agreement import difference, disagreement, typical_scale

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


def check_equal(prefix: Path, onnx_path: Path, recorded: Sequence[Inputs]) -> float:
    """Run both saved formats on recorded inputs.

    Args:
        prefix: Prefix of Paddle's files.
        onnx_path: The ONNX file.
        recorded: The inputs.

    Returns:
        The largest difference, relative to the scale of the outputs.

    Raises:
        ReleaseError: The formats disagree.
    """
    with quiet():
        native = paddle.jit.load(str(prefix))
    native.eval()
    session = session_of(onnx_path)
    names = [tensor.name for tensor in session.get_inputs()]
    expected, got = [], []
    for inputs in recorded:
        with paddle.no_grad():
            answer = native(*(paddle.to_tensor(inputs[name]) for name in names))
        expected.append([tensor.numpy() for tensor in (answer if isinstance(answer, (list, tuple)) else [answer])])
        got.append(session.run(None, {name: inputs[name] for name in names}))
    outputs = zip(zip(*expected, strict=True), zip(*got, strict=True), strict=True)
    return max(compare(*output, str(onnx_path)) for output in outputs)


def compare(expected: Sequence[Floats], got: Sequence[Floats], place: str) -> float:
    """Compare one output of both formats.

    Args:
        expected: Paddle's output for each recorded input: scores [N] or vectors [N, dim].
        got: ONNX Runtime's.
        place: Names the model, for the error.

    Returns:
        The largest difference, relative to the scale of the outputs.

    Raises:
        ReleaseError: The formats disagree.
    """
    scale, worst = typical_scale(expected), 0.0
    for number, (native, ours) in enumerate(zip(expected, got, strict=True)):
        fault = disagreement(native, ours, scale=scale)
        if fault:
            raise ReleaseError(f"{place}: recorded input {number}: ONNX, compared with Paddle, {fault}; not released")
        worst = max(worst, difference(native, ours, scale))
    return worst


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
