"""The ranker's inputs for a user and items. Training and serving call this implementation.

The inputs depend only on the user, the history, the items and the statistics of a cut-off. Any pair of user and item
can be scored, and a replayed request gives the same inputs. The values are raw; the model standardises them.
"""

from collections.abc import Sequence

import numpy as np

from recmesh.features.catalogue import Catalogue
from recmesh.features.neighbour_votes import neighbour_votes
from recmesh.features.spec import SEGMENTS, Array, FeatureSpec, Floats, Ints, Mask, Segment
from recmesh.features.statistics import Statistics
from recmesh.features.user import User
from recmesh.kernels import Scratch, Votes
from recmesh.kernels.ranker import Release, lift, ranker_rows

LIFT_SMOOTHING = 10.0
"""Pseudo-count that pulls the lift of a user field value towards 1: users who behave like all users."""

_CODE_SMOOTHING = 5.0
_LIST_SCALE = 20.0
_VOTE_POWER = 0.3

_LIST_PARTS = ("ridge", "cosine", "recent_ridge", "recent_cosine")
_RELATIVE_PARTS = tuple(f"relative_{part}" for part in _LIST_PARTS)
_OWN = ("own_count", "own_rate", "own_share", "own_recency", "own_ratio")
_CROSSES = ("size", "moments", "popularity", "once", "often", "affinity", "repeat_rate")
_USER = ("user_items", "user_moments", "user_recency")


def dense_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Return the names of the dense inputs, in order. Releases contain these names."""
    return tuple(name for _, name in grouped_dense_names(spec))


def grouped_dense_names(spec: FeatureSpec) -> list[tuple[str, str]]:
    """Return the dense inputs in order, each as its group (`recmesh.features.feature_groups`) and its name."""
    names = [("popularity", f"popularity_{p.name}") for p in spec.popularities]
    names += [("popularity", "repeat_rate"), ("age", "age")]
    names += [("profile", f"lift_{field.name}") for field in spec.user_fields]
    names += [("history", part) for part in (*_LIST_PARTS, *_RELATIVE_PARTS)]
    names += [("two_tower", "tower")]
    for field in spec.item_fields:
        names += [(item_group(field.name), f"{field.name}_{part}") for part in ("count", "lift", "items", "recent")]
    numeric = [field.name for field in spec.item_fields if field.kind == "numeric"]
    names += [(item_group(name), f"{name}_distance") for name in numeric]
    names += [("profile", f"{field.name}_profile") for field in spec.item_fields if spec.user_fields]
    names += [("bought_before", name) for name in ("owned", *_OWN, *(f"own_x_{cross}" for cross in _CROSSES))]
    names += [("user", name) for name in _USER]
    return names


def item_group(field: str) -> str:
    """Return the name of the group of features of an item field."""
    return f"item.{field}"


def never_negative(spec: FeatureSpec) -> tuple[bool, ...]:
    """Return for each dense input whether its weight in the wide part must not be negative.

    For these inputs a larger value is evidence for an item, never against it. Without this constraint, a short trend
    before a cut-off can make the weight of popularity negative, and that weight is wrong at the next cut-off.
    """
    upward = ("popularity_", "lift_", *_LIST_PARTS, *_RELATIVE_PARTS, "tower")
    return tuple(
        name.startswith(upward) or name.endswith(("_lift", "_recent", "_profile")) for name in dense_names(spec)
    )


def forms(spec: FeatureSpec) -> tuple[Mask, ...]:
    """Return the masks of dense inputs that training tries for the wide part.

    The votes of the history come as logarithms, relative to the user's strongest vote, or in both forms: both, without
    the relative form, without the logarithms. The best choice depends on the data. On groceries the relative form alone
    is best (+0.001 NDCG@10), on films the logarithms are.
    """
    names = np.array(dense_names(spec))
    return tuple(~np.isin(names, left_out) for left_out in ((), _RELATIVE_PARTS, _LIST_PARTS))


def column_sizes(spec: FeatureSpec, user_sizes: Sequence[int], item_sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the number of entries of each sparse input: segment, user fields, item fields.

    Of a multi field, the sparse input holds the first code only.
    """
    return (len(SEGMENTS), *user_sizes, *item_sizes)


class RankerInputs:
    """Computes `dense` float32 [N, D] and `sparse` int64 [N, C] for a user and N items.

    The sparse columns are row numbers of a single embedding table with `sum(spec.columns)` rows, the segments first.
    """

    def __init__(
        self, spec: FeatureSpec, catalogue: Catalogue, statistics: Statistics, item_vectors: Floats, scratch: Scratch
    ) -> None:
        """Arrange the arrays of a release for the compiled code.

        Args:
            spec: The spec of the release.
            catalogue: Its items.
            statistics: Its statistics.
            item_vectors: float32 [items + 1, dim] of the item tower, with zeros in the last row; or empty.
            scratch: Scratch memory for the catalogue and the unlisted items of a request.
        """
        self._statistics = statistics
        self._scratch = scratch
        self._columns = len(spec.columns)
        self._release = Release(
            catalogue.codes,
            [np.exp(share) for share in statistics.code_share],
            statistics.code_lift,
            items=len(catalogue),
            popularities=len(spec.popularities),
            user_fields=len(spec.user_fields),
            item_fields=len(spec.item_fields),
            dim=item_vectors.shape[1] if item_vectors.size else 0,
            columns=len(spec.dense),
            clock=spec.clock,
            popularity=statistics.popularity,
            repeat_rate=statistics.repeat_rate,
            buyers=statistics.buyers,
            numbers=catalogue.numbers,
            vectors=item_vectors,
            first_seen=statistics.first_seen,
            lift_offset=statistics.lift_offset,
            lift_start=statistics.lift_start,
            lift_items=statistics.lift_items,
            lift_counts=statistics.lift_counts,
            value_share=statistics.value_share,
            widths=np.array([field.width for field in spec.item_fields], np.int64),
            numeric=np.array([field.kind == "numeric" for field in spec.item_fields], np.int64),
            sparse_offsets=np.cumsum([0, *spec.columns[:-1]], dtype=np.int64),
            neutral_logit=spec.neutral_logit,
            lift_smoothing=LIFT_SMOOTHING,
            code_smoothing=_CODE_SMOOTHING,
            list_scale=_LIST_SCALE,
            vote_power=_VOTE_POWER,
        )

    def __call__(
        self,
        user: User,
        items: Ints,
        segment: Segment,
        user_vector: Floats | None,
        unlisted_codes: Sequence[Ints],
        unlisted_numbers: Floats,
    ) -> dict[str, Array]:
        """Return the inputs by name, `dense` and `sparse`. The rows of unlisted items follow those of `items`.

        Args:
            user: The user.
            items: int32, numbers of catalogue items.
            segment: The segment of the request.
            user_vector: float32 [dim] of the user tower, or None.
            unlisted_codes: For each item field int32 [unlisted, width].
            unlisted_numbers: float32 [unlisted, item fields], standardised.
        """
        dense, sparse = ranker_rows(
            self._release,
            codes=user.codes,
            now=user.now,
            segment=SEGMENTS.index(segment),
            distinct_times=user.distinct_times,
            owned=user.owned,
            votes=self.votes(user),
            vector=user_vector,
            items=items,
            unlisted_codes=unlisted_codes,
            unlisted_numbers=unlisted_numbers,
            sparse_columns=self._columns,
            scratch=self._scratch,
        )
        return {"dense": dense, "sparse": sparse}

    def lifts(self, codes: Ints, items: Ints) -> list[Floats]:
        """Return for each user field log lifts float32 [items]: how much more often users with a code act on an item.

        Args:
            codes: int32 [user fields].
            items: int32, numbers of catalogue items.
        """
        return [lift(self._release, number, code, items) for number, code in enumerate(codes.tolist())]

    def votes(self, user: User) -> tuple[Votes, Votes]:
        """Return the votes of the user's history along the ridge and the cosine lists, computed once for each user."""
        found = user.memory.get("votes")
        if found is None:
            both = (self._statistics.ridge, self._statistics.cosine)
            found = tuple(neighbour_votes(lists, user.owned, self._scratch) for lists in both)
            user.memory["votes"] = found
        return found  # type: ignore[return-value]
