"""Checks of imported models: whether their answers make sense and equal those of Paddle Inference."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jobs.import_model.given import Given
from jobs.import_model.paddle_model import first_line
from jobs.import_model.wrapped import layout, own_inputs
from jobs.train.export.paddle_models import Inputs, compare
from recmesh.errors import ReleaseError
from recmesh.features.mapped_inputs import MATRICES
from recmesh.features.mapping import DType, ModelMapping
from recmesh.features.slot import Slot
from recmesh.features.spec import Array, Floats

_EQUALITY_TOLERANCE = 1e-6
# A sigmoid gives exactly these scores when its argument is far outside its useful range.
_SATURATED = (0.0, 1.0)


def answer(session: Any, inputs: Inputs, what: str) -> Floats:
    """Run a model in ONNX Runtime.

    Args:
        session: The model.
        inputs: Arrays by the names of the model's inputs.
        what: Describes the inputs, for the error.

    Returns:
        The first output.

    Raises:
        ReleaseError: The model fails.
    """
    try:
        output: Floats = session.run(None, dict(inputs))[0]
    except Exception as error:  # the exception classes of ONNX Runtime have no common base
        raise ReleaseError(f"{what}, and the model fails: {first_line(error)}") from error
    return output


def ids_fit(session: Any, mapping: ModelMapping, place: str) -> None:
    """Test the largest id of each input in ONNX Runtime, since Paddle aborts the process for ids beyond a table.

    Raises:
        ReleaseError: The model fails for an id that the mapping gives.
    """
    columns = {name: _columns(mapping, dtype) for name, dtype in MATRICES.items()}
    empty: dict[str, Array] = {
        name: np.zeros((1, max(len(columns[name]), 1)), dtype) for name, dtype in MATRICES.items()
    }
    answer(session, empty, f"{place}: all inputs are 0")
    for column, (name, slot) in enumerate(columns["sparse"]):
        largest = {**empty, "sparse": empty["sparse"].copy()}
        largest["sparse"][:, column] = slot.largest
        answer(session, largest, f"{place}: inputs.{name}: {_what(slot)}: the mapping gives ids up to {slot.largest}")


def known_values(mapping: ModelMapping, values: Mapping[str, Sequence[str | None]], place: str) -> None:
    """Reject a vocabulary that knows none of the values of its field.

    Args:
        mapping: The mapping to check.
        values: Values in the data set, by source (`user.age`).
        place: File of the mapping, for the error.

    Raises:
        ReleaseError: A vocabulary has no value in common with the data set.
    """
    for name, slot in mapping.slots():
        if slot.vocabulary is None:
            continue
        present = {part for text in set(values[slot.source]) for part in slot.parts(text)}
        if present and not present & slot.vocabulary.keys():
            raise ReleaseError(
                f"{place}: inputs.{name}: the vocabulary has none of the {len(present):,} values of {slot.source}, "
                f"such as {min(present)!r}"
            )


def scores(session: Any, recorded: Sequence[Inputs], mapping: ModelMapping, place: str) -> None:
    """Reject scores that are not finite or do not order the items, being all equal or all 0 and 1.

    Raises:
        ReleaseError: The scores of a request are not finite, or those of most requests do not order their items.
    """
    answers = [_scores(session, inputs, mapping, place) for inputs in recorded]
    lists = [scores for scores in answers if len(scores) > 1]
    flat = [scores for scores in lists if np.ptp(scores) <= _EQUALITY_TOLERANCE * np.abs(scores).max()]
    saturated = [scores for scores in lists if np.isin(scores, _SATURATED).mean() > 0.5]
    if 2 * len(saturated) > len(lists):
        figures = " or ".join(f"{figure:g}" for figure in np.unique(np.concatenate(saturated)) if figure in _SATURATED)
        where = f"for most items of a request, in {len(saturated)} of {len(lists)} requests"
        raise ReleaseError(f"{place}: the score is {figures} {where}{_largest(recorded, mapping)}")
    if 2 * len(flat) > len(lists):
        reads = any(slot.side == "item" for _, slot in mapping.slots())
        why = "no input of an item changes it" if reads else "no input of the mapping is from item.FIELD"
        where = f"for all items of a request, in {len(flat)} of {len(lists)} requests"
        raise ReleaseError(f"{place}: the score is the same {where}: {why}")


def _scores(session: Any, inputs: Inputs, mapping: ModelMapping, place: str) -> Floats:
    scores, items = answer(session, inputs, f"{place}: the input is a recorded request"), len(inputs["dense"])
    if len(scores) != items:
        raise ReleaseError(f"{place}: {len(scores)} scores for {items} items: the model has a fixed batch size")
    if not np.isfinite(scores).all():
        wrong = scores[~np.isfinite(scores)][0]
        raise ReleaseError(f"{place}: the score is {wrong}{_largest([inputs], mapping)}")
    return scores


def same_answers(given: Given, session: Any, recorded: Sequence[Inputs], *, ranked: bool) -> float:
    """Compare the exported model in ONNX Runtime with the original model in Paddle Inference.

    Args:
        given: The original model and its mapping.
        session: The exported model.
        recorded: Requests, as inputs of the exported model.
        ranked: Whether the model is a ranker.

    Returns:
        The largest difference, relative to the scale of the answers.

    Raises:
        ReleaseError: The answers disagree.
    """
    model, mapping = given.model, given.mapping
    parts = layout(mapping, model)
    original = [model.run(own_inputs(parts, inputs), mapping.output.number) for inputs in recorded]
    native = [_wanted(outputs, mapping, ranked) for outputs in original]
    ours = [answer(session, inputs, f"{given.place}: recorded input {k}") for k, inputs in enumerate(recorded)]
    return compare(native, ours, given.place)


def vectors(rows: Floats, place: str) -> None:
    """Reject vectors, float32 [N, dim], that are not finite or all equal.

    Raises:
        ReleaseError: The vectors are rejected.
    """
    if not np.isfinite(rows).all():
        raise ReleaseError(f"{place}: a vector has values that are not finite")
    if len(rows) > 1 and np.ptp(rows, axis=0).max() <= _EQUALITY_TOLERANCE:
        raise ReleaseError(
            f"{place}: all {len(rows):,} vectors are equal: they do not depend on the inputs of the tower"
        )


def _wanted(answer: Array, mapping: ModelMapping, ranked: bool) -> Floats:
    """The answer that the exported model should give, computed from the answer of the original model."""
    answer = answer.astype(np.float32)
    if not ranked:
        if mapping.normalize:
            answer = answer / np.maximum(np.linalg.norm(answer, axis=1, keepdims=True), 1e-12)
        return answer
    answer = answer.reshape(len(answer), -1)
    if mapping.output.softmax:
        answer = np.exp(answer - answer.max(1, keepdims=True))
        answer /= answer.sum(1, keepdims=True)
    scores: Floats = answer[:, mapping.output.column or 0]
    return scores


def _largest(recorded: Sequence[Inputs], mapping: ModelMapping) -> str:
    """Names the largest input, which may have caused extreme scores."""
    columns = _columns(mapping, "float32")
    if not columns:
        return ""
    reach = np.max([np.abs(inputs["dense"]).max(0) for inputs in recorded], axis=0)
    worst = int(reach.argmax())
    name, slot = columns[worst]
    return f"; the largest input is {reach[worst]:.6g}, inputs.{name}: {_what(slot)}: was it scaled in training?"


def _columns(mapping: ModelMapping, dtype: DType) -> list[tuple[str, Slot]]:
    """Input name and slot of each column of a matrix."""
    return [(name, slot) for name, slot in mapping.matrix(dtype) for _ in range(slot.width)]


def _what(slot: Slot) -> str:
    return f"from {slot.source}" if slot.source else "a constant"
