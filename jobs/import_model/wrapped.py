"""Imported models in the form that recmesh serves.

Inputs are the matrices `dense` and `sparse`; outputs are `score` and `affinity` of a ranker, or `vector` of a tower.
"""

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
    """An input of the original model: columns begin:end of a matrix, cast to its dtype."""

    matrix: str
    begin: int
    end: int
    dtype: str


def layout(mapping: ModelMapping, model: PaddleModel) -> dict[str, _Part]:
    """The part of a matrix that holds each input of the original model, in the order of the model."""
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
    """The inputs of the original model, by name, taken from the two matrices."""
    return {name: inputs[part.matrix][:, part.begin : part.end].astype(part.dtype) for name, part in parts.items()}


def specs(parts: Mapping[str, _Part]) -> list[InputSpec]:
    """The two inputs of a wrapped model."""
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
        """The output of the original model that the mapping names, [N, columns]."""
        matrices = {"dense": dense, "sparse": sparse}
        inputs = [matrices[part.matrix][:, part.begin : part.end].astype(part.dtype) for part in self._parts]
        outputs = self.model(*inputs)
        output = outputs[self._number] if isinstance(outputs, (list, tuple)) else outputs
        answer = output.reshape([-1, self._columns]).astype("float32")
        # The export drops inputs that nothing reads, but every model must have both.
        for name in set(MATRICES) - {part.matrix for part in self._parts}:
            answer = answer + 0.0 * matrices[name][:, :1].astype("float32")
        return answer


class WrappedRanker(_Wrapped):
    """A ranker. Its debiased score, the output `affinity`, equals the score: an imported model has no other."""

    def __init__(self, model: PaddleModel, mapping: ModelMapping) -> None:
        super().__init__(model, mapping)
        self._column = mapping.output.column or 0
        self._softmax = mapping.output.softmax

    def forward(self, dense: paddle.Tensor, sparse: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Score items.

        Args:
            dense: float32 [N, D].
            sparse: int64 [N, C].

        Returns:
            The score and the debiased score, float32 [N].
        """
        answer = self.answer(dense, sparse)
        if self._softmax:
            answer = functional.softmax(answer, 1)
        score = answer[:, self._column]
        return score, paddle.assign(score)


class WrappedTower(_Wrapped):
    """A tower. Its vectors have length 1 if the mapping asks for it."""

    def __init__(self, model: PaddleModel, mapping: ModelMapping) -> None:
        super().__init__(model, mapping)
        self._normalize = mapping.normalize

    def forward(self, dense: paddle.Tensor, sparse: paddle.Tensor) -> paddle.Tensor:
        """Encode users or items.

        Args:
            dense: float32 [N, D].
            sparse: int64 [N, C].

        Returns:
            Vectors float32 [N, dim].
        """
        answer = self.answer(dense, sparse)
        return functional.normalize(answer, axis=1) if self._normalize else answer
