"""Trials: training rows paired with distant lists, on which a fit to the rows is evaluated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np

from jobs.train.data.rows import Candidates, Rows, joined
from jobs.train.data.windows import Role, Window
from jobs.train.models.debiased_score import Pairs
from jobs.train.selection.held_out import Observed
from recmesh.evaluation import Decision
from recmesh.features import SEGMENTS, Segment
from recmesh.features.spec import Array

T = TypeVar("T")


def _empty_lists() -> dict[Segment, list[T]]:
    return {segment: [] for segment in SEGMENTS}


@dataclass
class Lists:
    """What the windows contribute, by segment.

    Attributes:
        rows: Training rows of each window, in order of time.
        pairs: Pairs for the debiased score of each window, in order of time.
        tested: All lists of the held-out window.
        early: Some lists of the windows with the role EARLY.
        folds: Some lists of each window with the role FOLD.
        popularity: Held-out metrics of popularity for each user, float [users, 3].
        observed: What the report needs of the held-out window.
        decisions: Decisions about the candidates.
    """

    rows: dict[Segment, list[tuple[Window, Rows]]] = field(default_factory=_empty_lists)
    pairs: dict[Segment, list[tuple[Window, Pairs]]] = field(default_factory=_empty_lists)
    tested: dict[Segment, list[Candidates]] = field(default_factory=_empty_lists)
    early: dict[Segment, list[Candidates]] = field(default_factory=_empty_lists)
    folds: dict[Segment, list[tuple[Window, list[Candidates]]]] = field(default_factory=_empty_lists)
    popularity: dict[Segment, Array] = field(default_factory=dict)
    observed: dict[Segment, Observed] = field(default_factory=dict)
    decisions: dict[Segment, list[Decision]] = field(default_factory=_empty_lists)


@dataclass(frozen=True)
class Trial:
    """Training rows from several windows in time order, and complete lists from a distant cut-off for evaluation.

    Attributes:
        windows: By segment, the rows of each window.
        lists: By segment, the lists to evaluate.
        later: Whether the lists are later than the rows.
    """

    windows: Mapping[Segment, Sequence[Rows]]
    lists: Mapping[Segment, Sequence[Candidates]]
    later: bool

    @classmethod
    def forward(cls, lists: Lists) -> "Trial":
        """Fit to the training windows, and evaluate on the held-out window, which is later."""
        windows = {
            segment: [rows for window, rows in found if window.role.usable_before_evaluation]
            for segment, found in lists.rows.items()
        }
        return cls(windows, lists.tested, True)

    @classmethod
    def backward(cls, lists: Lists) -> "Trial":
        """Evaluate on the early windows, and fit to those whose cut-off is after the end of all early labels."""
        windows: dict[Segment, list[Rows]] = {}
        for segment, found in lists.rows.items():
            end = max((window.end for window, _ in found if window.role is Role.EARLY), default=0)
            windows[segment] = [rows for window, rows in found if window.as_of >= end and window.role is not Role.EARLY]
        return cls(windows, lists.early, False)

    @classmethod
    def fold(cls, lists: Lists, segment: Segment, window: Window, tested: Sequence[Candidates]) -> "Trial":
        """Evaluate on a window that hides users of its own, and fit to the other windows."""
        others = [rows for other, rows in lists.rows[segment] if other is not window]
        return cls({**_empty_lists(), segment: others}, {segment: tested}, True)

    @classmethod
    def all_of(cls, lists: Lists) -> "list[Trial]":
        """Return the forward trial, which gives the released model, and then the others."""
        folds = [
            cls.fold(lists, segment, window, tested)
            for segment, found in lists.folds.items()
            for window, tested in found
        ]
        return [cls.forward(lists), cls.backward(lists), *folds]

    @cached_property
    def rows(self) -> dict[Segment, Rows]:
        """The rows of all windows."""
        return {segment: joined(parts) for segment, parts in self.windows.items()}

    def nearer(self, segment: Segment) -> Rows:
        """Return the rows of the half of the windows that is nearer to the evaluated lists."""
        parts = self.windows[segment]
        half = len(parts) // 2
        return joined(parts[half:] if self.later else parts[: len(parts) - half])


def by_cutoff(trials: Sequence[Trial], figures: Iterable[Array | None]) -> list[Array]:
    """Join the figures of trials that are evaluated at the same cut-off.

    Args:
        trials: The trials.
        figures: For each trial float [users, 3], or None for a trial without lists.
    """
    cutoffs: dict[bool, list[Array]] = {}
    for trial, of_trial in zip(trials, figures, strict=True):
        if of_trial is not None:
            cutoffs.setdefault(trial.later, []).append(of_trial)
    return [np.concatenate(parts) for parts in cutoffs.values()]
