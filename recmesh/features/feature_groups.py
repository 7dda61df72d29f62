"""Groups of the ranker's inputs, for telling which of them moved a score.

The effect of a group on an item is the item's score minus the score without the group: its dense inputs are those of
the average item of the request, and its sparse inputs those of a missing value. This is the occlusion of Zeiler and
Fergus (2014), for groups of inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recmesh.features.ranker_inputs import grouped_dense_names, item_group
from recmesh.features.spec import Array, FeatureSpec, Floats, Longs

_CONSTANT = "user"
"""Inputs of this group are the same for all items of a request."""


@dataclass(frozen=True)
class FeatureGroup:
    """A group of inputs.

    Attributes:
        name: `popularity`, `age` (of the item), `profile` (of the user), `history` (items similar to the history),
            `two_tower`, `bought_before` (the user's own actions on the item) or `item.<field>`.
        dense: int64, the columns of `dense`.
        sparse: int64, the columns of `sparse`.
        missing: int64, for each of these the value that means "missing".
    """

    name: str
    dense: Longs
    sparse: Longs
    missing: Longs

    def without(self, inputs: Mapping[str, Array], average: Floats) -> dict[str, Array]:
        """Return the inputs of items as if this group said nothing.

        Args:
            inputs: `dense` float32 [N, D] and `sparse` int64 [N, C].
            average: float32 [D], the dense inputs of the average item.
        """
        dense, sparse = inputs["dense"].copy(), inputs["sparse"].copy()
        dense[:, self.dense] = average[self.dense]
        sparse[:, self.sparse] = self.missing
        return {"dense": dense, "sparse": sparse}


def feature_groups(spec: FeatureSpec) -> list[FeatureGroup]:
    """Return the groups of recmesh's ranker, in the order of its inputs."""
    dense = [group for group, _ in grouped_dense_names(spec)]
    # Of the sparse inputs, the segment is the first one and the same for all items.
    sparse = [
        _CONSTANT,
        *("profile" for _ in spec.user_fields),
        *(item_group(field.name) for field in spec.item_fields),
    ]
    offsets = np.cumsum([0, *spec.columns[:-1]], dtype=np.int64)
    groups = []
    for name in dict.fromkeys([*dense, *sparse]):
        columns = _columns(sparse, name)
        if name != _CONSTANT:
            groups.append(FeatureGroup(name, _columns(dense, name), columns, offsets[columns]))
    return groups


def _columns(groups: list[str], name: str) -> Longs:
    return np.flatnonzero(np.array(groups) == name).astype(np.int64)
