"""Leak checks: nothing that makes features at a moment may have seen the labels of that moment.

A leak does not fail; it only makes held-out figures too good to be true. So every window is checked while it is in use,
against the data set itself and not against the code that is checked: the bounds of the window, the statistics (built
again from a data set that physically ends where the window does), the two-tower model (it remembers what it was shown)
and the history of every user who is asked for.
"""

from dataclasses import fields, replace

import numpy as np

from jobs.train.data import statistics
from jobs.train.data.neighbours import cosine_lists
from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import HISTORY, Candidates
from jobs.train.data.windows import Plan, Window
from recmesh.errors import LeakError
from recmesh.features import FeatureSpec, Statistics
from recmesh.features.spec import Longs
from recmesh.features.statistics import Lists

_LISTS = ("cosine", "ridge")
_SOURCES = 32


def check_window(data: Prepared, plan: Plan, window: Window) -> None:
    """Raise LeakError when the known actions of a window reach into its labels, or a cold user has any."""
    if _reaches_labels(data, window, window.known):
        raise LeakError(_text(window, "what is known of its users reaches into what is asked of them"))
    later = np.flatnonzero(data.times >= window.as_of)
    if plan.clock and (window.known[data.users[later]] > later).any():
        raise LeakError(_text(window, "actions of its moment or later are known"))


def check_statistics(data: Prepared, spec: FeatureSpec, window: Window, known: Statistics) -> None:
    """Raise LeakError when statistics differ from those of a data set without any action that is not known.

    Neighbour lists take long to build: a few popular items' are counted again.
    """
    cut = _cut(data, window.known)
    again = statistics.build(cut, spec, cut.start[1:], window.as_of, with_lists=False)
    for field in fields(Statistics):
        if field.name not in _LISTS and not _same(getattr(known, field.name), getattr(again, field.name)):
            raise LeakError(_text(window, f"the statistics ({field.name}) have seen actions that are not known there"))
    if len(known.cosine.items) and not _same_lists(cut, known.cosine):
        raise LeakError(_text(window, "the neighbour lists have seen actions that are not known there"))


def check_towers(data: Prepared, window: Window, shown: Longs) -> None:
    """Raise LeakError when a two-tower model was shown labels of a window.

    shown: int64 [users], for each user the position after the last action that it was shown.
    """
    if _reaches_labels(data, window, shown):
        raise LeakError(_text(window, "the two-tower model was trained on actions that are asked for"))


def check_history(data: Prepared, window: Window, one: Candidates) -> None:
    """Raise LeakError when a user's history holds anything but the newest actions that are known of that user."""
    begin = int(data.start[one.row])
    end = begin if one.segment == "cold" else int(window.known[one.row])
    newest = data.times[begin:end][::-1][:HISTORY]
    if not np.array_equal(one.user.history.times, newest) or not np.isin(one.user.seen, data.items[begin:end]).all():
        raise LeakError(_text(window, f"the history of user {one.row} is not what is known there"))


def _reaches_labels(data: Prepared, window: Window, until: Longs) -> bool:
    """Whether the actions before `until` (for each user a position) hold labels of the window; of a cold user nothing
    may be known."""
    users = window.labelled()
    allowed = data.start[users] if window.cold else window.begin[users]
    return bool((until[users] > allowed).any())


def _cut(data: Prepared, known: Longs) -> Prepared:
    """The data set without the actions that are not known: they are gone, not masked."""
    kept = np.arange(len(data.users)) < known[data.users]
    start = np.concatenate([[0], np.cumsum(known - data.start[:-1])])
    columns = ("users", "items", "times", "types", "values")
    return replace(data, start=start, **{name: getattr(data, name)[kept] for name in columns})


def _same(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(np.array_equal(one, other))  # type: ignore[arg-type]


def _same_lists(cut: Prepared, lists: Lists) -> bool:
    """Whether the lists of some items, from the longest on, are those of the data set."""
    sources = np.sort(np.argsort(-np.diff(lists.start), kind="stable")[:_SOURCES])
    pairs = np.unique(cut.users.astype(np.int64) * len(cut.catalogue) + cut.items)
    users, items = np.divmod(pairs, len(cut.catalogue))
    again = cosine_lists(statistics.matrix_of(users, items, len(cut.start) - 1, len(cut.catalogue)), sources)
    begins, ends = lists.start[sources], lists.start[sources + 1]
    spans = [slice(begin, end) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    return np.array_equal(again.items, np.concatenate([lists.items[span] for span in spans])) and np.array_equal(
        again.scores, np.concatenate([lists.scores[span] for span in spans])
    )


def _text(window: Window, what: str) -> str:
    return f"leak in the window {window.name}: {what}; this is a fault of the training code, and no release was made"
