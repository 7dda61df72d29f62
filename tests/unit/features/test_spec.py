"""What a release means that does not name a setting: older releases rely on it."""

from pathlib import Path

import pytest

from recmesh.errors import ReleaseError
from recmesh.features import FeatureSpec
from recmesh.features.spec import Channel, Field, Popularity, Tower
from tests.unit.features.toy import spec

REQUIRED = {"as_of": 1, "repeats": True, "clock": False, "action_weights": {"view": 1.0}, "popularities": []}


def test_the_defaults() -> None:
    made = FeatureSpec.model_validate(REQUIRED)
    assert made.model_dump(exclude=set(REQUIRED)) == {
        "version": 1,
        "granularity": 1,
        "recency": 0.7,
        "user_fields": (),
        "item_fields": (),
        "missing": ("",),
        "values": None,
        "tower": {"dim": 33, "history": 100},
        "dense": (),
        "columns": (),
        "neutral_logit": 0.0,
        "candidates": 400,
        "channels": {},
        "rankers": {},
    }
    assert Tower() == Tower(dim=33, history=100)
    assert Channel().model_dump() == {"depth": 150, "weight": 1.0}
    assert Popularity(name="all").model_dump(exclude={"name"}) == {
        "days": None,
        "first_only": False,
        "late": False,
        "power": 0.0,
        "listed": True,
    }
    assert Field(name="a", kind="numeric").model_dump(exclude={"name", "kind"}) == {
        "separator": "|",
        "width": 1,
        "bounds": (),
        "center": 0.0,
        "scale": 1.0,
    }


def test_a_spec_is_read_as_it_was_written(tmp_path: Path) -> None:
    spec().save(tmp_path / "spec.json")
    assert FeatureSpec.load(tmp_path / "spec.json") == spec()
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(ReleaseError, match=r"(?s)spec\.json: not a feature spec of this version .*train again"):
        FeatureSpec.load(tmp_path / "spec.json")


@pytest.mark.parametrize(
    ("repeats", "history", "new_only", "segment"),
    [
        (True, False, True, "cold"),
        (True, True, True, "novel"),
        (True, True, False, "repeat"),
        (False, True, False, "novel"),
        (False, False, False, "cold"),
    ],
)
def test_the_segment_of_a_request(repeats: bool, history: bool, new_only: bool, segment: str) -> None:
    assert spec(repeats).segment(history, new_only) == segment
