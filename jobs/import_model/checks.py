"""Is an imported model right? Its answers are looked at, and compared with those of Paddle's own inference."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jobs.import_model.given import Given
from jobs.import_model.paddle_model import first_line
from jobs.import_model.wrapped import layout, own_inputs
from jobs.train.export.paddle_models import Inputs, checked
from recmesh.errors import ReleaseError
from recmesh.features.mapped_inputs import MATRICES
from recmesh.features.mapping import DType, ModelMapping
from recmesh.features.slot import Slot
from recmesh.features.spec import Array, Floats

_SAME = 1e-6
# A sigmoid whose argument is far out of its range gives exactly these.
_STUCK = (0.0, 1.0)


def answer(session: Any, inputs: Inputs, what: str) -> Floats:
    """The first output of a model in ONNX Runtime. Raises ReleaseError, with `what`, when it fails."""
    try:
        found: Floats = session.run(None, dict(inputs))[0]
    except Exception as error:  # ONNX Runtime raises classes of its own that have no common base
        raise ReleaseError(f"{what}, and the model fails: {first_line(error)}") from error
    return found


def ids_fit(session: Any, mapping: ModelMapping, place: str) -> None:
    """Try the largest id of each input, in ONNX Runtime: beyond its table, Paddle aborts the process.

    Raises ReleaseError.
    """
    columns = {name: _columns(mapping, dtype) for name, dtype in MATRICES.items()}
    empty: dict[str, Array] = {
        name: np.zeros((1, max(len(columns[name]), 1)), dtype) for name, dtype in MATRICES.items()
    }
    answer(session, empty, f"{place}: all inputs are 0")
    for column, (name, slot) in enumerate(columns["sparse"]):
        tried = {**empty, "sparse": empty["sparse"].copy()}
        tried["sparse"][:, column] = slot.largest
        answer(session, tried, f"{place}: inputs.{name}: {_what(slot)}: the mapping gives ids up to {slot.largest}")


def known_values(mapping: ModelMapping, values: Mapping[str, Sequence[str | None]], place: str) -> None:
    """Refuse a vocabulary that knows none of the values of its field. `values`: by source (`user.age`), from the
    data."""
    for name, slot in mapping.slots():
        if slot.vocabulary is None:
            continue
        there = {part for text in set(values[slot.source]) for part in slot.parts(text)}
        if there and not there & slot.vocabulary.keys():
            raise ReleaseError(
                f"{place}: inputs.{name}: the vocabulary has none of the {len(there):,} values of {slot.source}, "
                f"such as {min(there)!r}"
            )


def scores(session: Any, recorded: Sequence[Inputs], mapping: ModelMapping, place: str) -> None:
    """Refuse scores that are not finite, or that put items in no order: all the same, or all 0 and 1.

    Raises ReleaseError.
    """
    given = [_scores(session, inputs, mapping, place) for inputs in recorded]
    lists = [one for one in given if len(one) > 1]
    flat = [one for one in lists if np.ptp(one) <= _SAME * np.abs(one).max()]
    stuck = [one for one in lists if np.isin(one, _STUCK).mean() > 0.5]
    if 2 * len(stuck) > len(lists):
        figures = " or ".join(f"{figure:g}" for figure in np.unique(np.concatenate(stuck)) if figure in _STUCK)
        where = f"for most items of a request, in {len(stuck)} of {len(lists)}"
        raise ReleaseError(f"{place}: the score is {figures} {where}{_largest(recorded, mapping)}")
    if 2 * len(flat) > len(lists):
        reads = any(slot.side == "item" for _, slot in mapping.slots())
        why = "no item's input changes it" if reads else "no input of the mapping is from item.FIELD"
        where = f"for all items of a request, in {len(flat)} of {len(lists)}"
        raise ReleaseError(f"{place}: the score is the same {where}: {why}")


def _scores(session: Any, inputs: Inputs, mapping: ModelMapping, place: str) -> Floats:
    given, items = answer(session, inputs, f"{place}: a recorded request is asked for"), len(inputs["dense"])
    if len(given) != items:
        raise ReleaseError(f"{place}: {len(given)} scores for {items} items: the model's batch size is built in")
    if not np.isfinite(given).all():
        wrong = given[~np.isfinite(given)][0]
        raise ReleaseError(f"{place}: the score is {wrong}{_largest([inputs], mapping)}")
    return given


def same_answers(given: Given, session: Any, recorded: Sequence[Inputs], *, ranked: bool) -> float:
    """Compare ONNX's answers with those of the model as it came, run by Paddle's own inference. Returns the largest
    difference; raises ReleaseError when it is above the tolerance."""
    model, mapping = given.model, given.mapping
    parts = layout(mapping, model)
    worst = 0.0
    for number, inputs in enumerate(recorded):
        what = f"{given.place}: recorded request {number}"
        native = _wanted(model.run(own_inputs(parts, inputs), mapping.output.number), mapping, ranked)
        ours = answer(session, inputs, what)
        if native.shape != ours.shape:
            raise ReleaseError(f"{what}: Paddle answers {list(native.shape)}, ONNX {list(ours.shape)}")
        worst = max(worst, checked(native, ours, what, ranked))
    return worst


def vectors(found: Floats, place: str) -> None:
    """Refuse vectors float32 [N, dim] that are not finite, or all the same one. Raises ReleaseError."""
    if not np.isfinite(found).all():
        raise ReleaseError(f"{place}: a vector has figures that are not finite")
    if len(found) > 1 and np.ptp(found, axis=0).max() <= _SAME:
        raise ReleaseError(f"{place}: the same vector {len(found):,} times: the tower's inputs do not change it")


def _wanted(answer: Array, mapping: ModelMapping, ranked: bool) -> Floats:
    """What our form answers, from the model's own answer."""
    answer = answer.astype(np.float32)
    if not ranked:
        if mapping.normalize:
            answer = answer / np.maximum(np.linalg.norm(answer, axis=1, keepdims=True), 1e-12)
        return answer
    answer = answer.reshape(len(answer), -1)
    if mapping.output.softmax:
        answer = np.exp(answer - answer.max(1, keepdims=True))
        answer /= answer.sum(1, keepdims=True)
    wanted: Floats = answer[:, mapping.output.column or 0]
    return wanted


def _largest(recorded: Sequence[Inputs], mapping: ModelMapping) -> str:
    """Which figure may have driven the score where it is."""
    columns = _columns(mapping, "float32")
    if not columns:
        return ""
    reach = np.max([np.abs(inputs["dense"]).max(0) for inputs in recorded], axis=0)
    worst = int(reach.argmax())
    name, slot = columns[worst]
    return f"; the largest figure is {reach[worst]:.6g}, inputs.{name}: {_what(slot)}: was it scaled in training?"


def _columns(mapping: ModelMapping, dtype: DType) -> list[tuple[str, Slot]]:
    """The slot of each column of a matrix, with its input's name."""
    return [one for one in mapping.matrix(dtype) for _ in range(one[1].width)]


def _what(slot: Slot) -> str:
    return f"from {slot.source}" if slot.source else "a constant"
