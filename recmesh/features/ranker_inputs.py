"""The ranker's inputs for one user and some items: the one implementation that training and serving call.

Everything comes from the user, the history, the items and the statistics of one moment, so that any pair can be
scored, and a logged request gives the same inputs again. Standardisation is the model's business: these are raw
figures.
"""

from collections.abc import Sequence

import numpy as np

from recmesh.features.affinity import votes
from recmesh.features.catalogue import Catalogue
from recmesh.features.spec import SEGMENTS, Array, FeatureSpec, Floats, Ints, Mask, Segment
from recmesh.features.statistics import Statistics
from recmesh.features.user import User
from recmesh.kernels import Scratch, Votes
from recmesh.kernels.ranker import Release, lift, ranker_rows

LIFT_SMOOTHING = 10.0
"""Users that a field value is taken to have in common with all users, when a lift is counted."""

_CODE_SMOOTHING = 5.0
_LIST_SCALE = 20.0
_VOTE_POWER = 0.3

_LIST_PARTS = ("ridge", "cosine", "recent_ridge", "recent_cosine")
_RELATIVE_PARTS = tuple(f"relative_{part}" for part in _LIST_PARTS)
_OWN = ("own_count", "own_rate", "own_share", "own_recency", "own_ratio")
_CROSSES = ("size", "moments", "popularity", "once", "often", "affinity", "repeat_rate")
_USER = ("user_items", "user_moments", "user_recency")


def dense_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Names of the dense inputs, in order."""
    names = [f"popularity_{p.name}" for p in spec.popularities]
    names += ["repeat_rate", "age"]
    names += [f"lift_{field.name}" for field in spec.user_fields]
    names += [*_LIST_PARTS, *_RELATIVE_PARTS, "tower"]
    for field in spec.item_fields:
        names += [f"{field.name}_{part}" for part in ("count", "lift", "items", "recent")]
    names += [f"{field.name}_distance" for field in spec.item_fields if field.kind == "numeric"]
    names += [f"{field.name}_profile" for field in spec.item_fields if spec.user_fields]
    names += ["owned", *_OWN, *(f"own_x_{cross}" for cross in _CROSSES), *_USER]
    return tuple(names)


def never_negative(spec: FeatureSpec) -> tuple[bool, ...]:
    """For each dense input whether more of it can only speak for an item: the wide part holds its weight at 0 or above.

    One moment's trend must not turn popularity around for the next moment; see the recipe of the wide part.
    """
    upward = ("popularity_", "lift_", *_LIST_PARTS, *_RELATIVE_PARTS, "tower")
    return tuple(
        name.startswith(upward) or name.endswith(("_lift", "_recent", "_profile")) for name in dense_names(spec)
    )


def forms(spec: FeatureSpec) -> tuple[Mask, ...]:
    """The choices of dense inputs that are worth trying for the wide part: the votes of the history as logarithms,
    relative to the user's strongest, or both. Which wins depends on the data: groceries want the relative form alone
    (+.001 ndcg@10), films the logarithms."""
    names = np.array(dense_names(spec))
    return tuple(~np.isin(names, left_out) for left_out in ((), _RELATIVE_PARTS, _LIST_PARTS))


def column_sizes(spec: FeatureSpec, user_sizes: Sequence[int], item_sizes: Sequence[int]) -> tuple[int, ...]:
    """Number of entries of each sparse input: segment, user fields, item fields (the first code of a multi field)."""
    return (len(SEGMENTS), *user_sizes, *item_sizes)


class RankerInputs:
    """Makes `dense` float32 [N, D] and `sparse` int64 [N, C] for a user and N items.

    Sparse columns are offset into one table of `sum(spec.columns)` rows, the segment first.
    """

    def __init__(
        self, spec: FeatureSpec, catalogue: Catalogue, statistics: Statistics, item_vectors: Floats, scratch: Scratch
    ) -> None:
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
        """items int32: numbers of the catalogue. The rows of unlisted items follow: for each item field their codes
        int32 [unlisted, width], and their standardised numbers float32 [unlisted, item fields]."""
        dense, sparse = ranker_rows(
            self._release,
            codes=user.codes,
            now=user.now,
            segment=SEGMENTS.index(segment),
            moments=user.moments,
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
        """For each user field, the log of how much more users with the user's value act on the items than others do."""
        return [lift(self._release, number, code, items) for number, code in enumerate(codes.tolist())]

    def votes(self, user: User) -> tuple[Votes, Votes]:
        """The votes of the user's history along the ridge and the cosine lists; computed once for a user."""
        found = user.memory.get("votes")
        if found is None:
            lists = (self._statistics.ridge, self._statistics.cosine)
            found = user.memory["votes"] = tuple(votes(one, user.owned, self._scratch) for one in lists)
        return found  # type: ignore[return-value]
