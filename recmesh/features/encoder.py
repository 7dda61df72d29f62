"""The encoder turns profiles, histories and items into the inputs of a release's models."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from recmesh.errors import InvalidRequest, ReleaseError
from recmesh.features.catalogue import Catalogue
from recmesh.features.feature_groups import FeatureGroup, feature_groups
from recmesh.features.fit import misfit
from recmesh.features.mapped_inputs import MappedModels
from recmesh.features.mapping import ITEM_ID
from recmesh.features.ranker_inputs import RankerInputs
from recmesh.features.spec import Array, FeatureSpec, Floats, Ints, Longs, Segment
from recmesh.features.statistics import Statistics
from recmesh.features.user import NO_ITEMS, NO_PROFILE, History, User
from recmesh.features.vocabulary import Vocabulary, load_vocabularies, save_vocabularies
from recmesh.kernels import Scratch, Votes
from recmesh.values import ActionWeights

SPEC, VOCABULARIES, STATISTICS = "spec.json", "vocabularies.json", "statistics.npz"
FEATURES, ITEM_VECTORS = "features", "item_vectors.npy"

MAX_UNLISTED_ITEMS = 4_096
"""Items outside the catalogue in one request. Their numbers follow those of the catalogue."""


class Encoder:
    """Computes the inputs of all models of a release. Threads may share an encoder.

    Attributes:
        spec: The spec of the release.
        catalogue: Its items.
        statistics: Its statistics.
        item_vectors: float32 [items + 1, dim] of the item tower, with zeros in the last row; empty without towers.
        scratch: Scratch memory for the kernels.
        action_weights: Computes the weights of actions.
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
        """Combine the parts of a release; `load` reads them from a release folder.

        Args:
            spec: The spec of the release.
            user_vocabularies: One for each user field.
            item_vocabularies: One for each item field.
            catalogue: The items.
            statistics: The statistics.
            item_vectors: float32 [items + 1, dim] of the item tower, with zeros in the last row; empty without towers.
            mapped: How the inputs of imported models are computed, if the release has any.
        """
        self.spec = spec
        self.catalogue = catalogue
        self.statistics = statistics
        self.item_vectors = item_vectors
        codes = max((len(share) for share in statistics.code_share), default=0)
        self.scratch = Scratch(len(catalogue) + 1 + MAX_UNLISTED_ITEMS, codes)
        self._user_vocabularies = list(user_vocabularies)
        self._item_vocabularies = list(item_vocabularies)
        self._inputs = RankerInputs(spec, catalogue, statistics, item_vectors, self.scratch)
        self._mapped = mapped or MappedModels()
        self._types = {name: number for number, name in enumerate(spec.action_types)}
        self.action_weights = ActionWeights.of(spec.action_weights, spec.values)

    @classmethod
    def load(cls, folder: Path) -> "Encoder":
        """Load from a release folder.

        Raises:
            ReleaseError: If a file is missing or damaged, or does not fit the others.
        """
        features = folder / FEATURES
        spec = FeatureSpec.load(features / SPEC)
        vocabularies = features / VOCABULARIES
        parts = (
            spec,
            load_vocabularies(vocabularies, "user", spec.user_fields, spec.missing),
            load_vocabularies(vocabularies, "item", spec.item_fields, spec.missing),
            Catalogue.load(features),
            Statistics.load(features / STATISTICS),
            padded(load_vectors(folder / ITEM_VECTORS)),
        )
        if fault := misfit(*parts):
            raise ReleaseError(f"{folder}: damaged release ({fault}); train again")
        return cls(*parts, MappedModels.load(features, spec.missing))

    def save(self, folder: Path) -> None:
        """Write everything that `load` reads, except the item vectors."""
        features = folder / FEATURES
        features.mkdir(parents=True, exist_ok=True)
        self.spec.save(features / SPEC)
        save_vocabularies(features / VOCABULARIES, self._user_vocabularies, self._item_vocabularies)
        self.catalogue.save(features)
        self.statistics.save(features / STATISTICS)

    @cached_property
    def new_vectors(self) -> Floats:
        """The vectors of the new items, float32 [new items, dim], in the order of `statistics.new`."""
        return self.item_vectors[self.statistics.new]

    @cached_property
    def feature_groups(self) -> Sequence[FeatureGroup]:
        """The groups of the ranker's inputs; none for an imported ranker, whose inputs have names of its own."""
        return () if self._mapped.ranker else feature_groups(self.spec)

    @cached_property
    def popularity_ranks(self) -> Ints:
        """The position of each item in `statistics.order`, int32 [items]."""
        ranks = np.empty(len(self.statistics.order), np.int32)
        ranks[self.statistics.order] = np.arange(len(ranks), dtype=np.int32)
        return ranks

    @cached_property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """The vocabularies by their fields, such as `user.age` and `item.brand`."""
        sides = {"user": self._user_vocabularies, "item": self._item_vocabularies}
        return {f"{side}.{v.field.name}": v for side, vocabularies in sides.items() for v in vocabularies}

    def user(
        self,
        profile: Mapping[str, str],
        sku_ids: Sequence[str] = (),
        times: Sequence[int] = (),
        types: Sequence[str] = (),
        values: Sequence[float] = (),
        older_sku_ids: Sequence[str] = (),
    ) -> User:
        """Encode a user. Ids outside the catalogue, fields outside the spec and unknown action types are allowed.

        Args:
            profile: Values by field name. Of a multi field only the first value counts.
            sku_ids: The items of the history, newest first.
            times: The times of the actions, milliseconds UTC.
            types: The names of the action types.
            values: The values of the actions. If times, types and values are all empty, the actions are of the
                strongest type, and happened at the end of the data.
            older_sku_ids: The items of older actions.

        Raises:
            InvalidRequest: If the four columns of the history differ in length.
        """
        codes = [v.codes(profile.get(v.field.name))[0] for v in self._user_vocabularies]
        history = self._history(sku_ids, times, types, values, older_sku_ids)
        if self._mapped:
            profile = _spelled(profile, self._user_vocabularies)
        return self.known_user(np.array(codes, np.int32), history, profile)

    def known_user(self, codes: Ints, history: History, profile: Mapping[str, str] = NO_PROFILE) -> User:
        """Return a user whose profile and history are already encoded. Only imported models read `profile`."""
        newest = int(history.times[0]) + self.spec.granularity if len(history.times) else 0
        now = max(self.statistics.as_of, newest)
        return User(codes, history, now, self.spec.recency, self.action_weights, self.scratch, profile)

    def segment(self, user: User, new_only: bool) -> Segment:
        """Return the segment of a request of this user."""
        return self.spec.segment(len(user.owned.items) > 0, new_only)

    def tower_inputs(self, user: User) -> dict[str, Array]:
        """Return the inputs of `user_tower.onnx`.

        They are `items` int64 [1, H] (item number + 1, or 0 for an empty history), `weights` float32 [1, H] and
        `fields` int64 [1, user fields]. An imported tower has one row of `dense` and `sparse` instead.
        """
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
        """Return the inputs of `item_tower.onnx` for an item given by its fields.

        They are `item` int64 [1] (item number + 1, or 0 outside the catalogue) and `fields` int64 [1, codes]. An
        imported tower has one row of `dense` and `sparse` instead.
        """
        if self._mapped.item_tower:
            return self._mapped.item_tower.of_fields({**_spelled(fields, self._item_vocabularies), ITEM_ID: sku_id})
        item = self.catalogue.index.get(sku_id, -1)
        codes = [code for v in self._item_vocabularies for code in v.codes(fields.get(v.field.name))]
        return {"item": np.array([item + 1], np.int64), "fields": np.array([codes or [0]], np.int64)}

    def item_tower_row(self, item: int) -> dict[str, Longs]:
        """Return the inputs of recmesh's own `item_tower.onnx` for a catalogue item."""
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
        """Return the inputs of `ranker.onnx`: `dense` float32 [N, D] and `sparse` int64 [N, C].

        The rows of `unlisted` follow those of `items`.

        Args:
            user: The user.
            items: int32, numbers of catalogue items.
            new_only: Whether the request wants only items that are new to the user.
            unlisted: Items outside the catalogue, by their fields.
            user_vector: float32 [dim] of the user tower. Without it the two-tower score is the neutral one. It is
                ignored with imported towers, because recmesh's ranker was trained with the scores of recmesh's towers.
        """
        if self._mapped.ranker:
            others = [_spelled(fields, self._item_vocabularies) for fields in unlisted]
            return self._mapped.ranker.of_items(user, items, others)
        if self._mapped.user_tower:
            user_vector = None
        codes, numbers = self._encode_items(unlisted)
        return self._inputs(user, items, self.segment(user, new_only), user_vector, codes, numbers)

    def lifts(self, codes: Ints, items: Ints) -> list[Floats]:
        """Return how much more often users with these codes act on the items; see `RankerInputs.lifts`."""
        return self._inputs.lifts(codes, items)

    def votes(self, user: User) -> tuple[Votes, Votes]:
        """Return the votes of the user's history; see `RankerInputs.votes`."""
        return self._inputs.votes(user)

    def weights_of(self, types: Sequence[str], values: Sequence[float]) -> Floats:
        """Return the weights of actions that no return takes back, float32. Unknown action types are allowed.

        Args:
            types: The names of the action types.
            values: The values of the actions.
        """
        return self.action_weights.before_returns(self._codes_of(types), np.array(values, np.float32))

    def _codes_of(self, types: Sequence[str]) -> "np.ndarray[tuple[int], np.dtype[np.int8]]":
        get = self._types.get
        return np.fromiter((get(name, -1) for name in types), np.int8, len(types))

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
        if sku_ids and not len(times) and not len(types) and not len(values):
            # Ids alone: of the strongest type, at the end of the data.
            count, weights = len(sku_ids), self.spec.action_weights
            times, values = [self.statistics.as_of] * count, [1.0] * count
            types = [max(weights, key=weights.__getitem__)] * count
        stamps = np.array(times, np.int64)
        kinds = self._codes_of(types)
        lengths = {len(sku_ids), len(stamps), len(kinds), len(values)}
        if len(lengths) > 1:
            raise InvalidRequest(f"history: the columns must have the same length, but have lengths {sorted(lengths)}")
        history = History(self.catalogue.encode(sku_ids), stamps, kinds, np.array(values, np.float32), older)
        if len(stamps) > 1 and (stamps[1:] > stamps[:-1]).any():
            order = np.argsort(-stamps, kind="stable")
            history = History(history.items[order], stamps[order], kinds[order], history.values[order], older)
        return history


def _spelled(fields: Mapping[str, str], vocabularies: Sequence[Vocabulary]) -> dict[str, str]:
    """Return fields in the spelling of the data set: legacy clients write whole numbers as "5" and as "5.0"."""
    known = {v.field.name: v for v in vocabularies}
    return {name: known[name].spelled(value) if name in known else value for name, value in fields.items()}


def load_vectors(path: Path) -> Floats:
    """Read item vectors float32 [items, dim]. The last dimension is the item bias, for which user vectors have a 1.

    Raises:
        ReleaseError: If the file is missing or damaged.
    """
    try:
        vectors: Floats = np.load(path)
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise ReleaseError(f"{path}: damaged item vectors ({error}); train again") from error
    return vectors


def padded(item_vectors: Floats) -> Floats:
    """Return the vectors with a row of zeros appended, which item -1 reaches."""
    return np.concatenate([item_vectors, np.zeros((1, item_vectors.shape[1]), np.float32)])
