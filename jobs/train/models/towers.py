"""The two-tower models of the windows of a training, and that of the release."""

import numpy as np

from jobs.train.data.prepare import Prepared
from jobs.train.data.windows import Plan, Window
from jobs.train.models.tower_parameters import PARAMETERS, Effort, TwoTowerParameters, full_effort
from jobs.train.models.two_tower import TwoTower
from recmesh.features.spec import Longs, Tower
from recmesh.progress import Reporter


class Towers:
    """Trains the two-tower models.

    A single model is trained further from window to window, without the users that the plan hides. In a split by
    position each cold window hides different users, and gets a model of its own.

    Args:
        data: The data set.
        shape: Sizes of the towers.
        windows: The windows of the training.
        seed: Random seed.
        reporter: Shows the progress.
        parameters: The hyperparameters.
    """

    def __init__(
        self,
        data: Prepared,
        shape: Tower,
        windows: Plan,
        seed: int,
        reporter: Reporter,
        parameters: TwoTowerParameters = PARAMETERS,
    ) -> None:
        self._data = data
        self._shape = shape
        self._windows = windows
        self._seed = seed
        self._reporter = reporter
        self._parameters = parameters
        self._full_effort = full_effort(len(data.catalogue), parameters)
        self._running: TwoTower | None = None

    def of(self, window: Window) -> TwoTower:
        """Return the model of a window, trained on the actions known there.

        Windows must be given in order of time. The model that is returned for a warm window is trained further for the
        next one.
        """
        if window.cold and self._windows.clock and self._running is not None:
            return self._running
        if window.cold or self._running is None:
            model, effort = self._new(), self._full_effort
        else:
            model, effort = self._running, self._continued_effort()
        if not window.cold:
            self._running = model
        self._fit(model, np.where(self._windows.hidden, self._data.start[:-1], window.known), effort, window.name)
        return model

    def of_release(self) -> TwoTower:
        """Return the model of the release, trained on all actions."""
        if self._running is None:  # no window is warm, because users have a single action each
            model, effort = self._new(), self._full_effort
        else:
            model, effort = self._running, self._continued_effort()
        self._fit(model, self._data.start[1:], effort, "release")
        return model

    def _new(self) -> TwoTower:
        return TwoTower(self._data, self._shape, self._seed, self._windows.clock, self._parameters)

    def _continued_effort(self) -> Effort:
        return Effort(
            self._full_effort.steps // self._parameters.continued_divisor, self._parameters.continued_learning_rate
        )

    def _fit(self, model: TwoTower, known: Longs, effort: Effort, name: str) -> None:
        done = 0
        with self._reporter.bar(f"{name}: two-tower", effort.steps) as advance:

            def progress(step: int, _: float) -> None:
                nonlocal done
                advance(step - done)
                done = step

            model.fit(self._data, known, effort, progress)
