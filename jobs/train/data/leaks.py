"""Leak checks: the features of a cut-off must not depend on its labels.

A leak raises no error by itself; it makes the held-out figures too good. Training therefore checks every window while
it is in use, against the data set and not against the code under check: the bounds of the window, the statistics
(rebuilt from a data set without the later actions), the two-tower model (it records the actions it was trained on), and
the history of every user.
"""

from dataclasses import fields

import numpy as np

from jobs.train.data import statistics
from jobs.train.data.neighbours import cosine_lists
from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import Candidates
from jobs.train.data.windows import Plan, Window
from recmesh.contract import DETAILED_ACTIONS
from recmesh.errors import LeakError
from recmesh.features import FeatureSpec, Statistics
from recmesh.features.spec import Longs
from recmesh.features.statistics import Lists

_NEIGHBOUR_LISTS = ("cosine", "ridge")
CHECKED_LISTS = 32
"""Number of items whose neighbour lists are recomputed."""


def check_window(data: Prepared, plan: Plan, window: Window) -> None:
    """Check the bounds of a window.

    Raises:
        LeakError: The known actions include labels, actions of a cold user, or (in a split by date) actions that are
            not before the cut-off.
    """
    if _includes_labels(data, window, window.known):
        raise LeakError(_message(window, "its known actions include labels"))
    later = np.flatnonzero(data.times >= window.as_of)
    if plan.clock and (window.known[data.users[later]] > later).any():
        raise LeakError(_message(window, "its known actions include some that are not before the cut-off"))


def check_statistics(data: Prepared, spec: FeatureSpec, window: Window, known: Statistics) -> None:
    """Compare the statistics of a window with statistics rebuilt from its known actions alone.

    Neighbour lists take long to build, so only the longest ones are recomputed.

    Raises:
        LeakError: They differ.
    """
    cut = data.only(data.known(window.known))
    rebuilt = statistics.build(cut, spec, cut.start[1:], window.as_of, with_lists=False)
    for field in fields(Statistics):
        if field.name not in _NEIGHBOUR_LISTS and not _same(getattr(known, field.name), getattr(rebuilt, field.name)):
            raise LeakError(_message(window, f"the statistics ({field.name}) include actions that are not known"))
    if len(known.cosine.items) and not _same_lists(cut, known.cosine):
        raise LeakError(_message(window, "the neighbour lists include actions that are not known"))


def check_towers(data: Prepared, window: Window, shown: Longs) -> None:
    """Check that a two-tower model has not seen labels of a window.

    Args:
        data: The data set.
        window: The window.
        shown: int64 [users], for each user the position after the last action that the model was trained on.

    Raises:
        LeakError: It was trained on labels, or on actions of cold users.
    """
    if _includes_labels(data, window, shown):
        raise LeakError(_message(window, "the two-tower model was trained on labels"))


def check_history(data: Prepared, window: Window, candidates: Candidates) -> None:
    """Check that a user's history consists of the newest known actions.

    Raises:
        LeakError: It does not.
    """
    row, user = candidates.row, candidates.user
    begin = int(data.start[row])
    end = begin if candidates.segment == "cold" else int(window.known[row])
    newest = data.times[begin:end][::-1][:DETAILED_ACTIONS]
    if not np.array_equal(user.history.times, newest) or not np.isin(user.seen, data.items[begin:end]).all():
        raise LeakError(_message(window, f"the history of user {row} differs from the known actions"))


def _includes_labels(data: Prepared, window: Window, until: Longs) -> bool:
    """Return whether the actions before `until` (a position for each user) include labels, or actions of cold users."""
    users = window.labelled()
    allowed = data.start[users] if window.cold else window.begin[users]
    return bool((until[users] > allowed).any())


def _same(left: object, right: object) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(np.array_equal(left, right))  # type: ignore[arg-type]


def _same_lists(cut: Prepared, lists: Lists) -> bool:
    """Return whether the longest lists equal those computed from the data set."""
    sources = np.sort(np.argsort(-np.diff(lists.start), kind="stable")[:CHECKED_LISTS])
    positive = cut.weights_of(slice(None)) > 0
    pairs = np.unique(cut.pairs(positive))
    users, items = np.divmod(pairs, len(cut.catalogue))
    rebuilt = cosine_lists(statistics.matrix_of(users, items, len(cut.start) - 1, len(cut.catalogue)), sources)
    begins, ends = lists.start[sources], lists.start[sources + 1]
    spans = [slice(begin, end) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    return np.array_equal(rebuilt.items, np.concatenate([lists.items[span] for span in spans])) and np.array_equal(
        rebuilt.scores, np.concatenate([lists.scores[span] for span in spans])
    )


def _message(window: Window, problem: str) -> str:
    return f"leak in the window {window.name}: {problem}; this is a bug in the training code, and no release was made"
