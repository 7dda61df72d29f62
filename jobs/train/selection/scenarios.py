"""Chooses how the lists of the scenarios are made, and measures them on held-out data.

The options are compared on a validation window, and the choice is measured on the held-out window, whose labels are
later. Both windows know nothing of their labels. The baseline is the lists by item-CF alone: cosine lists of the same
signal. It is also the first option, and is served if the choice turns out to be worse on the held-out window.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import minimize

from jobs.train.data.co_occurrence import LIST_LENGTH, Case, Occurrences, best_of, joined, lists, smallest_groups
from jobs.train.data.prepare import Prepared
from jobs.train.data.rows import Snapshot, history_of, wanted_items
from jobs.train.data.windows import Window
from jobs.train.models import logistic
from jobs.train.selection.objective import OBJECTIVE, exceeds_standard_error, objective
from recmesh.contract import NEIGHBOURS, POPULAR
from recmesh.evaluation import Decision, per_user
from recmesh.evaluation.metrics import bootstrap_interval
from recmesh.features import Encoder, User
from recmesh.features.spec import DAY_MS, Array, Channel, Floats, Ints, Longs
from recmesh.features.statistics import Lists
from recmesh.features.user import NO_ITEMS
from recmesh.retrieval import Merged, Retriever, merge
from recmesh.retrieval.scenarios import (
    LIST_CHANNELS,
    LIST_SCENARIOS,
    REPEAT_INPUTS,
    Formula,
    ListScenario,
    ListSettings,
    RepeatSettings,
    Scenarios,
    ScenarioSettings,
    listed_with,
    repeat_inputs,
)

VALIDATION_CASES, HELD_OUT_CASES = 1000, 2000
"""Most cases on which the options of a scenario are compared, and on which the choice is measured."""

MIN_CASES = 50
"""With fewer validation cases, the baseline is used. With fewer held-out cases, there are no figures."""

EXPONENTS = (0.0, 0.25, 0.5, 0.75)
SHRINKAGES = (5.0, 20.0, 50.0, 200.0)
COSINE, DEFAULT = 0.5, Formula(exponent=0.5, shrinkage=20.0)

WEIGHTS = (0.25, 0.5)
"""Tried for the other channels of a scenario. That of its lists has weight 1."""

DEPTH = 400
"""Items of a channel that take part. Popular items fill the lists."""

REPEAT_WINDOWS, REPEAT_USERS = 4, 600
"""Windows, and users of each, whose histories teach the order of `repeat`."""

INTERVAL_SMOOTHING = 5.0
"""Mean intervals that are added to those of every item."""

DEFAULT_INTERVAL_DAYS = 7.0
"""The interval without any repeated action."""

_RIDGE = 1e-4
_BASELINE = "item_cf"
_FREQUENCY, _RECENCY, _MODEL = "frequency", "recency", "model"
_BY_RECENCY = RepeatSettings(weights=tuple(-1.0 if name == "steps" else 0.0 for name in REPEAT_INPUTS))


@dataclass(frozen=True)
class Measured:
    """The lists of a scenario on the held-out window.

    Attributes:
        window: The name of the window.
        lists: The lists of the choice, one for each case.
        others: Those of simpler ways, by name; the baseline comes first.
        wanted: The wanted items of each case.
        decisions: What was chosen, and on what grounds.
        groups: What an item occurs together in, one of `GROUPS`; empty for `repeat`.
    """

    window: str
    lists: Sequence[Ints]
    others: Mapping[str, Sequence[Ints]]
    wanted: Sequence[Ints]
    decisions: Sequence[Decision]
    groups: str = ""

    @property
    def worse(self) -> bool:
        """Whether the choice is worse than the baseline beyond noise."""
        ours, baseline = self._values(self.lists), self._values(next(iter(self.others.values())))
        return bootstrap_interval(ours - baseline)[1] < 0

    def _values(self, lists: Sequence[Ints]) -> Array:
        return objective(per_user(zip(lists, self.wanted, strict=True)))


class ScenarioTraining:
    """Collects what the scenarios need, one window after the other.

    Attributes:
        measured: The held-out lists, by scenario.
    """

    def __init__(self, data: Prepared, windows: Sequence[Window], seed: int) -> None:
        """Train on a data set, whose windows come in order of time."""
        warm = [window for window in windows if not window.cold]
        before = [window for window in warm if window.role.usable_before_evaluation]
        self.measured: dict[str, Measured] = {}
        self._data, self._seed = data, seed
        self._validation = before[-1].name if before else ""
        self._fitting = {window.name for window in before[-1 - REPEAT_WINDOWS : -1]}
        self._lists: dict[ListScenario, tuple[ListSettings, ListSettings, Decision]] = {}
        self._taught: list[tuple[Floats, Floats]] = []
        self._repeat: tuple[RepeatSettings, Decision] | None = None

    def uses(self, window: Window) -> bool:
        """Return whether `observe` learns anything from a window."""
        teaches = self._data.spec.repeats and window.name in self._fitting
        return not window.cold and (teaches or window.held_out or window.name == self._validation)

    def observe(self, snapshot: Snapshot) -> None:
        """Learn from a window, choose on it or measure on it, as its role says."""
        window = snapshot.window
        if window.name == self._validation:
            self._lists = {name: self._chosen(snapshot, name) for name in LIST_SCENARIOS}
        if window.held_out:
            for name, chosen in self._lists.items():
                self._measure(snapshot, name, *chosen)
        if self._data.spec.repeats:
            self._observe_repeat(snapshot)

    def finish(self) -> Scenarios:
        """Make the lists of the release from all actions."""
        data, rows = self._data, np.arange(len(self._data.items))
        settings, made = {}, {}
        for name, (chosen, baseline, _) in self._lists.items():
            used = baseline if name in self.measured and self.measured[name].worse else chosen
            (found,) = lists(Occurrences.of(data, rows, name, used.groups), [used.formula])
            if len(found.items):
                settings[name], made[name] = used, found
        repeat = None
        if data.spec.repeats:
            worse = "repeat" in self.measured and self.measured["repeat"].worse
            repeat = RepeatSettings() if worse or self._repeat is None else self._repeat[0]
        return Scenarios(ScenarioSettings(lists=settings, repeat=repeat), made, _intervals(data, rows))

    def _chosen(self, snapshot: Snapshot, name: ListScenario) -> tuple[ListSettings, ListSettings, Decision]:
        """Choose the formula and the weights on the validation window. Returns also the baseline."""
        data, rows = self._data, self._data.known(snapshot.window.known)
        by = smallest_groups(data, rows, name)
        occurrences, cases = Occurrences.of(data, rows, name, by), self._cases(snapshot, name, by, VALIDATION_CASES)
        if len(cases) < MIN_CASES:
            settings = _settings(name, by, DEFAULT)
            rule = f"{len(cases)} cases before the held-out window are too few for a choice"
            return settings, settings, Decision(what="lists", chosen=_text(settings), rule=rule)
        validation = _Validation(occurrences, cases, snapshot.encoder)
        values = validation.by_formula()
        means = {formula: float(found.mean()) for formula, found in values.items()}
        cosine = max((formula for formula in means if formula.exponent == COSINE), key=means.__getitem__)
        best = max(means, key=means.__getitem__)
        formula = best if exceeds_standard_error(values[best] - values[cosine]) else cosine
        settings, tried = validation.weighted(_settings(name, by, formula))
        baseline = _settings(name, by, cosine)
        tried = {_text(_settings(name, by, formula)): mean for formula, mean in means.items()} | tried
        rule = f"each step raises {OBJECTIVE} in the window before the held-out one by more than one standard error"
        return settings, baseline, Decision(what="lists", chosen=_text(settings), tried=tried, rule=rule)

    def _measure(
        self, snapshot: Snapshot, name: ListScenario, chosen: ListSettings, baseline: ListSettings, decision: Decision
    ) -> None:
        data, rows = self._data, self._data.known(snapshot.window.known)
        cases = self._cases(snapshot, name, chosen.groups, HELD_OUT_CASES)
        if len(cases) < MIN_CASES:
            return
        occurrences = Occurrences.of(data, rows, name, chosen.groups)
        wanted = [case.wanted for case in cases]
        made = _answers(occurrences, cases, snapshot.encoder, (chosen, baseline))
        popular = [_without(snapshot.encoder.statistics.order, case.context) for case in cases]
        others = {_BASELINE: made[1], POPULAR: popular}
        self.measured[name] = Measured(snapshot.window.name, made[0], others, wanted, (decision,), chosen.groups)

    def _cases(self, snapshot: Snapshot, name: ListScenario, by: str, most: int) -> list[Case]:
        window, position = snapshot.window, np.arange(len(self._data.items))
        users = self._data.users
        labels = np.flatnonzero((position >= window.begin[users]) & (position < window.until[users]))
        return Occurrences.of(self._data, labels, name, by).cases(np.random.default_rng(self._seed), most)

    def _observe_repeat(self, snapshot: Snapshot) -> None:
        name, data = snapshot.window.name, self._data
        intervals = _intervals(data, data.known(snapshot.window.known))
        users = self._returning(snapshot)
        if name == self._validation:
            self._repeat = _chosen_order(snapshot.encoder, users, intervals, self._taught)
        if snapshot.window.held_out and self._repeat is not None and len(users) >= MIN_CASES:
            settings, decision = self._repeat
            if settings.weights and settings != _BY_RECENCY:
                settings = _fitted(self._taught)
                self._repeat = settings, decision
            options = {"": settings, _FREQUENCY: RepeatSettings(), _RECENCY: _BY_RECENCY}
            made = {option: _orders(snapshot.encoder, users, intervals, order) for option, order in options.items()}
            wanted = [wanted for _, wanted in users]
            self.measured["repeat"] = Measured(name, made.pop(""), made, wanted, (decision,))
        self._taught += [_lesson(snapshot.encoder, user, wanted, intervals) for user, wanted in users]

    def _returning(self, snapshot: Snapshot) -> list[tuple[User, Ints]]:
        """Return users who acted on items of their history again, with these items."""
        data, window, encoder = self._data, snapshot.window, snapshot.encoder
        most = HELD_OUT_CASES if window.held_out else REPEAT_USERS
        found: list[tuple[User, Ints]] = []
        for row in np.random.default_rng(self._seed).permutation(window.labelled()).tolist():
            history = history_of(data, int(data.start[row]), int(window.known[row]))
            user = encoder.known_user(data.user_codes[row], history)
            wanted = np.intersect1d(wanted_items(data, window, row, "repeat"), user.owned.items)
            if len(wanted):
                found.append((user, wanted))
            if len(found) == most:
                break
        return found


def _settings(name: ListScenario, by: str, formula: Formula) -> ListSettings:
    channels = {LIST_CHANNELS[name]: Channel(depth=DEPTH)} | {
        other: Channel(weight=0, depth=DEPTH if other == POPULAR else 0) for other in (NEIGHBOURS, POPULAR)
    }
    return ListSettings(groups=by, formula=formula, channels=channels)


def _text(settings: ListSettings) -> str:
    weights = (f"{name} {channel.weight:g}" for name, channel in settings.channels.items() if channel.weight)
    formula = settings.formula
    return f"exponent {formula.exponent:g}, shrinkage {formula.shrinkage:g}; {', '.join(weights)}"


class _Validation:
    """Compares options by the lists of the context items of the validation cases."""

    def __init__(self, occurrences: Occurrences, cases: Sequence[Case], encoder: Encoder) -> None:
        self._sources = np.unique(np.concatenate([case.context for case in cases])).astype(np.int64)
        self._pairs, self._counts = occurrences.pairs(self._sources), occurrences.counts()
        self._name, self._size, self._cases, self._encoder = occurrences.scenario, occurrences.size, cases, encoder

    def by_formula(self) -> dict[Formula, Array]:
        """Evaluate the lists of the scenario alone: the objective of each case."""
        values: dict[Formula, Array] = {}
        for exponent, shrinkage in product(EXPONENTS, SHRINKAGES):
            formula, scratch = Formula(exponent=exponent, shrinkage=shrinkage), self._encoder.scratch
            found = self._lists(formula)
            contexts = (case.context for case in self._cases)
            values[formula] = self._objective(
                listed_with(found, context, context, LIST_LENGTH, scratch).items for context in contexts
            )
        return values

    def weighted(self, settings: ListSettings) -> tuple[ListSettings, dict[str, float]]:
        """Give weights to the other channels, one after the other, as far as that improves the lists beyond noise."""
        every = settings.model_copy(update={"channels": {name: Channel(depth=DEPTH) for name in settings.channels}})
        retriever = _retriever(self._encoder, self._name, every, self._lists(settings.formula))
        found = [retriever.going_with(self._name, case.context, case.context) for case in self._cases]

        def evaluated(channels: Mapping[str, Channel]) -> Array:
            return self._objective(merge(part, channels, DEPTH, self._encoder.scratch).items for part in found)

        best = evaluated(settings.channels)
        tried = {_text(settings): float(best.mean())}
        for name, weight in product((NEIGHBOURS, POPULAR), WEIGHTS):
            channels = {**settings.channels, name: Channel(weight=weight, depth=DEPTH)}
            other, reached = settings.model_copy(update={"channels": channels}), evaluated(channels)
            tried[_text(other)] = float(reached.mean())
            if exceeds_standard_error(reached - best):
                settings, best = other, reached
        return settings, tried

    def _lists(self, formula: Formula) -> Lists:
        return joined(dict(best_of(self._pairs, self._sources, self._counts, formula)), self._size)

    def _objective(self, ranked: Iterable[Ints]) -> Array:
        return objective(per_user((items, case.wanted) for items, case in zip(ranked, self._cases, strict=True)))


def _answers(
    occurrences: Occurrences, cases: Sequence[Case], encoder: Encoder, options: Sequence[ListSettings]
) -> list[list[Ints]]:
    """Make the lists of each option as the services would."""
    name, made = occurrences.scenario, []
    for settings, found in zip(options, lists(occurrences, [settings.formula for settings in options]), strict=True):
        retriever = _retriever(encoder, name, settings, found)
        merged = (going_with(retriever, name, case.context, settings) for case in cases)
        made.append([part.items[:LIST_LENGTH] for part in merged])
    return made


def going_with(retriever: Retriever, name: ListScenario, context: Ints, settings: ListSettings) -> Merged:
    """Make the list of a case, as the services would."""
    represented = retriever.represented(name, context, retriever.encoder.item_vectors[:0])
    found = retriever.going_with(name, represented, np.unique(context))
    return merge(found, settings.channels, DEPTH, retriever.encoder.scratch)


def _retriever(encoder: Encoder, name: ListScenario, settings: ListSettings, found: Lists) -> Retriever:
    return Retriever(encoder, Scenarios(ScenarioSettings(lists={name: settings}), {name: found}))


def _without(order: Ints, context: Ints) -> Ints:
    """Return the first items of an order that are not in the context."""
    head = order[: LIST_LENGTH + len(context)]
    return head[~np.isin(head, context)]


def _intervals(data: Prepared, rows: Longs) -> Floats:
    """Return the mean days between two actions of a user on an item, float32 [items + 1], drawn to the mean of all."""
    rows = rows[data.positive[rows]]
    pair, times = data.pairs(rows), data.times[rows]
    order = np.lexsort((times, pair))
    days, items = np.diff(times[order]) / DAY_MS, data.items[rows][order][1:]
    again = (np.diff(pair[order]) == 0) & (days > 0)
    mean = float(days[again].mean()) if again.any() else DEFAULT_INTERVAL_DAYS
    count = np.bincount(items[again], minlength=len(data.catalogue))
    total = np.bincount(items[again], days[again], minlength=len(data.catalogue))
    found = (total + INTERVAL_SMOOTHING * mean) / (count + INTERVAL_SMOOTHING)
    return np.append(found, mean).astype(np.float32)


def _lesson(encoder: Encoder, user: User, wanted: Ints, intervals: Floats) -> tuple[Floats, Floats]:
    """Return the inputs of a history, less their mean, and which of its items are wanted."""
    inputs = repeat_inputs(user, encoder.statistics, intervals)
    return inputs - inputs.mean(0), np.isin(user.owned.items, wanted).astype(np.float32)


def _fitted(lessons: Sequence[tuple[Floats, Floats]]) -> RepeatSettings:
    """Fit the weights of `repeat` by logistic regression."""
    x = np.concatenate([inputs for inputs, _ in lessons]).astype(np.float64)
    labels = np.concatenate([labels for _, labels in lessons]).astype(np.float64)
    scale = np.maximum(x.std(0), 1e-9)
    fit = minimize(logistic.loss, np.zeros(x.shape[1] + 1), (x / scale, labels, _RIDGE), jac=True, method="L-BFGS-B")
    return RepeatSettings(weights=tuple((fit.x[:-1] / scale).astype(np.float32).tolist()))


def _chosen_order(
    encoder: Encoder, users: Sequence[tuple[User, Ints]], intervals: Floats, lessons: Sequence[tuple[Floats, Floats]]
) -> tuple[RepeatSettings, Decision]:
    """Choose the order of `repeat` on the validation window: by frequency, unless another is better beyond noise."""
    options = {_FREQUENCY: RepeatSettings(), _RECENCY: _BY_RECENCY}
    if lessons:
        options[_MODEL] = _fitted(lessons)
    rule = "by frequency unless another order is better in the window before the held-out one by one standard error"
    if len(users) < MIN_CASES:
        rule = f"{len(users)} users before the held-out window are too few for a choice"
        return RepeatSettings(), Decision(what="order", chosen=_FREQUENCY, rule=rule)
    values = {
        name: objective(
            per_user(
                (items, wanted)
                for items, (_, wanted) in zip(_orders(encoder, users, intervals, order), users, strict=True)
            )
        )
        for name, order in options.items()
    }
    means = {name: float(found.mean()) for name, found in values.items()}
    best = max(means, key=means.__getitem__)
    chosen = best if exceeds_standard_error(values[best] - values[_FREQUENCY]) else _FREQUENCY
    return options[chosen], Decision(what="order", chosen=chosen, tried=means, rule=rule)


def _orders(
    encoder: Encoder, users: Sequence[tuple[User, Ints]], intervals: Floats, settings: RepeatSettings
) -> list[Ints]:
    retriever = Retriever(encoder, Scenarios(ScenarioSettings(repeat=settings), intervals=intervals))
    return [retriever.acted_on_again(user, NO_ITEMS, LIST_LENGTH).items for user, _ in users]
