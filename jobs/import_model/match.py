"""Matching a mapping with a model and with the fields of a release. Errors name the place of a mismatch."""

from typing import Literal

from jobs.import_model.paddle_model import PaddleModel, Tensor
from recmesh.dataset import Schema
from recmesh.errors import ReleaseError
from recmesh.features.mapping import ITEM_ID, USER_ID, DType, Input, ModelMapping
from recmesh.features.slot import Slot

Role = Literal["ranker", "user tower", "item tower"]
_SIDES: dict[Role, tuple[str, ...]] = {
    "ranker": ("constant", "user", "item", "history"),
    "user tower": ("constant", "user", "history"),
    "item tower": ("constant", "item"),
}
_MATRIX_DTYPES: dict[str, DType] = {"int64": "int64", "int32": "int64", "float32": "float32", "float64": "float32"}


def matched(mapping: ModelMapping, model: PaddleModel, schema: Schema, role: Role, place: str) -> ModelMapping:
    """Complete a mapping with what the model says of its inputs.

    Args:
        mapping: The mapping as written by a person.
        model: Its model.
        schema: Declares the fields of the data set.
        role: Use of the model.
        place: File of the mapping, for errors.

    Returns:
        The mapping with its inputs in the order of the model, and with their widths and dtypes.

    Raises:
        ReleaseError: A name, shape, dtype or field does not match.
    """
    _check_names(mapping, model, place)
    inputs = {tensor.name: _input(tensor, mapping.inputs[tensor.name], schema, role, place) for tensor in model.inputs}
    _check_output(mapping, model, role, place)
    return mapping.model_copy(update={"inputs": inputs})


def _check_names(mapping: ModelMapping, model: PaddleModel, place: str) -> None:
    file, names = f"{model.prefix.name}.pdmodel", [tensor.name for tensor in model.inputs]
    for name in mapping.inputs:
        if name not in names:
            raise ReleaseError(f"{place}: inputs.{name}: {file} has no such input; its inputs are {', '.join(names)}")
    for tensor in model.inputs:
        if tensor.name not in mapping.inputs:
            hint = "; export the model without its label" if "label" in tensor.name else ""
            raise ReleaseError(f"{place}: {file} also needs {tensor}, which the mapping lacks{hint}")


def _input(tensor: Tensor, given: Input, schema: Schema, role: Role, place: str) -> Input:
    where = f"{place}: inputs.{tensor.name}"
    dtype = _MATRIX_DTYPES.get(tensor.dtype)
    if dtype is None:
        raise ReleaseError(f"{where}: the model expects {tensor.dtype}; only integers and floats are supported")
    if len(tensor.shape) != 2 or tensor.shape[0] != -1 or tensor.shape[1] < 1:
        raise ReleaseError(f"{where}: the model expects the shape {list(tensor.shape)}; only [-1, WIDTH] is supported")
    for slot in given.slots:
        _check_source(slot, schema, role, where)
        _check_dtype(slot, dtype, where)
    fitted = Input(slots=_widened(given.slots, tensor.shape[1]), dtype=dtype)
    if fitted.width != tensor.shape[1]:
        raise ReleaseError(f"{where}: the mapping gives {fitted.width} columns, the model expects {tensor.shape[1]}")
    for slot in fitted.slots:
        if slot.multi_hot and slot.largest >= slot.width:
            raise ReleaseError(f"{where}: multi_hot: ids up to {slot.largest} do not fit into {slot.width} columns")
    return fitted


def _widened(slots: tuple[Slot, ...], width: int) -> tuple[Slot, ...]:
    """Widen a single slot of flexible width to the width of its input."""
    slot = slots[0]
    if len(slots) > 1 or slot.width > 1:
        return slots
    if slot.split or slot.multi_hot or slot.side in ("history", "constant"):
        return (slot.model_copy(update={"width": width}),)
    return slots


def _check_source(slot: Slot, schema: Schema, role: Role, where: str) -> None:
    if slot.side not in _SIDES[role]:
        raise ReleaseError(f"{where}: from {slot.source}: a {role} has no access to {slot.side}")
    if role == "ranker" and slot.multi_hot and slot.side == "item":
        raise ReleaseError(f"{where}: multi_hot on an item field is for item towers only")
    if slot.side == "constant":
        return
    side, own = (schema.user, USER_ID) if slot.side == "user" else (schema.item, ITEM_ID)
    names = [*side.fields, own]
    if slot.field not in names:
        known = ", ".join(names)
        raise ReleaseError(f"{where}: from {slot.source}: the data set has no such field; its fields are {known}")


def _check_dtype(slot: Slot, dtype: DType, where: str) -> None:
    if dtype == "int64" and not slot.makes_ids:
        raise ReleaseError(
            f"{where}: the model expects ids (int64), whole numbers from 0 up, but the mapping gives floats; "
            "a number needs a `size`"
        )
    if dtype == "float32" and slot.makes_ids and slot.side != "constant":
        raise ReleaseError(
            f"{where}: the model expects floats (float32), but the mapping gives ids; is it `multi_hot`?"
        )


def _check_output(mapping: ModelMapping, model: PaddleModel, role: Role, place: str) -> None:
    output = mapping.output
    outputs = ", ".join(map(str, model.outputs))
    if output.number >= len(model.outputs):
        raise ReleaseError(f"{place}: output.number: {output.number}: the model has {len(model.outputs)}: {outputs}")
    tensor = model.outputs[output.number]
    where = f"{place}: output {tensor}"
    if tensor.dtype not in ("float32", "float64"):
        raise ReleaseError(f"{where}: these are no floats; the outputs of the model are {outputs}")
    if role == "ranker":
        _check_scores(mapping, tensor, where)
    else:
        _check_vectors(mapping, tensor, role, where)


def _check_scores(mapping: ModelMapping, tensor: Tensor, where: str) -> None:
    if mapping.normalize:
        raise ReleaseError(f"{where}: normalize is for towers only")
    if len(tensor.shape) not in (1, 2):
        raise ReleaseError(f"{where}: these are no scores; scores have the shape [-1] or [-1, COLUMNS]")
    columns, column = width_of(tensor), mapping.output.column
    if column is None and columns != 1:
        raise ReleaseError(f"{where}: name the column of the score, as in `output: {{column: 1}}`")
    if (column or 0) >= columns:
        raise ReleaseError(f"{where}: output.column: {column}: there are {columns}")


def _check_vectors(mapping: ModelMapping, tensor: Tensor, role: Role, where: str) -> None:
    if mapping.output.column is not None or mapping.output.softmax:
        raise ReleaseError(f"{where}: output.column and output.softmax are for rankers only")
    if len(tensor.shape) != 2 or tensor.shape[1] < 2:
        raise ReleaseError(
            f"{where}: these are no vectors, which are [-1, DIMENSIONS]. Export the {role} up to its last layer"
        )


def width_of(tensor: Tensor) -> int:
    """The number of columns of an output; 1 for an output of one dimension."""
    return tensor.shape[1] if len(tensor.shape) == 2 else 1
