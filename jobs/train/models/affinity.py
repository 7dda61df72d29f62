"""The ranker's second output: how much more a user is drawn to an item than the item's popularity says.

A list does well to favour what many want; a judgement of one pair does not. So affinity is fitted on pairs whose
negatives are drawn by popularity: their log odds are log p(item | user) - log p(item), and popularity alone says
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from jobs.train.data.rows import Candidates, Moment
from jobs.train.models import logistic
from jobs.train.models.wide import Standard, Wide
from recmesh.features.spec import Floats, Ints

_STEPS = 60
_RIDGE = 1e-3
_ENOUGH = 200_000


@dataclass(frozen=True)
class Pairs:
    """Pairs of a user and an item: inputs float32 [N, D], and labels float32 [N], 1 where the user wanted the item."""

    dense: Floats
    labels: Floats


def pairs(moment: Moment, one: Candidates, rng: np.random.Generator) -> Pairs:
    """A user's wanted items that somebody acted on before, and about as many others drawn by popularity."""
    buyers = moment.encoder.statistics.buyers[:-1]
    wanted = one.wanted[buyers[one.wanted] > 0]
    drawn = np.setdiff1d(_drawn(buyers, len(wanted), rng), np.union1d(one.wanted, one.user.seen))
    items = np.concatenate([wanted, drawn]).astype(np.int32)
    inputs = moment.encoder.ranker_inputs(one.user, items, one.segment != "repeat", user_vector=one.vector)
    labels = np.concatenate([np.ones(len(wanted), np.float32), np.zeros(len(drawn), np.float32)])
    return Pairs(inputs["dense"], labels)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Several sets of pairs as one."""
    if not parts:
        return Pairs(np.empty((0, 0), np.float32), np.empty(0, np.float32))
    return Pairs(np.concatenate([one.dense for one in parts]), np.concatenate([one.labels for one in parts]))


def fit(given: Pairs, width: int) -> Wide:
    """Logistic regression on standardised inputs, of so many pairs as make the weights certain; all weights 0 where
    there is nothing to tell apart."""
    step = len(given.labels) // _ENOUGH + 1
    given = Pairs(given.dense[::step], given.labels[::step])
    if not 0 < given.labels.sum() < len(given.labels):
        return Wide.nothing(width)
    inputs = Standard.of(given.dense)
    start, data = np.zeros(width + 1), (inputs.x, given.labels, _RIDGE)
    found = minimize(logistic.loss, start, data, "L-BFGS-B", jac=True, options={"maxiter": _STEPS}).x
    return Wide(inputs.mean, inputs.scale, found[:-1].astype(np.float32))


def auc(scores: Floats, labels: Floats) -> float:
    """The chance that a wanted pair scores above another, ties counted half; .5 where either kind is missing."""
    positive = labels > 0
    wanted, others = int(positive.sum()), int((~positive).sum())
    if not wanted or not others:
        return 0.5
    return float((rankdata(scores)[positive].sum() - wanted * (wanted + 1) / 2) / (wanted * others))


def _drawn(buyers: Floats, count: int, rng: np.random.Generator) -> Ints:
    mass = np.cumsum(buyers, dtype=np.float64)
    drawn: Ints = np.searchsorted(mass, rng.random(count) * mass[-1], "right").astype(np.int32)
    return drawn
