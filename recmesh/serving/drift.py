"""How far the users of the latest requests are from the users of the training.

The measure is the population stability index of each field: the sum of (p - q) ln(p / q) over its values, where p is
the share of a value now and q that of the training (Siddiqi, Credit Risk Scorecards, 2006). Below 0.1 little has
changed; above 0.25 the training no longer describes the users.
"""

import math
from collections.abc import Mapping

import numpy as np

from recmesh.features import Encoder, User
from recmesh.features.spec import Floats
from recmesh.features.vocabulary import MISSING
from recmesh.serving import metrics

LATEST_USERS = 5_000
"""After so many users, the weight of all users before them is halved."""

_MIN_USERS = 200
_ITEMS = 10
# Shares are at least this, so that a single user with a new value is no drift.
_SMALLEST_SHARE = 1e-3


class FieldDrift:
    """Counts the values of one field."""

    def __init__(self, expected: Floats) -> None:
        """Compare with the share of each value in the training, float [values]."""
        self._expected = np.maximum(expected, _SMALLEST_SHARE)
        self.counts = np.zeros(len(expected))

    def index(self) -> float:
        """The population stability index; NaN before enough users have been counted."""
        total = self.counts.sum()
        if total < _MIN_USERS:
            return math.nan
        found = np.maximum(self.counts / total, _SMALLEST_SHARE)
        return float(((found - self._expected) * np.log(found / self._expected)).sum())


class Drift:
    """Counts the profiles of users, and the fields of the items that they acted on last.

    A user without a profile or without a history tells nothing about that side.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Compare with the training of a release."""
        known, users, items = encoder.statistics, encoder.spec.user_fields, encoder.spec.item_fields
        shares = np.split(known.value_share, known.lift_offset[1:])
        self._users = [FieldDrift(share) for share in shares[: len(users)]]
        self._items = [FieldDrift(np.exp(share)) for share in known.code_share[: len(items)]]
        self._codes = encoder.catalogue.codes
        self._counted = 0
        names = [f"user.{field.name}" for field in users] + [f"item.{field.name}" for field in items]
        self.fields: Mapping[str, FieldDrift] = dict(zip(names, (*self._users, *self._items), strict=True))

    def count(self, user: User) -> None:
        """Count the user of a request."""
        if (user.codes != MISSING).any():
            for field, code in zip(self._users, user.codes.tolist(), strict=True):
                field.counts[code] += 1
        items = user.history.items[:_ITEMS]
        if len(items := items[items >= 0]):
            for field, codes in zip(self._items, self._codes, strict=True):
                # The first code of each item: others of a multi field are not independent of it.
                np.add.at(field.counts, codes[items, 0], 1 / len(items))
        self._counted += 1
        if self._counted % LATEST_USERS == 0:
            for field in self.fields.values():
                field.counts /= 2

    def export(self) -> None:
        """Make this the drift in the metrics."""
        metrics.INPUT_DRIFT.clear()
        for name, field in self.fields.items():
            metrics.INPUT_DRIFT.labels(name).set_function(field.index)
