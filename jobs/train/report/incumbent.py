"""The incumbent: the active release, whose lists for held-out users are compared with those of the new release.

A starter is no incumbent: it has seen all labels, and every trained release may replace it.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import Candidates
from jobs.train.data.windows import Window
from jobs.train.export.paddle_models import session_of
from jobs.train.report.baselines import LENGTH
from jobs.train.report.times import formatted
from recmesh.dataset import DataSet
from recmesh.errors import ReleaseError
from recmesh.evaluation.report import ActiveFacts
from recmesh.features import Encoder, Segment
from recmesh.features.encoder import ITEM_VECTORS, load_vectors
from recmesh.features.spec import Array, Floats, Ints
from recmesh.features.user import User
from recmesh.releases import Manifest, ModelStore
from recmesh.retrieval import Retriever

MAX_USERS = 400
"""Users of a segment for whom the incumbent makes a list."""


class Incumbent:
    """The active release of a store. There may be none, or one that cannot be compared.

    Args:
        release: Its id, None without an active release.
        active: The loaded release, None if it cannot be compared.
        problem: Why it cannot be compared.
    """

    def __init__(self, release: str | None, active: "IncumbentRelease | None", problem: str = "") -> None:
        self._release = release
        self._active = active
        self._problem = problem

    @classmethod
    def of(cls, store: ModelStore, cache: Path, dataset: DataSet, data: Prepared) -> "Incumbent":
        """Load the active release of a store into `cache`."""
        try:
            release = store.active()
            if release is None:
                return cls(None, None)
            manifest = store.manifest(release)
            if manifest.starter:
                return cls(None, None)
            if manifest.imported:
                return cls(release, None, "its models were imported and may have seen the held-out labels")
            if not manifest.as_of:
                return cls(release, None, "its data had no times, so it may have seen the held-out labels")
            return cls(release, IncumbentRelease(manifest, store.fetch(release, cache), dataset, data))
        except ReleaseError as error:
            return cls("that cannot be loaded", None, str(error))

    def top(self, candidates: Candidates, window: Window) -> Ints | None:
        """Return the list for a held-out user; None without a fair comparison, see `IncumbentRelease.top`."""
        return self._active.top(candidates, window) if self._active else None

    def facts(self) -> ActiveFacts | None:
        """Return whether the incumbent was compared, and why or why not. None without an active release."""
        if self._release is None:
            return None
        if self._active is None:
            return ActiveFacts(release=self._release, compared=False, reason=self._problem)
        until = f"it was trained on actions until {formatted(self._active.as_of)}"
        if self._active.compared:
            return ActiveFacts(release=self._release, compared=True, reason=f"{until}, and all labels are later")
        return ActiveFacts(release=self._release, compared=False, reason=f"{until}, so it has seen the held-out labels")


class IncumbentRelease:
    """Makes lists as the services would with the active release: all channels, the merge and the ranker.

    Attributes:
        as_of: When the actions end on which it was trained, in ms since 1970.
        compared: Number of users for whom it made a list, by segment.

    Args:
        manifest: Its manifest.
        folder: Its folder.
        dataset: The data set of this training.
        data: The same, encoded.
    """

    def __init__(self, manifest: Manifest, folder: Path, dataset: DataSet, data: Prepared) -> None:
        self.as_of = manifest.as_of
        self.compared: Counter[Segment] = Counter()
        self._data = data
        self._encoder = Encoder.load(folder)
        self._retriever = Retriever(self._encoder)
        self._vectors = load_vectors(folder / ITEM_VECTORS)
        self._tower, self._ranker = session_of(folder / "user_tower.onnx"), session_of(folder / "ranker.onnx")
        self._profiles = dataset.users.drop("user_id")
        self._sku_ids = np.array(data.catalogue.sku_ids, object)

    def top(self, candidates: Candidates, window: Window) -> Ints | None:
        """Return the release's list for a held-out user, or None without a fair comparison.

        The comparison is fair if the first label of the user is later than all actions on which the release was
        trained, and if the release knows nothing later than the cut-off of the held-out window, which would be an
        advantage. No list is made for more than `MAX_USERS` users either.

        Returns:
            Item numbers of this training, int32, -1 for an item that this training does not have.
        """
        first_label = int(self._data.times[window.begin[candidates.row]])
        if self.compared[candidates.segment] >= MAX_USERS or self.as_of > min(window.as_of, first_label):
            return None
        self.compared[candidates.segment] += 1
        return self._answer(candidates)

    def _answer(self, candidates: Candidates) -> Ints:
        encoder, new_only = self._encoder, candidates.segment != "repeat"
        user = self._user(candidates)
        vector: Floats = self._tower.run(None, encoder.tower_inputs(user))[0][0]
        segment = encoder.segment(user, new_only)
        exclude = self._retriever.excluded(user, new_only)
        found = self._retriever.exact(user, vector, self._vectors, exclude, new_only)
        items = self._retriever.merge(found, segment).items
        if encoder.spec.rankers.get(segment, True):
            inputs: dict[str, Array] = encoder.ranker_inputs(user, items, new_only, user_vector=vector)
            items = items[np.argsort(-self._ranker.run(["score"], inputs)[0], kind="stable")]
        return self._data.catalogue.encode([encoder.catalogue.sku_ids[item] for item in items[:LENGTH].tolist()])

    def _user(self, candidates: Candidates) -> User:
        profile = {
            name: value for name, value in self._profiles.row(candidates.row, named=True).items() if value is not None
        }
        history, names = candidates.user.history, self._data.spec.action_types
        return self._encoder.user(
            profile,
            self._sku_ids[history.items].tolist(),
            history.times.tolist(),
            [names[kind] for kind in history.types.tolist()],
            history.values.tolist(),
            self._sku_ids[history.older].tolist(),
        )
