"""Vectors of items that are given by their fields."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np

from recmesh.features.encoder import Encoder
from recmesh.features.spec import Floats

ITEM_TOWER = "item_tower.onnx"
"""The item tower in the folder of a release that has one."""

_BATCH = 4_096


class Tower(Protocol):
    """An item tower: an `onnxruntime.InferenceSession`, which has no type information."""

    def run(self, outputs: None, inputs: Mapping[str, Any]) -> Sequence[Any]:
        """Run the model."""
        ...


def item_vectors(encoder: Encoder, tower: Tower, items: Iterable[tuple[str, Mapping[str, str]]]) -> Floats:
    """Encode items.

    Args:
        encoder: The encoder of a release.
        tower: Its item tower.
        items: The id of each item, and its fields.

    Returns:
        float32 [items, dim], in the order of the items; [0, 0] without items.
    """
    iterator, batches = iter(items), list[Floats]()
    while batch := list(islice(iterator, _BATCH)):
        inputs = [encoder.item_tower_inputs(fields, sku_id) for sku_id, fields in batch]
        (vectors,) = tower.run(None, {name: np.concatenate([row[name] for row in inputs]) for name in inputs[0]})
        batches.append(np.asarray(vectors, np.float32))
    return np.concatenate(batches) if batches else np.empty((0, 0), np.float32)
