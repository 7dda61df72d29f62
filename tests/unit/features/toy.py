"""A small hand-made release with five items, two categories and known statistics."""

from collections.abc import Sequence

import numpy as np

from recmesh.features import Catalogue, Encoder, FeatureSpec, Lists, Statistics
from recmesh.features.encoder import padded
from recmesh.features.ranker_inputs import column_sizes, dense_names
from recmesh.features.spec import DAY_MS, Channel, Field, Popularity, Segment, Tower
from recmesh.features.vocabulary import Vocabulary

AS_OF = 100 * DAY_MS
SKUS = ("a", "b", "c", "d", "00123")


def spec(repeats: bool = True, clock: bool = True) -> FeatureSpec:
    """Make the spec of the release."""
    channels: dict[Segment, dict[str, Channel]] = {
        "cold": {name: Channel() for name in ("two_tower", "popular")},
        "novel": {name: Channel() for name in ("two_tower", "neighbours", "popular")},
        "repeat": {name: Channel() for name in ("two_tower", "neighbours", "popular", "bought_before")},
    }
    made = FeatureSpec(
        as_of=AS_OF,
        repeats=repeats,
        clock=clock,
        granularity=DAY_MS,
        user_fields=(Field(name="age", kind="categorical"),),
        item_fields=(Field(name="cate", kind="categorical"), Field(name="price", kind="numeric", bounds=(5.0,))),
        action_weights={"view": 0.1, "order": 1.0},
        popularities=(Popularity(name="all"), Popularity(name="4d", days=4)),
        tower=Tower(dim=3, history=4),
        channels=channels,
        missing=("", "-1"),
    )
    user, item = vocabularies(made)
    sizes = ([v.size for v in user], [v.size for v in item])
    return made.model_copy(update={"dense": dense_names(made), "columns": column_sizes(made, *sizes)})


def vocabularies(made: FeatureSpec) -> tuple[list[Vocabulary], list[Vocabulary]]:
    """Make the vocabularies of the user fields and the item fields."""
    values = {"age": ("1", "2"), "cate": ("tea", "tools"), "price": ()}
    sides = (made.user_fields, made.item_fields)
    user, item = ([Vocabulary(f, values[f.name], made.missing) for f in fields] for fields in sides)
    return user, item


def encoder(repeats: bool = True, clock: bool = True, vectors: Sequence[Sequence[float]] | None = None) -> Encoder:
    """Make the encoder of the release, with `vectors` as item vectors."""
    made = spec(repeats, clock)
    user, item = vocabularies(made)
    codes = [np.array([[2], [2], [3], [3], [0]], np.int32), np.array([[2], [3], [2], [3], [0]], np.int32)]
    numbers = np.zeros((5, 2), np.float32)
    numbers[:, 1] = (-1, 1, -1, 1, 0)
    catalogue = Catalogue.build(SKUS, codes, numbers)
    item_vectors = np.array(vectors or np.eye(5, 3), np.float32)
    return Encoder(made, user, item, catalogue, statistics(), padded(item_vectors))


def statistics() -> Statistics:
    """Make the statistics of the release."""
    share = np.log(np.array([[0.4, 0.1], [0.3, 0.2], [0.15, 0.3], [0.1, 0.3], [0.05, 0.1], [0.01, 0.01]], np.float32))
    lists = Lists(
        start=np.array([0, 2, 3, 4, 4, 4], np.int64),
        items=np.array([1, 2, 0, 3], np.int32),
        scores=np.array([0.5, 0.25, 0.5, 0.75], np.float32),
    )
    return Statistics(
        as_of=AS_OF,
        popularity=share,
        buyers=np.array([40, 30, 15, 10, 5, 0], np.float32),
        repeat_rate=np.full(6, 0.2, np.float32),
        first_seen=np.full(6, AS_OF - 10 * DAY_MS, np.int64),
        lift_offset=np.array([0], np.int64),
        lift_start=np.array([0, 0, 0, 2, 3], np.int64),
        lift_items=np.array([0, 4, 1], np.int32),
        lift_counts=np.array([30, 5, 20], np.float32),
        value_share=np.array([0, 0, 0.5, 0.5], np.float32),
        top=np.array([[0, 1, 2], [2, 3, 1]], np.int32),
        value_top=np.array([[-1, -1], [-1, -1], [0, 4], [1, -1]], np.int32),
        order=np.arange(5, dtype=np.int32),
        code_share=[np.log(np.array([0.05, 0.01, 0.7, 0.25], np.float32)), np.log(np.full(4, 0.25, np.float32))],
        code_lift=[np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0.4, -0.3], [0, 0, -0.2, 0.1]], np.float32)] * 2,
        cosine=lists,
        ridge=lists,
    )
