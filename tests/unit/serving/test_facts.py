"""Facts about the active release, the latest ingestion and the drift of fields, as metrics."""

import asyncio
import math
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from recmesh.errors import DeadlineExceeded, Unavailable
from recmesh.evaluation.shown import Rate, ReleaseRates, ShownRates
from recmesh.releases import Manifest, ModelStore, SegmentMetrics, TrainingFacts
from recmesh.serving import ingestion_facts, release_facts, shown_facts
from recmesh.serving.drift import LATEST_USERS, Drift, FieldDrift
from recmesh.serving.store_calls import StoreCalls
from tests.unit.metric import added, eventually, value
from tests.unit.retrieval.test_new import with_new_items


def manifest(name: str, **changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "id": name,
        "created": datetime(2024, 1, 2, tzinfo=timezone.utc),
        "fingerprint": "f",
        "schema_hash": "s",
        "as_of": 1_700_000_000_500,
        "repeats": True,
        "items": 42,
        "dim": 3,
    }
    return Manifest(**{**facts, **changes})


def test_the_facts_are_those_of_the_active_release_only() -> None:
    held_out = SegmentMetrics(
        users=9, chain={"recall@10": 0.4}, popularity={"recall@10": 0.1}, channels={"two_tower": {"recall@10": 0.3}}
    )
    rows = {"used": 90, "rejected": 2}
    release_facts.export(
        manifest("facts-1", metrics={"cold": held_out}, training=TrainingFacts(seconds=12.5, rows=rows))
    )
    assert value("recmesh_release_created_timestamp_seconds", release="facts-1") == 1_704_153_600
    assert value("recmesh_release_data_timestamp_seconds", release="facts-1") == 1_700_000_000.5
    assert value("recmesh_release_items", release="facts-1") == 42
    for system, mean in (("chain", 0.4), ("popularity", 0.1), ("two_tower", 0.3)):
        labels = {"release": "facts-1", "segment": "cold", "system": system, "metric": "recall@10"}
        assert value("recmesh_release_held_out", **labels) == mean
    assert value("recmesh_training_duration_seconds", release="facts-1") == 12.5
    assert value("recmesh_training_rows", release="facts-1", outcome="used") == 90
    assert value("recmesh_training_rows", release="facts-1", outcome="rejected") == 2

    release_facts.export(manifest("facts-2", as_of=0))
    assert value("recmesh_release_items", release="facts-2") == 42
    names = ("release_items", "release_data_timestamp_seconds", "training_duration_seconds")
    for name in names:
        assert REGISTRY.get_sample_value(f"recmesh_{name}", {"release": "facts-1"}) is None
    assert REGISTRY.get_sample_value("recmesh_release_data_timestamp_seconds", {"release": "facts-2"}) is None


def test_an_ingestion_is_exported_once_there_was_one() -> None:
    before = value("recmesh_ingestion_timestamp_seconds")
    ingestion_facts.export({})
    assert value("recmesh_ingestion_timestamp_seconds") == before
    ingestion_facts.export({"time": 1_700_000_000.0, "seconds": 2.5, "rows.used": 7.0, "rows.unlisted": 1.0})
    assert value("recmesh_ingestion_timestamp_seconds") == 1_700_000_000
    assert value("recmesh_ingestion_duration_seconds") == 2.5
    assert value("recmesh_ingestion_rows", outcome="used") == 7
    assert value("recmesh_ingestion_rows", outcome="unlisted") == 1


async def test_rates_of_shown_items_are_followed_while_the_store_answers(tmp_path: Path) -> None:
    store, labels = ModelStore(str(tmp_path)), {"release": "shown-1", "system": "chain", "metric": "hit@1"}
    rate = Rate(value=0.5, low=0.1, high=0.9, of=2)
    of_release = ReleaseRates(release="shown-1", answers=2, users=2, followed=1, systems={"chain": {"hit@1": rate}})
    rates = ShownRates(evaluated=5.0, clock="wall", days=7, releases=(of_release,), left_out={})
    following = asyncio.create_task(shown_facts.follow(store, 0.001))
    try:
        with capture_logs() as lines:
            store.set_shown_rates(rates)
            await eventually(lambda: value("recmesh_shown_rate", **labels) == 0.5)
            (tmp_path / "shown_rates").write_text("damaged")
            await eventually(lambda: bool(lines))
        assert value("recmesh_shown_rate", **labels) == 0.5
        assert "shown_rates: damaged" in lines[0]["reason"]
        better = rate.model_copy(update={"value": 0.75})
        changed = of_release.model_copy(update={"systems": {"chain": {"hit@1": better}}})
        store.set_shown_rates(rates.model_copy(update={"releases": (changed,)}))
        await eventually(lambda: value("recmesh_shown_rate", **labels) == 0.75)
        assert not following.done()
    finally:
        following.cancel()


def test_the_index_of_a_field_is_that_worked_out_by_hand() -> None:
    field = FieldDrift(np.array([0.5, 0.5]))
    field.counts[:] = (100, 99)
    assert math.isnan(field.index()), "199 users are too few"
    field.counts[:] = (100, 100)
    assert field.index() == 0
    # (0.75 - 0.5) ln(0.75 / 0.5) + (0.25 - 0.5) ln(0.25 / 0.5)
    field.counts[:] = (150, 50)
    assert field.index() == pytest.approx(0.2746531)
    # A share of 0 counts as 0.001: (1 - 0.5) ln 2 + (0.001 - 0.5) ln(0.002)
    field.counts[:] = (200, 0)
    assert field.index() == pytest.approx(0.5 * math.log(2) + 0.499 * math.log(500))


def test_profiles_and_the_items_acted_on_last_are_counted_and_fade() -> None:
    encoder = with_new_items()
    drift = Drift(encoder)
    drift.count(encoder.user({}))
    assert all(not field.counts.any() for field in drift.fields.values())
    with_profile = encoder.user({"age": "1"}, ["a", "b"], [2, 1], ["order", "order"], [1, 1])
    drift.count(with_profile)
    age = drift.fields["user.age"]
    assert age.counts[with_profile.codes[0]] == age.counts.sum() == 1
    for name, field in drift.fields.items():
        if name.startswith("item."):
            assert field.counts.sum() == pytest.approx(1)
    for _ in range(LATEST_USERS - 2):
        drift.count(encoder.user({}))
    assert age.counts.sum() == 0.5


def test_a_drift_is_exported_under_the_names_of_its_fields() -> None:
    drift = Drift(with_new_items())
    drift.export()
    drift.fields["user.age"].counts[:] = 0
    drift.fields["user.age"].counts[0] = 1_000
    assert value("recmesh_input_drift", field="user.age") == drift.fields["user.age"].index() > 0
    Drift(with_new_items()).export()
    assert math.isnan(value("recmesh_input_drift", field="user.age"))


def test_calls_to_a_store_are_timed_or_counted_by_their_status(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 10.25, 20.0, 30.0])
    monkeypatch.setattr("recmesh.serving.store_calls.time.perf_counter", lambda: next(times))
    calls, labels = StoreCalls("redis", "testing"), {"store": "redis", "operation": "testing"}
    count, seconds = (added(f"recmesh_store_seconds_{part}", **labels) for part in ("count", "sum"))
    failed = [added("recmesh_store_failures_total", status=status, **labels) for status in ("UNAVAILABLE", "INTERNAL")]
    with calls.measured():
        pass
    for error in (Unavailable("down"), DeadlineExceeded("late")):
        with pytest.raises(type(error)), calls.measured():
            raise error
    assert (count(), seconds()) == (1, 0.25)
    assert [grown() for grown in failed] == [1, 0]
    assert value("recmesh_store_failures_total", status="DEADLINE_EXCEEDED", **labels) == 1
