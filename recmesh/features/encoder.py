"""Encoder: from what the wire or a data set says about a user and items to the inputs of the models of one release."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

from recmesh.errors import InvalidRequest, ReleaseError
from recmesh.features.catalogue import Catalogue
from recmesh.features.mapped_inputs import MappedModels
from recmesh.features.mapping import ITEM_ID
from recmesh.features.memo import Memo
from recmesh.features.ranker_inputs import RankerInputs
from recmesh.features.spec import Array, FeatureSpec, Floats, Ints, Longs, Segment
from recmesh.features.statistics import Statistics
from recmesh.features.user import NO_ITEMS, NO_PROFILE, History, User
from recmesh.features.vocabulary import Vocabulary, load_vocabularies, save_vocabularies
from recmesh.kernels import Scratch, Votes

SPEC, VOCABULARIES, STATISTICS = "spec.json", "vocabularies.json", "statistics.npz"
FEATURES, ITEM_VECTORS = "features", "item_vectors.npy"

MOST_UNLISTED = 4_096
"""Items beyond the catalogue that one request may have; they are numbered on from its end."""

_REMEMBERED = 1024

T = TypeVar("T")


class Encoder:
    """Everything about features of one release at one moment. Safe to share between threads.

    `item_vectors`: float32 [items + 1, dim], the item tower's vectors with a row of zeros last, or an empty array
    without towers. `mapped`: the inputs of models that come from elsewhere, if there are such.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        user_vocabularies: Sequence[Vocabulary],
        item_vocabularies: Sequence[Vocabulary],
        catalogue: Catalogue,
        statistics: Statistics,
        item_vectors: Floats,
        mapped: MappedModels | None = None,
    ) -> None:
        self.spec = spec
        self.catalogue = catalogue
        self.statistics = statistics
        self._memo: Memo[object] = Memo(_REMEMBERED)
        codes = max((len(share) for share in statistics.code_share), default=0)
        self.scratch = Scratch(len(catalogue) + 1 + MOST_UNLISTED, codes)
        self._user_vocabularies = list(user_vocabularies)
        self._item_vocabularies = list(item_vocabularies)
        self._inputs = RankerInputs(spec, catalogue, statistics, item_vectors, self.scratch)
        self._mapped = mapped or MappedModels()
        self._types = {name: number for number, name in enumerate(spec.action_types)}
        self.type_weights = type_weights(spec)

    @classmethod
    def load(cls, folder: Path) -> "Encoder":
        """Load from a release folder. Raises ReleaseError when a file is missing or damaged."""
        features = folder / FEATURES
        spec = FeatureSpec.load(features / SPEC)
        vocabularies = features / VOCABULARIES
        return cls(
            spec,
            load_vocabularies(vocabularies, "user", spec.user_fields, spec.missing),
            load_vocabularies(vocabularies, "item", spec.item_fields, spec.missing),
            Catalogue.load(features),
            Statistics.load(features / STATISTICS),
            padded(load_vectors(folder / ITEM_VECTORS)),
            MappedModels.load(features, spec.missing),
        )

    def save(self, folder: Path) -> None:
        """Write what `load` reads, but for the item vectors."""
        features = folder / FEATURES
        features.mkdir(parents=True, exist_ok=True)
        self.spec.save(features / SPEC)
        save_vocabularies(features / VOCABULARIES, self._user_vocabularies, self._item_vocabularies)
        self.catalogue.save(features)
        self.statistics.save(features / STATISTICS)

    @property
    def unknown_values(self) -> int:
        """How many field values outside the vocabularies were met so far."""
        return sum(v.unknown for v in (*self._user_vocabularies, *self._item_vocabularies))

    def user(
        self,
        profile: Mapping[str, str],
        sku_ids: Sequence[str] = (),
        times: Sequence[int] = (),
        types: Sequence[str] = (),
        values: Sequence[float] = (),
        older_sku_ids: Sequence[str] = (),
    ) -> User:
        """A user from a profile by field name and a history in columns (types by name), newest first.

        Of a multi field of the profile the first value counts.

        Ids outside the catalogue, fields outside the spec and unknown kinds of action do no harm. Raises
        InvalidRequest when
        the columns of the history differ in length.
        """
        codes = [v.codes(profile.get(v.field.name))[0] for v in self._user_vocabularies]
        history = self._history(sku_ids, times, types, values, older_sku_ids)
        if self._mapped:
            profile = _spelled(profile, self._user_vocabularies)
        return self.known_user(np.array(codes, np.int32), history, profile)

    def known_user(self, codes: Ints, history: History, profile: Mapping[str, str] = NO_PROFILE) -> User:
        """A user whose profile and history are encoded already; models from elsewhere read the profile itself."""
        newest = int(history.times[0]) + self.spec.granularity if len(history.times) else 0
        now = max(self.statistics.as_of, newest)
        return User(codes, history, now, self.spec.recency, self.type_weights, self.scratch, profile)

    def segment(self, user: User, new_only: bool) -> Segment:
        """The segment of a request of this user."""
        return self.spec.segment(len(user.owned.items) > 0, new_only)

    def tower_inputs(self, user: User) -> dict[str, Array]:
        """Inputs of `user_tower.onnx` for one user: `items` int64 [1, H] (1 + item, 0: none), `weights` float32 [1,
        H], `fields` int64 [1, F]; those of a tower from elsewhere are `dense` and `sparse`, one row."""
        if self._mapped.user_tower:
            return self._mapped.user_tower.of_user(user)
        items = user.owned.items[: self.spec.tower.history]
        weights = user.owned.strength[: self.spec.tower.history]
        if not len(items):
            items, weights = np.array([-1]), np.zeros(1, np.float32)
        fields = user.codes if len(user.codes) else np.zeros(1, np.int64)
        return {
            "items": items[None].astype(np.int64) + 1,
            "weights": weights[None],
            "fields": fields[None].astype(np.int64),
        }

    def item_tower_inputs(self, fields: Mapping[str, str], sku_id: str = "") -> dict[str, Array]:
        """Inputs of `item_tower.onnx` for one item: `item` int64 [1] (1 + item, 0: not in the catalogue), `fields`
        int64 [1, codes]; those of a tower from elsewhere are `dense` and `sparse`, one row."""
        if self._mapped.item_tower:
            return self._mapped.item_tower.of_fields({**_spelled(fields, self._item_vocabularies), ITEM_ID: sku_id})
        item = self.catalogue.index.get(sku_id, -1)
        codes = [code for v in self._item_vocabularies for code in v.codes(fields.get(v.field.name))]
        return {"item": np.array([item + 1], np.int64), "fields": np.array([codes or [0]], np.int64)}

    def item_tower_row(self, item: int) -> dict[str, Longs]:
        """Inputs of `item_tower.onnx` for one item of the catalogue."""
        codes = [codes[item] for codes in self.catalogue.codes]
        fields = np.concatenate(codes).astype(np.int64) if codes else np.zeros(1, np.int64)
        return {"item": np.array([item + 1], np.int64), "fields": fields[None]}

    def ranker_inputs(
        self,
        user: User,
        items: Ints,
        new_only: bool,
        unlisted: Sequence[Mapping[str, str]] = (),
        user_vector: Floats | None = None,
    ) -> dict[str, Array]:
        """Inputs of `ranker.onnx`: `dense` float32 [N, D], `sparse` int64 [N, C].

        items: int32, numbers of the catalogue. unlisted: items that it does not hold, by their fields; their rows
        follow.
        user_vector: float32 [dim] of the user tower; without it the two-tower score is taken as neutral. So it is
        beside towers from elsewhere: a ranker of our own has learnt what the scores of its own towers mean.
        """
        if self._mapped.ranker:
            others = [_spelled(fields, self._item_vocabularies) for fields in unlisted]
            return self._mapped.ranker.of_items(user, items, others)
        if self._mapped.user_tower:
            user_vector = None
        codes, numbers = self._encode_items(unlisted)
        return self._inputs(user, items, self.segment(user, new_only), user_vector, codes, numbers)

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave for this key, made once as long as it is among the latest used."""
        return cast(T, self._memo.get(key, make))

    def lifts(self, codes: Ints, items: Ints) -> list[Floats]:
        """See RankerInputs.lifts."""
        return self._inputs.lifts(codes, items)

    def votes(self, user: User) -> tuple[Votes, Votes]:
        """See RankerInputs.votes."""
        return self._inputs.votes(user)

    def _encode_items(self, unlisted: Sequence[Mapping[str, str]]) -> tuple[list[Ints], Floats]:
        codes = [
            np.array([v.codes(fields.get(v.field.name)) for fields in unlisted], np.int32).reshape(-1, v.field.width)
            for v in self._item_vocabularies
        ]
        numbers = np.zeros((len(unlisted), len(self._item_vocabularies)), np.float32)
        for column, vocabulary in enumerate(self._item_vocabularies):
            if vocabulary.field.kind == "numeric":
                numbers[:, column] = [vocabulary.number(fields.get(vocabulary.field.name)) for fields in unlisted]
        return codes, numbers

    def _history(
        self,
        sku_ids: Sequence[str],
        times: Sequence[int],
        types: Sequence[str],
        values: Sequence[float],
        older_sku_ids: Sequence[str],
    ) -> History:
        older = self.catalogue.encode(older_sku_ids) if older_sku_ids else NO_ITEMS
        moments = np.array(times, np.int64)
        get = self._types.get
        kinds = np.fromiter((get(name, -1) for name in types), np.int8, len(types))
        lengths = {len(sku_ids), len(moments), len(kinds), len(values)}
        if len(lengths) > 1:
            raise InvalidRequest(f"history: its columns must have the same length, not {sorted(lengths)}")
        history = History(self.catalogue.encode(sku_ids), moments, kinds, np.array(values, np.float32), older)
        if len(moments) > 1 and (moments[1:] > moments[:-1]).any():
            order = np.argsort(-moments, kind="stable")
            history = History(history.items[order], moments[order], kinds[order], history.values[order], older)
        return history


def _spelled(fields: Mapping[str, str], vocabularies: Sequence[Vocabulary]) -> dict[str, str]:
    """Fields in the spelling of the data: clients of the seed system write whole numbers in two ways."""
    known = {v.field.name: v for v in vocabularies}
    return {name: known[name].spelled(value) if name in known else value for name, value in fields.items()}


def load_vectors(path: Path) -> Floats:
    """Item vectors, float32 [items, dim]. Raises ReleaseError when the file is missing or damaged."""
    try:
        vectors: Floats = np.load(path)
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path}: damaged item vectors ({error}); train again") from error
    return vectors


def padded(item_vectors: Floats) -> Floats:
    """The vectors with a row of zeros added for item -1."""
    return np.concatenate([item_vectors, np.zeros((1, item_vectors.shape[1]), np.float32)])


def type_weights(spec: FeatureSpec) -> Floats:
    """Weight of each kind of action relative to the greatest, and last that of an unknown kind: the smallest."""
    weights = np.array(list(spec.action_weights.values()), np.float32)
    relative = weights / max(float(weights.max()), 1e-9)
    return np.append(relative, relative.min()).astype(np.float32)
