"""The two-tower models behind the windows of a training, and that of the release."""

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.windows import Plan, Window
from jobs.train.models.two_tower import FULL_SOFTMAX, Effort, TwoTower
from recmesh.features import Statistics
from recmesh.features.spec import Longs, Tower
from recmesh.progress import Reporter

_FEW_ITEMS, _MANY_ITEMS = 150, 80
_MORE_RATE = 2e-3


class Towers:
    """One model goes on learning from window to window; it leaves out the users that the plan hides.

    A cold window of a plan by position hides users of its own, so it gets a model of its own.
    """

    def __init__(self, data: Prepared, shape: Tower, windows: Plan, seed: int, reporter: Reporter) -> None:
        self._data = data
        self._shape = shape
        self._windows = windows
        self._seed = seed
        self._reporter = reporter
        self._steps = _FEW_ITEMS if len(data.catalogue) <= FULL_SOFTMAX else _MANY_ITEMS
        self._running: TwoTower | None = None

    def of(self, window: Window, known: Statistics) -> TwoTower:
        """The model of a window, which has seen nothing later than what is known there; `known`: its statistics."""
        if window.cold and self._windows.clock and self._running is not None:
            return self._running
        if window.cold or self._running is None:
            model = TwoTower(self._data, self._shape, known.popularity[:, 0], self._seed)
            effort = Effort(self._steps)
        else:
            model, effort = self._running, self._more()
        if not window.cold:
            self._running = model
        self._fit(model, np.where(self._windows.hidden, self._data.start[:-1], window.known), effort, window.name)
        return model

    def of_release(self) -> TwoTower:
        """The model of the release, which has seen everything."""
        assert self._running is not None  # every plan begins with a warm window
        # Where no user has two actions, it has learnt from none of its windows.
        first = bool((self._running.shown == self._data.start[:-1]).all())
        self._fit(self._running, self._data.start[1:], Effort(self._steps) if first else self._more(), "release")
        return self._running

    def _more(self) -> Effort:
        return Effort(self._steps // 4, _MORE_RATE)

    def _fit(self, model: TwoTower, known: Longs, effort: Effort, name: str) -> None:
        done = 0
        with self._reporter.bar(f"{name}: two-tower", effort.steps) as advance:

            def progress(step: int, _: float) -> None:
                nonlocal done
                advance(step - done)
                done = step

            model.fit(self._data, known, effort, progress)
