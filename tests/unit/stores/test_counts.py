"""When an action counts, and the name under which it does."""

import pytest

from recmesh.pb.feed_pb2 import Action
from recmesh.stores.counts import CountedAction, bucket_of

MINUTE, DAY = 60_000, 86_400_000
NOON = 20_000 * DAY + DAY // 2


@pytest.mark.parametrize(
    ("time", "bucket"),
    [
        (NOON, NOON // (5 * MINUTE)),
        (NOON - 1, NOON // (5 * MINUTE) - 1),
        (NOON - DAY + 1, NOON // (5 * MINUTE) - 288),
        (NOON - DAY, None),
        (NOON + 1, NOON // (5 * MINUTE)),
        (NOON + DAY // 2, NOON // (5 * MINUTE)),
        (NOON - DAY // 2, NOON // (5 * MINUTE)),
        (NOON - DAY // 2 + 1, NOON // (5 * MINUTE) - 144),
    ],
    ids=["now", "before", "almost a day old", "a day old", "ahead", "tomorrow", "today, as a date", "at night"],
)
def test_an_action_counts_in_the_bucket_of_its_time(time: int, bucket: int | None) -> None:
    assert bucket_of(Action(time=time), NOON) == bucket


@pytest.mark.parametrize("value", [1.0, -2.5, 0.1, 1e-30, 16_777_217.0])
def test_the_name_of_a_field_tells_item_type_and_value(value: float) -> None:
    value = Action(value=value).value  # a 32-bit float
    parsed = CountedAction.parse(CountedAction("item with\ttabs and ümlauts", "view", value).field)
    assert parsed
    assert parsed[:2] == ("item with\ttabs and ümlauts", "view")
    assert Action(value=parsed.value).value == value
    assert CountedAction("00123", "view", 1.0).field == "view\x001\x0000123"


@pytest.mark.parametrize("field", ["", "a", "view\x00a", "view\x00much\x00a"])
def test_a_damaged_field_stands_for_nothing(field: str) -> None:
    assert CountedAction.parse(field) is None
