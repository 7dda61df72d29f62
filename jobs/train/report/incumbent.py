"""The active release as a rival: its own lists for the users of the held-out window, where it has not seen their
labels."""

from collections import Counter
from pathlib import Path

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import Candidates
from jobs.train.data.windows import Window
from jobs.train.export.paddle_models import session_of
from jobs.train.report.baselines import LENGTH
from jobs.train.report.moments import written
from recmesh.dataset import DataSet
from recmesh.errors import ReleaseError
from recmesh.evaluation.report import ActiveFacts
from recmesh.features import Encoder, Segment
from recmesh.features.encoder import ITEM_VECTORS, load_vectors
from recmesh.features.spec import Array, Floats, Ints
from recmesh.features.user import User
from recmesh.releases import Manifest, ModelStore
from recmesh.retrieval import Retriever

_MOST_USERS = 400


class Incumbent:
    """What the report asks of the active release of a store: there may be none, or one that cannot be asked."""

    def __init__(self, release: str | None, active: "Active | None", trouble: str = "") -> None:
        self._release = release
        self._active = active
        self._trouble = trouble

    @classmethod
    def of(cls, store: ModelStore, cache: Path, dataset: DataSet, data: Prepared) -> "Incumbent":
        """Load the active release of a store into `cache`."""
        try:
            release = store.active()
            if release is None:
                return cls(None, None)
            manifest = store.manifest(release)
            if manifest.imported:
                return cls(release, None, "its models come from elsewhere, and may have seen the held-out labels")
            return cls(release, Active(manifest, store.fetch(release, cache), dataset, data))
        except ReleaseError as error:
            return cls("that cannot be loaded", None, str(error))

    def top(self, one: Candidates, window: Window) -> Ints | None:
        """See Active.top; None where there is no release to ask."""
        return self._active.top(one, window) if self._active else None

    def facts(self) -> ActiveFacts | None:
        """Whether it was compared, and why not; None without an active release."""
        if self._release is None:
            return None
        if self._active is None:
            return ActiveFacts(release=self._release, compared=False, reason=self._trouble)
        until = f"it was trained on actions until {written(self._active.as_of)}"
        if self._active.asked:
            return ActiveFacts(release=self._release, compared=True, reason=f"{until}: all labels are later")
        return ActiveFacts(release=self._release, compared=False, reason=f"{until}: it has seen the held-out labels")


class Active:
    """Answers as the services would with the active release: all channels, its merge, its ranker."""

    def __init__(self, manifest: Manifest, folder: Path, dataset: DataSet, data: Prepared) -> None:
        self.as_of = manifest.as_of
        self.asked: Counter[Segment] = Counter()
        self._data = data
        self._encoder = Encoder.load(folder)
        self._retriever = Retriever(self._encoder)
        self._vectors = load_vectors(folder / ITEM_VECTORS)
        self._tower, self._ranker = session_of(folder / "user_tower.onnx"), session_of(folder / "ranker.onnx")
        self._profiles = dataset.users.drop("user_id")
        self._sku_ids = np.array(data.catalogue.sku_ids, object)

    def top(self, one: Candidates, window: Window) -> Ints | None:
        """The release's list for a held-out user, as item numbers of this training (-1: an item that it does not have).

        None where the comparison would not be honest, and beyond a number of users that is enough. It is honest where
        the user's first label is later than all that the release was trained on, so that it cannot have learnt from it,
        and where the release knows of nothing later than the held-out window does: that would be a head start.
        """
        first_label = int(self._data.times[window.begin[one.row]])
        if self.asked[one.segment] >= _MOST_USERS or self.as_of > min(window.as_of, first_label):
            return None
        self.asked[one.segment] += 1
        return self._answer(one)

    def _answer(self, one: Candidates) -> Ints:
        encoder, new_only = self._encoder, one.segment != "repeat"
        user = self._user(one)
        vector: Floats = self._tower.run(None, encoder.tower_inputs(user))[0][0]
        segment = encoder.segment(user, new_only)
        exclude = self._retriever.excluded(user, new_only)
        found = self._retriever.exact(user, vector, self._vectors, exclude, new_only)
        items = self._retriever.merge(found, segment).items
        if encoder.spec.rankers.get(segment, True):
            inputs: dict[str, Array] = encoder.ranker_inputs(user, items, new_only, user_vector=vector)
            items = items[np.argsort(-self._ranker.run(["score"], inputs)[0], kind="stable")]
        return self._data.catalogue.encode([encoder.catalogue.sku_ids[item] for item in items[:LENGTH].tolist()])

    def _user(self, one: Candidates) -> User:
        profile = {name: value for name, value in self._profiles.row(one.row, named=True).items() if value is not None}
        history, names = one.user.history, self._data.spec.action_types
        return self._encoder.user(
            profile,
            self._sku_ids[history.items].tolist(),
            history.times.tolist(),
            [names[kind] for kind in history.types.tolist()],
            history.values.tolist(),
            self._sku_ids[history.older].tolist(),
        )
