"""Writes the models of a release in Paddle's and ONNX's formats, and shows that both give the same answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import paddle
import paddle2onnx
from paddle import inference, nn
from paddle.static import InputSpec

from jobs.train.export.onnx_names import name_outputs
from jobs.train.silence import quiet
from recmesh.errors import ReleaseError
from recmesh.features.spec import Array, Floats
from recmesh.releases.reference import difference

TOLERANCE = 1e-5
_OPSET = 17

Inputs = Mapping[str, Array]


def export(
    model: nn.Layer,
    inputs: Sequence[InputSpec],
    outputs: Sequence[str],
    onnx_path: Path,
    folder: Path,
    name: str,
) -> Path:
    """Save `model` as `onnx_path` with the outputs named so, and as name.pdmodel and name.pdiparams. Returns the
    latter's prefix."""
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
    """Run both saved forms on recorded inputs. Returns the largest difference.

    Raises ReleaseError when they differ by more than TOLERANCE (relative where figures exceed 1), or order items
    differently.
    """
    with quiet():
        native = paddle.jit.load(str(prefix))
    native.eval()
    session = session_of(onnx_path)
    names = [one.name for one in session.get_inputs()]
    worst = 0.0
    for number, one in enumerate(recorded):
        with paddle.no_grad():
            answer = native(*(paddle.to_tensor(one[name]) for name in names))
        pairs = zip(
            answer if isinstance(answer, (list, tuple)) else [answer],
            session.run(None, {name: one[name] for name in names}),
            strict=True,
        )
        for tensor, got in pairs:
            worst = max(worst, checked(tensor.numpy(), got, f"{onnx_path}: recorded input {number}", ranked))
    return worst


def checked(expected: Floats, got: Floats, what: str, ranked: bool) -> float:
    """The largest difference of one output; raises ReleaseError where `check_equal` says so."""
    distance = difference(expected, got)
    if not distance <= TOLERANCE:  # so that NaN is refused as well
        raise ReleaseError(f"{what}: ONNX and Paddle differ by {distance:.2g}, more than {TOLERANCE:g}; not released")
    if ranked and not _same_order(expected, got):
        raise ReleaseError(f"{what}: ONNX and Paddle order the items differently; not released")
    return distance


def predictor(prefix: Path) -> inference.Predictor:
    """Paddle's own inference of a saved model, as Paddle Serving runs it."""
    with quiet():
        return inference.create_predictor(inference.Config(f"{prefix}.pdmodel", f"{prefix}.pdiparams"))


def infer(model: inference.Predictor, inputs: Inputs) -> dict[str, Array]:
    """What it answers, by Paddle's names of the outputs, in the order of the model's answer."""
    for name, array in inputs.items():
        model.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(array))
    model.run()
    return {name: model.get_output_handle(name).copy_to_cpu() for name in model.get_output_names()}


def session_of(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session as serving runs it: one thread, no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _same_order(expected: Floats, got: Floats) -> bool:
    """Whether sorting by either gives the same order; scores closer than the tolerance count as equal."""
    order = np.argsort(-got, kind="stable")
    return bool((np.diff(expected[order]) <= TOLERANCE * np.maximum(np.abs(expected[order][1:]), 1.0)).all())
