"""How well items without actions are ranked, measured on items whose actions a model of its own does not see.

A tenth of the items loses all known actions. Together with the items that have none, they are the new items, and each
list ranks these alone, as the channel `new` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from jobs.train.data import statistics
from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import history_of, wanted_items
from jobs.train.data.windows import Plan, Window
from jobs.train.models.tower_parameters import full_effort
from jobs.train.models.two_tower import FieldTable, TwoTower, user_vectors
from jobs.train.models.visits import positive
from jobs.train.report.figures import MIN_USERS, figures
from recmesh.evaluation import per_user
from recmesh.evaluation.report import NewItemsReport, System
from recmesh.features import Encoder, FeatureSpec, User
from recmesh.features.spec import Array, Ints
from recmesh.retrieval.scored import best

HIDDEN_SHARE = 0.1
MAX_USERS = 1500
_LENGTH = 100

_ABOUT = {
    "new": "the channel of new items: the two-tower score from the fields alone",
    "popularity": "the popularity that is expected from the fields, the same for all users",
    "content": "cosine of the fields to those of the history",
}


@dataclass(frozen=True)
class _Asked:
    """Users of the held-out window who acted on new items: their features and, for each, the new items wanted."""

    users: list[User]
    wanted: list[Ints]


def evaluate(data: Prepared, spec: FeatureSpec, plan: Plan, seed: int) -> NewItemsReport | None:
    """Train without the hidden items, and rank them; None without item fields, or with too few users to judge."""
    window = next((w for w in reversed(plan.windows) if w.held_out and not w.cold), None)
    if window is None or not data.item_vocabularies:
        return None
    rng = np.random.default_rng(seed)
    hidden = rng.random(len(data.catalogue)) < HIDDEN_SHARE
    known_rows = data.known(window.known)
    cut = data.only(known_rows[~hidden[data.items[known_rows]]])
    acted = cut.items[positive(cut, cut.start[1:])[0]]
    new = np.setdiff1d(np.arange(len(data.catalogue), dtype=np.int32), acted)
    towers = TwoTower(cut, spec.tower, seed, plan.clock)
    known = statistics.build(cut, spec, cut.start[1:], window.as_of, with_lists=False)
    none = np.empty((0, 0), np.float32)
    encoder = Encoder(spec, data.user_vocabularies, data.item_vocabularies, data.catalogue, known, none)
    asked = _asked(data, cut, encoder, window, new, rng)
    if len(asked.users) < MIN_USERS:
        return None
    towers.fit(cut, cut.start[1:], full_effort(len(data.catalogue)), lambda step, loss: None)
    vectors = towers.item_vectors()
    of_users = user_vectors(towers.exported_user_tower(vectors), encoder)(asked.users)
    scores = {
        "new": of_users @ vectors[new].T,
        "popularity": np.tile(vectors[new, -1], (len(asked.users), 1)),
        "content": _content(data, asked.users, new),
    }
    values = {name: _metrics(encoder, new, rows, asked.wanted) for name, rows in scores.items()}
    return NewItemsReport(
        window=window.name,
        users=len(asked.users),
        items=len(new),
        systems=tuple(
            System(
                name=name,
                about=_ABOUT[name],
                figures=figures(found),
                gain={} if name == "new" else figures(values["new"] - found),
            )
            for name, found in values.items()
        ),
    )


def _asked(
    data: Prepared, cut: Prepared, encoder: Encoder, window: Window, new: Ints, rng: np.random.Generator
) -> _Asked:
    asked = _Asked([], [])
    for row in rng.permutation(window.labelled())[:MAX_USERS].tolist():
        wanted = np.intersect1d(wanted_items(data, window, row, "novel"), new)
        if len(wanted):
            history = history_of(cut, int(cut.start[row]), int(cut.start[row + 1]))
            asked.users.append(encoder.known_user(data.user_codes[row], history))
            asked.wanted.append(wanted)
    return asked


def _content(data: Prepared, users: Sequence[User], new: Ints) -> Array:
    """Return the cosines of the new items' fields to the mean of the history's, float [users, new items].

    Rare codes count for more: by the log of the inverse share of the items.
    """
    codes = np.concatenate(data.catalogue.codes, 1)[:-1].astype(np.int64)
    table = FieldTable.of(data.item_vocabularies)
    rows = table.rows_of(codes)
    item, place = np.nonzero(rows >= 0)
    code = rows[item, place]
    rarity = np.log(len(rows) / np.maximum(np.bincount(code, minlength=table.rows), 1))
    matrix = sparse.csr_matrix((rarity[code], (item, code)), (len(rows), table.rows))
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    matrix = sparse.diags(1 / np.maximum(length, 1e-9)) @ matrix
    owned = [user.owned.items for user in users]
    user = np.repeat(np.arange(len(users)), [len(items) for items in owned])
    profiles = sparse.csr_matrix((np.ones(len(user)), (user, np.concatenate(owned))), (len(users), len(rows))) @ matrix
    cosines: Array = (profiles @ matrix[new].T).toarray()
    return cosines


def _metrics(encoder: Encoder, new: Ints, scores: Array, wanted: Sequence[Ints]) -> Array:
    lists = (best(new, row.astype(np.float32), _LENGTH, encoder.scratch).items for row in scores)
    return per_user(zip(lists, wanted, strict=True))
