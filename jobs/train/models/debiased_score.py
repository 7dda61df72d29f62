"""The ranker's second output: how much more a user is drawn to an item than the item's popularity suggests.

A ranked list should favour popular items; a judgement of a single pair should not. The debiased score is therefore
fitted to pairs whose negatives are drawn by popularity. Its log odds are log p(item | user) - log p(item), so
popularity alone has no influence. In releases the output is named "affinity".

The score is linear in the inputs and in their squares: against negatives of the same popularity, an item speaks for
itself by medium values of many inputs, such as how long it has been popular.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from jobs.train.data.rows import Candidates, Snapshot
from jobs.train.models import logistic
from jobs.train.models.wide import Standardised, Wide
from recmesh.features.spec import Floats, Ints


@dataclass(frozen=True)
class DebiasedScoreParameters:
    """Hyperparameters of the debiased score.

    Attributes:
        max_iterations: Iterations of L-BFGS.
        penalty: Penalty on the squares of the weights.
        max_pairs: About so many pairs suffice; of more, an evenly spaced part is used.
    """

    max_iterations: int = 100
    penalty: float = 1e-3
    max_pairs: int = 200_000


PARAMETERS = DebiasedScoreParameters()

SQUARE_LIMIT = 4.0
"""Standard deviations from the mean up to which inputs are squared. The square of a value further out is that of 4."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of a user and an item.

    Attributes:
        dense: float32 [N, D], dense inputs of the ranker.
        labels: float32 [N], 1 if the user wanted the item.
    """

    dense: Floats
    labels: Floats


@dataclass(frozen=True)
class Squares:
    """Appends the squares of standardised inputs.

    Attributes:
        mean: float32 [D].
        scale: float32 [D], 1 for an input that does not vary.
    """

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, dense: Floats, width: int) -> "Squares":
        """Standardise by inputs, float32 [N, D]. Without rows, the mean of each of `width` inputs counts as 0."""
        if not len(dense):
            return cls(np.zeros(width, np.float32), np.ones(width, np.float32))
        inputs = Standardised.of(dense)
        return cls(inputs.mean, inputs.scale)

    def __call__(self, dense: Floats) -> Floats:
        """Return the inputs and their squares: float32 [N, D] -> float32 [N, 2 D]."""
        limited = np.clip((dense - self.mean) / self.scale, -SQUARE_LIMIT, SQUARE_LIMIT)
        return np.concatenate([dense, limited * limited], 1)


def pairs(snapshot: Snapshot, candidates: Candidates, rng: np.random.Generator) -> Pairs:
    """Return a user's wanted items, and about as many other items drawn by popularity.

    Items that nobody acted on before the cut-off cannot be drawn, so they are left out of the wanted items too.
    """
    buyers = snapshot.encoder.statistics.buyers[:-1]
    user = candidates.user
    wanted = candidates.wanted[buyers[candidates.wanted] > 0]
    drawn = np.setdiff1d(_drawn(buyers, len(wanted), rng), np.union1d(candidates.wanted, user.seen))
    items = np.concatenate([wanted, drawn]).astype(np.int32)
    new_only = candidates.segment != "repeat"
    inputs = snapshot.encoder.ranker_inputs(user, items, new_only, user_vector=candidates.vector)
    labels = np.concatenate([np.ones(len(wanted), np.float32), np.zeros(len(drawn), np.float32)])
    return Pairs(inputs["dense"], labels)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Concatenate several sets of pairs."""
    parts = [part for part in parts if len(part.labels)]
    if not parts:
        return Pairs(np.empty((0, 0), np.float32), np.empty(0, np.float32))
    return Pairs(np.concatenate([part.dense for part in parts]), np.concatenate([part.labels for part in parts]))


def fit(given: Pairs, squares: Squares, parameters: DebiasedScoreParameters = PARAMETERS) -> Wide:
    """Fit a logistic regression on standardised inputs and their squares.

    Args:
        given: The pairs.
        squares: Appends the squares.
        parameters: The hyperparameters.

    Returns:
        The score, linear in what `squares` returns. All weights are 0 if the pairs are not of both kinds.
    """
    width = 2 * len(squares.mean)
    step = len(given.labels) // parameters.max_pairs + 1
    labels = given.labels[::step]
    if not 0 < labels.sum() < len(labels):
        return Wide.zero(width)
    inputs = Standardised.of(squares(given.dense[::step]))
    start, data = np.zeros(width + 1), (inputs.x, labels, parameters.penalty)
    options = {"maxiter": parameters.max_iterations}
    found = minimize(logistic.loss, start, data, "L-BFGS-B", jac=True, options=options).x
    return Wide(inputs.mean, inputs.scale, found[:-1].astype(np.float32))


def auc(scores: Floats, labels: Floats) -> float:
    """Return the chance that a wanted pair scores above another pair, with ties counted half.

    0.5 if the pairs are not of both kinds.
    """
    positive = labels > 0
    wanted, others = int(positive.sum()), int((~positive).sum())
    if not wanted or not others:
        return 0.5
    return float((rankdata(scores)[positive].sum() - wanted * (wanted + 1) / 2) / (wanted * others))


def _drawn(buyers: Floats, count: int, rng: np.random.Generator) -> Ints:
    mass = np.cumsum(buyers, dtype=np.float64)
    drawn: Ints = np.searchsorted(mass, rng.random(count) * mass[-1], "right").astype(np.int32)
    return drawn
