"""`make cluster-test`: what feed has acknowledged is in the histories of um, once."""

import json
import time
from collections import Counter
from functools import partial

from tests.cluster import kube
from tests.cluster.conftest import AFTER_SECONDS, BEFORE_SECONDS, client, end_load, note, start_client

USERS = [f"recorded-user-{number}" for number in range(10)]
RATE = 20


def items(operator: str, user: str) -> list[str]:
    """The items in the history of a user."""
    answer = json.loads(client(operator, "um", user, "--json"))
    return list(answer.get("history", {}).get("sku_ids", ()))


def ended(operator: str, user: str) -> bool:
    """Whether the last action of a user has been applied."""
    return "end" in items(operator, user)


def test_a_rolling_update_of_feed_loses_and_doubles_nothing(operator: str) -> None:
    start_client("recorder", "recmesh.io/client", "record.py", "dns:///recmesh-feed:8940", str(RATE), *USERS)
    time.sleep(BEFORE_SECONDS)  # actions before, during and after the update
    kube.roll("feed")
    time.sleep(AFTER_SECONDS)
    lines = end_load("recorder")
    acknowledged = Counter((line["user"], line["item"]) for line in lines)
    errors = Counter(error for line in lines for error in line["errors"])
    assert len(acknowledged) > RATE * (BEFORE_SECONDS + AFTER_SECONDS)
    for user in USERS:
        kube.wait_until(partial(ended, operator, user), f"the last action of {user}")
    stored = Counter((user, item) for user in USERS for item in items(operator, user))
    note(
        f"rolling update of feed: {len(lines)} actions at {RATE}/s, failed attempts {dict(errors)}, "
        f"{sum(line['repeated'] for line in lines)} were in the log before, "
        f"slowest {max(line['seconds'] for line in lines):.1f} s"
    )
    assert stored == acknowledged
