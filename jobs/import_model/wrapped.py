"""A model from elsewhere in the form that recmesh serves: `dense` and `sparse` in, `score` and `affinity`, or `vector`,
out."""

from collections.abc import Mapping
from typing import NamedTuple

import paddle
from paddle import nn
from paddle.nn import functional
from paddle.static import InputSpec

from jobs.import_model.match import width_of
from jobs.import_model.paddle_model import PaddleModel
from recmesh.features.mapped_inputs import MATRICES
from recmesh.features.mapping import ModelMapping
from recmesh.features.spec import Array


class _Part(NamedTuple):
    """One of the model's inputs: columns begin:end of a matrix, cast to what the model takes."""

    matrix: str
    begin: int
    end: int
    dtype: str


def layout(mapping: ModelMapping, model: PaddleModel) -> dict[str, _Part]:
    """Where each input of the model lies in our two matrices, in the model's order."""
    ends = dict.fromkeys(MATRICES, 0)
    matrices = {dtype: name for name, dtype in MATRICES.items()}
    parts = {}
    for tensor in model.inputs:
        given = mapping.inputs[tensor.name]
        assert given.dtype is not None
        matrix = matrices[given.dtype]
        begin, ends[matrix] = ends[matrix], ends[matrix] + given.width
        parts[tensor.name] = _Part(matrix, begin, ends[matrix], tensor.dtype)
    return parts


def own_inputs(parts: Mapping[str, _Part], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Our two matrices as the model's own inputs, by name."""
    return {name: inputs[part.matrix][:, part.begin : part.end].astype(part.dtype) for name, part in parts.items()}


def specs(parts: Mapping[str, _Part]) -> list[InputSpec]:
    """The two inputs that a wrapped model takes."""
    widths = {name: max((part.end for part in parts.values() if part.matrix == name), default=1) for name in MATRICES}
    return [InputSpec([None, widths[name]], dtype, name) for name, dtype in MATRICES.items()]


class _Wrapped(nn.Layer):  # type: ignore[misc]
    def __init__(self, model: PaddleModel, mapping: ModelMapping) -> None:
        super().__init__()
        self.model = model.layer
        self._parts = list(layout(mapping, model).values())
        self._number = mapping.output.number
        self._columns = width_of(model.outputs[mapping.output.number])

    def answer(self, dense: paddle.Tensor, sparse: paddle.Tensor) -> paddle.Tensor:
        """The wanted output of the model, [N, columns]."""
        matrices = {"dense": dense, "sparse": sparse}
        inputs = [matrices[part.matrix][:, part.begin : part.end].astype(part.dtype) for part in self._parts]
        outputs = self.model(*inputs)
        output = outputs[self._number] if isinstance(outputs, (list, tuple)) else outputs
        answer = output.reshape([-1, self._columns]).astype("float32")
        # An input that nothing reads would not be there in the exported model, and every model has both.
        for name in set(MATRICES) - {part.matrix for part in self._parts}:
            answer = answer + 0.0 * matrices[name][:, :1].astype("float32")
        return answer


class WrappedRanker(_Wrapped):
    """Gives the score, and as the affinity the score once more: the model has learnt nothing else."""

    def __init__(self, model: PaddleModel, mapping: ModelMapping) -> None:
        super().__init__(model, mapping)
        self._column = mapping.output.column or 0
        self._softmax = mapping.output.softmax

    def forward(self, dense: paddle.Tensor, sparse: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """dense float32 [N, D], sparse int64 [N, C] -> score, affinity, float32 [N]."""
        answer = self.answer(dense, sparse)
        if self._softmax:
            answer = functional.softmax(answer, 1)
        score = answer[:, self._column]
        return score, paddle.assign(score)


class WrappedTower(_Wrapped):
    """Gives the vector, of length 1 where the mapping says so."""

    def __init__(self, model: PaddleModel, mapping: ModelMapping) -> None:
        super().__init__(model, mapping)
        self._normalize = mapping.normalize

    def forward(self, dense: paddle.Tensor, sparse: paddle.Tensor) -> paddle.Tensor:
        """dense float32 [N, D], sparse int64 [N, C] -> vector float32 [N, dim]."""
        answer = self.answer(dense, sparse)
        return functional.normalize(answer, axis=1) if self._normalize else answer
