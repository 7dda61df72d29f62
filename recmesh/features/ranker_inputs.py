"""The ranker's inputs for one user and some items: the one implementation that training and serving call.

Everything comes from the user, the history, the items and the statistics of one moment, so that any pair can be
scored, and a logged request gives the same inputs again. Standardisation is the model's business: these are raw
figures.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from recmesh.features.affinity import Scratch, Votes, read, votes
from recmesh.features.catalogue import Catalogue
from recmesh.features.spec import DAY, SEGMENTS, Array, FeatureSpec, Floats, Ints, Longs, Mask, Segment
from recmesh.features.statistics import Statistics
from recmesh.features.user import Owned, User
from recmesh.features.vocabulary import MISSING

LIFT_SMOOTHING = 10.0
"""Users that a field value is taken to have in common with all users, when a lift is counted."""

_CODE_SMOOTHING = 5.0
_LIST_SCALE = 20.0
_VOTE_POWER = 0.3

_LIST_PARTS = ("ridge", "cosine", "recent_ridge", "recent_cosine")
_RELATIVE_PARTS = tuple(f"relative_{part}" for part in _LIST_PARTS)
_OWN = ("own_count", "own_rate", "own_share", "own_recency", "own_ratio")
_CROSSES = ("size", "moments", "popularity", "once", "often", "affinity")
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
    names += ["owned", *_OWN, *(f"own_x_{cross}" for cross in _CROSSES), *_USER]
    return tuple(names)


def never_negative(spec: FeatureSpec) -> tuple[bool, ...]:
    """For each dense input whether more of it can only speak for an item: the wide part holds its weight at 0 or above.

    One moment's trend must not turn popularity around for the next moment; see the recipe of the wide part.
    """
    upward = ("popularity_", "lift_", *_LIST_PARTS, *_RELATIVE_PARTS, "tower")
    return tuple(name.startswith(upward) or name.endswith(("_lift", "_recent")) for name in dense_names(spec))


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
        self.spec = spec
        self.statistics = statistics
        self.item_vectors = item_vectors
        self._catalogue = catalogue
        self._scratch = scratch
        self._offsets = np.concatenate([[0], np.cumsum(spec.columns)[:-1]]).astype(np.int64)
        self._numeric = [n for n, field in enumerate(spec.item_fields) if field.kind == "numeric"]
        sparse = [codes[:, 0].astype(np.int64) for codes in catalogue.codes]
        first = 1 + len(spec.user_fields)
        self._item_sparse = (
            np.stack(sparse, 1) + self._offsets[first:] if sparse else np.zeros((len(catalogue) + 1, 0), np.int64)
        )
        self._default_popularity = statistics.popularity[-1]

    def __call__(
        self,
        user: User,
        items: Ints,
        segment: Segment,
        user_vector: Floats | None,
        codes: Sequence[Ints],
        numbers: Floats,
        sparse: Longs,
    ) -> dict[str, Array]:
        """items int32 [N] (-1: not in the catalogue); codes, numbers, sparse: the items' rows, see `rows`."""
        dense = np.empty((len(self.spec.dense), len(items)), np.float32)
        for row, block in enumerate(self._blocks(user, items, user_vector, codes, numbers)):
            dense[row] = block
        fixed = np.concatenate([[SEGMENTS.index(segment)], user.codes]) + self._offsets[: 1 + len(user.codes)]
        both = np.empty((len(items), len(self.spec.columns)), np.int64)
        both[:, : len(fixed)] = fixed
        both[:, len(fixed) :] = sparse
        return {"dense": np.ascontiguousarray(dense.T), "sparse": both}

    def rows(self, items: Ints) -> tuple[list[Ints], Floats, Longs]:
        """Codes of each item field, standardised numbers, and sparse inputs of catalogue items."""
        codes = [field_codes[items] for field_codes in self._catalogue.codes]
        return codes, self._catalogue.numbers[items], self._item_sparse[items]

    def sparse_of(self, codes: Sequence[Ints]) -> Longs:
        """The sparse inputs of items known by their codes only."""
        if not codes:
            return np.zeros((0, 0), np.int64)
        return np.stack([c[:, 0].astype(np.int64) for c in codes], 1) + self._offsets[1 + len(self.spec.user_fields) :]

    def _blocks(
        self, user: User, items: Ints, user_vector: Floats | None, codes: Sequence[Ints], numbers: Floats
    ) -> Iterable[Floats | float]:
        owned, statistics = user.owned, self.statistics
        popularity = statistics.popularity[items].T
        yield from popularity
        yield statistics.repeat_rate[items]
        yield np.log1p(np.maximum(user.now - statistics.first_seen[items], 0) / DAY) if self.spec.clock else 0.0
        yield from self.lifts(user.codes, items)
        yield from self._list_scores(user, items)
        yield self._logits(items, user_vector)
        lift: Floats | float = 0.0
        for number, field_codes in enumerate(codes):
            columns = self._code_scores(owned, number, field_codes)
            lift = columns[1] if number == 0 else lift
            yield from columns
        for number in self._numeric:
            yield _distance(owned, self._catalogue.numbers[:, number], numbers[:, number])
        yield from self._own(user, items, popularity[0], lift)
        size, moments, idle = self._user(user)
        yield from (size, moments, idle)

    def lifts(self, codes: Ints, items: Ints) -> list[Floats]:
        """For each user field, the log of how much more users with the user's value act on the items than others do."""
        statistics = self.statistics
        buyers = statistics.buyers[items]
        lifts = []
        for number, code in enumerate(codes.tolist()):
            value = int(statistics.lift_offset[number]) + code
            start, end = statistics.lift_start[value], statistics.lift_start[value + 1]
            found = lookup(statistics.lift_items[start:end], statistics.lift_counts[start:end], items)
            expected = buyers * statistics.value_share[value]
            lifts.append(np.log((found + LIFT_SMOOTHING) / (expected + LIFT_SMOOTHING)))
        return lifts

    def votes(self, user: User) -> tuple[Votes, Votes]:
        """The votes of the user's history along the ridge and the cosine lists; computed once for a user."""
        found = user.memory.get("votes")
        if found is None:
            lists = (self.statistics.ridge, self.statistics.cosine)
            found = user.memory["votes"] = tuple(votes(one, user.owned, self._scratch) for one in lists)
        return found  # type: ignore[return-value]

    def _list_scores(self, user: User, items: Ints) -> Iterable[Floats | float]:
        owned = user.owned
        if not len(owned.items):
            yield from [0.0] * (len(_LIST_PARTS) + len(_RELATIVE_PARTS))
            return
        ridge, cosine = self.votes(user)
        all_size, recent_size = np.sqrt(len(owned.items)), np.sqrt(owned.weights.sum() + 1e-6)
        of_all = [(one.all, read(self._scratch, one.items, one.all, items)) for one in (ridge, cosine)]
        recent = [(one.recent, read(self._scratch, one.items, one.recent, items)) for one in (ridge, cosine)]
        for size, pairs in ((all_size, of_all), (recent_size, recent)):
            for _, found in pairs:
                yield np.sign(found) * np.log1p(np.abs(found) * (_LIST_SCALE / size))
        for votes_of_all, found in (*of_all, *recent):
            yield _relative(found, votes_of_all)

    def _logits(self, items: Ints, user_vector: Floats | None) -> Floats | float:
        if user_vector is None or not len(self.item_vectors):
            return self.spec.neutral_logit
        logits = self.item_vectors[items] @ user_vector
        logits[items < 0] = self.spec.neutral_logit
        return logits

    def _code_scores(self, owned: Owned, number: int, codes: Ints) -> tuple[Floats | float, ...]:
        """For one item field: count, lift, distinct items and recency of the user's actions on items with the same
        codes."""
        if not len(owned.items):
            return 0.0, 0.0, 0.0, 0.0
        share = self.statistics.code_share[number]
        mine = self._catalogue.codes[number][owned.items]
        width = codes.shape[1]
        weights = (owned.counts, np.ones_like(owned.counts), owned.weights)
        sums = [np.bincount(mine.ravel(), np.repeat(w, width) if width > 1 else w, len(share)) for w in weights]
        for one in sums:
            one[MISSING] = 0.0
        expected = np.exp(share[codes])
        count = sums[0][codes]
        total = float(owned.counts.sum())
        lift = np.log((count + _CODE_SMOOTHING * expected) / ((total + _CODE_SMOOTHING) * expected))
        # What a user has little of is no reason against it: histories are short.
        lift = np.where(codes == MISSING, 0.0, lift)
        parts = (np.log1p(count), lift, np.log1p(sums[1][codes]), np.log1p(_LIST_SCALE * sums[2][codes]))
        if width == 1:
            return tuple(part[:, 0] for part in parts)
        known = np.maximum((codes != MISSING).sum(1), 1)
        return tuple(part.sum(1) / known for part in parts)

    def _own(self, user: User, items: Ints, popularity: Floats, lift: Floats | float) -> Iterable[Floats | float]:
        owned = user.owned
        if not len(owned.items):
            yield from [0.0] * (1 + len(_OWN) + len(_CROSSES))
            return
        scratch = self._scratch
        scratch.place[owned.items] = np.arange(1, len(owned.items) + 1, dtype=np.int32)
        position = scratch.place[items] - 1
        scratch.place[owned.items] = 0
        mine = position >= 0
        own = mine.astype(np.float32)
        counts = owned.counts[position] * own
        size, moments, _ = self._user(user)
        since, idle = (owned.days, owned.days.min()) if self.spec.clock else (owned.steps, owned.steps.min())
        ago = np.log1p(since[position])
        yield own
        yield np.log1p(counts)
        yield own * np.log((counts + 0.1) / user.moments)
        yield counts / owned.counts.sum()
        yield own * -ago
        yield own * -(ago - np.log1p(idle))
        yield own * size
        yield own * moments
        yield own * (popularity - self._default_popularity[0])
        yield (counts == 1).astype(np.float32)
        yield (counts > 2).astype(np.float32)
        yield own * lift

    def _user(self, user: User) -> tuple[float, float, float]:
        owned = user.owned
        if not len(owned.items):
            return 0.0, 0.0, 0.0
        idle = owned.days.min() if self.spec.clock else 0.0
        return float(np.log1p(len(owned.items))), float(np.log1p(user.moments)), float(np.log1p(idle))


def lookup(keys: Ints, values: Floats, wanted: Ints) -> Floats:
    """The values of ascending `keys` at `wanted`; 0 where a key is not there."""
    if not len(keys):
        return np.zeros(len(wanted), np.float32)
    position = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[position] == wanted, values[position], np.float32(0))


def _relative(found: Floats, of_all: Floats) -> Floats:
    """Votes relative to the user's strongest, by a small power: an item's place among the user's own votes counts."""
    strongest = of_all.max(initial=0.0)
    relative: Floats = (np.maximum(found, 0.0) / max(float(strongest), 1e-9)) ** np.float32(_VOTE_POWER)
    return relative


def _distance(owned: Owned, of_all: Floats, of_items: Floats) -> Floats | float:
    if not len(owned.items):
        return 0.0
    mean = (of_all[owned.items] * owned.counts).sum() / owned.counts.sum()
    distance: Floats = -np.abs(of_items - mean)
    return distance
