"""The channel of new items."""

from dataclasses import replace

import numpy as np

from recmesh.features import Encoder
from recmesh.features.spec import DAY_MS
from recmesh.features.statistics import is_new
from recmesh.retrieval import Retriever
from tests.unit.features.toy import AS_OF, encoder


def with_new_items() -> Encoder:
    """Make a release in which c and 00123 have no actions, and d has three buyers since yesterday."""
    made = encoder(vectors=[[9, 9, 9], [9, 9, 9], [0, 2, -1], [1, 0, -3], [2, 0, -2]])
    first = np.array([AS_OF - 90 * DAY_MS] * 2 + [AS_OF, AS_OF - DAY_MS, AS_OF, AS_OF], np.int64)
    buyers = np.array([40, 2, 0, 3, 0, 0], np.float32)
    made.statistics = replace(made.statistics, buyers=buyers, first_seen=first)
    return made


def test_items_are_new_with_few_buyers_who_all_came_lately() -> None:
    days = np.array([0, 30, 31, 1, 1])
    new = is_new(np.array([0, 4, 4, 5, 1]), AS_OF - days * DAY_MS, AS_OF)
    assert new.tolist() == [True, True, False, False, True]


def test_the_channel_ranks_new_items_by_the_inner_product() -> None:
    retriever = Retriever(with_new_items())
    user, exclude = retriever.encoder.user({"age": "1"}), np.empty(0, np.int32)

    def ranked(*vector: float, depth: int = 9) -> tuple[list[int], list[float]]:
        found = retriever.in_memory(user, ["new"], exclude, depth, user_vector=np.array(vector, np.float32))["new"]
        return found.items.tolist(), found.scores.tolist()

    # By hand: c = 2 * y - z, d = x - 3 * z, 00123 = 2 * x - 2 * z.
    assert ranked(1, 3, 1) == ([2, 4, 3], [5.0, 0.0, -2.0])
    assert ranked(5, 1, 1) == ([4, 3, 2], [8.0, 2.0, 1.0])
    assert ranked(1, 3, 1, depth=1) == ([2], [5.0])
    exclude = np.array([2], np.int32)
    assert ranked(1, 3, 1) == ([4, 3], [0.0, -2.0])


def test_without_towers_there_are_no_new_items() -> None:
    retriever = Retriever(with_new_items())
    user = retriever.encoder.user({"age": "1"})
    assert len(retriever.in_memory(user, ["new"])["new"].items) == 0
    retriever.encoder.item_vectors = np.empty((0, 0), np.float32)
    found = retriever.in_memory(user, ["new"], user_vector=np.ones(3, np.float32))
    assert len(found["new"].items) == 0
