"""Every dense input of one user and three items, worked out by hand."""

from math import log, log1p, sqrt

import numpy as np
import pytest

from recmesh.features.ranker_inputs import forms, never_negative
from recmesh.features.spec import DAY_MS
from tests.unit.features.toy import AS_OF, encoder, spec

# The user ordered a one day ago, viewed c four days ago and ordered a eight days ago. Items a and c are in the
# catalogue. The third item is given by its fields: it is tea, like a. Strengths are 1 for a and 0.1 for c; by recency,
# c weighs 0.7 * 0.1.
_VOTE = 0.25  # of a for c, along both lists
_TEA, _TOOLS = 0.7, 0.25  # shares of the categories
_DISTANCE = (log1p(3) - 0) / 1  # the price 3 is not scaled; those of the catalogue's items are -1

EXPECTED = {
    "popularity_all": (log(0.4), log(0.15), log(0.01)),
    "popularity_4d": (log(0.1), log(0.3), log(0.01)),
    "repeat_rate": (0.2, 0.2, 0.2),
    "age": (log1p(10), log1p(10), log1p(10)),
    # 30 of 40 buyers of a have this age, as do half of all; of c none of 15.
    "lift_age": (log((30 + 10) / (40 * 0.5 + 10)), log((0 + 10) / (15 * 0.5 + 10)), 0),
    "ridge": (0, log1p(20 * _VOTE / sqrt(2)), 0),
    "cosine": (0, log1p(20 * _VOTE / sqrt(2)), 0),
    "recent_ridge": (0, log1p(20 * _VOTE / sqrt(1.07)), 0),
    "recent_cosine": (0, log1p(20 * _VOTE / sqrt(1.07)), 0),
    # The strongest vote is 0.5, of a for b.
    "relative_ridge": (0, 0.5**0.3, 0),
    "relative_cosine": (0, 0.5**0.3, 0),
    "relative_recent_ridge": (0, 0.5**0.3, 0),
    "relative_recent_cosine": (0, 0.5**0.3, 0),
    "tower": (1, 3, 0),
    # Of three action times, two are of tea.
    "cate_count": (log1p(2), log1p(1), log1p(2)),
    "cate_lift": (
        log((2 + 5 * _TEA) / ((3 + 5) * _TEA)),
        log((1 + 5 * _TOOLS) / ((3 + 5) * _TOOLS)),
        log((2 + 5 * _TEA) / ((3 + 5) * _TEA)),
    ),
    "cate_items": (log1p(1), log1p(1), log1p(1)),
    "cate_recent": (log1p(20 * 1), log1p(20 * 0.07), log1p(20 * 1)),
    # All three are in the bucket of low prices, which a quarter of all actions are in.
    "price_count": (log1p(3),) * 3,
    "price_lift": (log((3 + 5 * 0.25) / ((3 + 5) * 0.25)),) * 3,
    "price_items": (log1p(2),) * 3,
    "price_recent": (log1p(20 * 1.07),) * 3,
    "price_distance": (0, 0, -(_DISTANCE + 1)),
    "cate_profile": (0.4, -0.3, 0.4),
    "price_profile": (0.4, 0.4, 0.4),
    "owned": (1, 1, 0),
    "own_count": (log1p(2), log1p(1), 0),
    "own_rate": (log(2.1 / 3), log(1.1 / 3), 0),
    "own_share": (2 / 3, 1 / 3, 0),
    # Days since the last action: 1 and 4.
    "own_recency": (-log1p(1), -log1p(4), 0),
    "own_ratio": (0, -(log1p(4) - log1p(1)), 0),
    "own_x_size": (log1p(2), log1p(2), 0),
    "own_x_moments": (log1p(3), log1p(3), 0),
    "own_x_popularity": (log(0.4) - log(0.01), log(0.15) - log(0.01), 0),
    "own_x_once": (0, 1, 0),
    "own_x_often": (0, 0, 0),
    "own_x_affinity": (
        log((2 + 5 * _TEA) / ((3 + 5) * _TEA)),
        log((1 + 5 * _TOOLS) / ((3 + 5) * _TOOLS)),
        0,
    ),
    "own_x_repeat_rate": (log(0.2 + 0.01), log(0.2 + 0.01), 0),
    "user_items": (log1p(2),) * 3,
    "user_moments": (log1p(3),) * 3,
    "user_recency": (log1p(1),) * 3,
}


def test_every_dense_input() -> None:
    made = encoder()
    times = [AS_OF - days * DAY_MS for days in (1, 4, 8)]
    user = made.user({"age": "1"}, ["a", "c", "a"], times, ["order", "view", "order"], [1.0] * 3)
    unlisted = [{"cate": "tea", "price": "3"}]
    items, vector = np.array([0, 2], np.int32), np.array([1, 2, 3], np.float32)
    inputs = made.ranker_inputs(user, items, False, unlisted, vector)
    assert made.spec.dense == tuple(EXPECTED)
    for name, values in zip(made.spec.dense, inputs["dense"].T, strict=True):
        assert values.tolist() == pytest.approx(EXPECTED[name], rel=1e-4, abs=1e-6), name
    # One table: three segments, then four codes each of age, category and price.
    assert inputs["sparse"].tolist() == [
        [2, 3 + 2, 7 + 2, 11 + 2],
        [2, 3 + 2, 7 + 3, 11 + 2],
        [2, 3 + 2, 7 + 2, 11 + 2],
    ]


def test_popularity_votes_and_lifts_never_count_against_an_item() -> None:
    made = spec()
    upward = {name for name, mask in zip(made.dense, never_negative(made), strict=True) if mask}
    votes = {
        f"{form}{recent}{name}"
        for form in ("", "relative_")
        for recent in ("", "recent_")
        for name in ("ridge", "cosine")
    }
    own = {"popularity_all", "popularity_4d", "lift_age", "tower"}
    fields = {f"{field}_{part}" for field in ("cate", "price") for part in ("lift", "recent", "profile")}
    assert upward == votes | own | fields


def test_training_tries_both_forms_of_votes_and_each_alone() -> None:
    made = spec()
    left_out = [{name for name, mask in zip(made.dense, form, strict=True) if not mask} for form in forms(made)]
    logs = {f"{recent}{name}" for recent in ("", "recent_") for name in ("ridge", "cosine")}
    assert left_out == [set(), {f"relative_{name}" for name in logs}, logs]
