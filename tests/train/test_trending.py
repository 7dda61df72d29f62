"""What training makes of the items that are acted on most at a cut-off."""

from dataclasses import replace

import numpy as np
import pytest

from jobs.train.data.prepare import Prepared
from jobs.train.data.trending import trending_at
from jobs.train.data.windows import Window, plan
from recmesh.contract import COUNT_BUCKET_MS
from recmesh.features import FeatureSpec
from recmesh.features.spec import DAY_MS
from recmesh.features.trending import action_rates
from tests.train.test_plan import prepared, shop


def _of_date() -> tuple[Prepared, FeatureSpec, Window]:
    data = prepared(*shop())
    chosen = plan(data, 1)
    assert chosen.clock
    return data, data.spec.model_copy(update={"clock": True}), chosen.windows[0]


def test_it_ranks_by_the_rates_of_the_day_before_the_cutoff_alone() -> None:
    data, spec, window = _of_date()
    found = trending_at(data, spec, window)
    day = (data.times < window.as_of) & (data.times >= window.as_of - DAY_MS)
    assert 30 < day.sum() < len(data.times) / 10
    buckets = data.times[day] // COUNT_BUCKET_MS
    rates = action_rates(data.items[day], buckets, np.ones(day.sum()), len(data.catalogue), int(buckets.max()))
    rates = rates.astype(np.float32)
    assert sorted(found.items.tolist()) == np.flatnonzero(rates).tolist()
    assert found.scores.tolist() == sorted(rates[rates > 0].tolist(), reverse=True)
    assert found.scores.tolist() == rates[found.items].tolist()

    # No later action changes it.
    cut = data.only(np.flatnonzero(data.times < window.as_of))
    ends = replace(window, known=cut.start[1:])
    again = trending_at(cut, spec, ends)
    assert (again.items.tolist(), again.scores.tolist()) == (found.items.tolist(), found.scores.tolist())


def test_actions_of_hidden_users_do_not_count() -> None:
    data, spec, window = _of_date()
    nobody = replace(window, known=data.start[:-1])
    assert trending_at(data, spec, nobody).items.tolist() == []


@pytest.mark.parametrize("change", [{"clock": False}, {"granularity": DAY_MS}])
def test_without_times_of_day_or_a_split_by_date_nothing_is_trending(change: dict[str, int]) -> None:
    data, spec, window = _of_date()
    assert len(trending_at(data, spec, window).items)
    assert not len(trending_at(data, spec.model_copy(update=change), window).items)
