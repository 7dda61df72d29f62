"""`make cluster-test`: what feed has acknowledged is in the histories of um, once, and in the next training."""

import json
import time
from collections import Counter
from functools import partial
from typing import Any

from recmesh.stores.log import stream_of
from tests.cluster import kube
from tests.cluster.conftest import (
    AFTER_SECONDS,
    BEFORE_SECONDS,
    client,
    end_load,
    note,
    recmesh,
    start_client,
    written_and_removed,
)

USERS = [f"recorded-user-{number}" for number in range(10)]
RATE = 20
ARCHIVED = "archived-user"
MANIFEST = """import os, sys
from recmesh.releases import ModelStore
print(ModelStore(os.environ["RECMESH_MODEL_STORE"]).manifest(sys.argv[1]).model_dump_json())"""


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


def answered(operator: str) -> Any:
    """The answer of `as` for a user."""
    return json.loads(client(operator, "as", ARCHIVED, "--json"))


def test_archived_actions_leave_redis_and_stay_in_trainings_and_histories(operator: str) -> None:
    recorded = {item["sku_id"] for item in answered(operator)["item_infos"][:2]}
    for item in recorded:
        client(operator, "record", ARCHIVED, item)
    kube.wait_until(lambda: set(items(operator, ARCHIVED)) == recorded, "the actions")

    # Entries stay for 24 hours. A run removes what an earlier run has archived. The last entry of a stream stays.
    written, removed = written_and_removed(recmesh("run", "archive", "--again", "--watch"))
    assert written >= 2
    assert removed == 0
    assert "recmesh-archive-" in recmesh("list")
    assert written_and_removed(kube.run_scheduled("archive")) == (0, 0)
    kube.upgrade("--set=archive.keepHours=0")
    written, removed = written_and_removed(kube.run_scheduled("archive"))
    assert written == 0
    assert removed >= 1
    assert written_and_removed(kube.run_scheduled("archive")) == (0, 0)

    trained = recmesh("run", "train", "--again", "--watch")
    release = trained.rpartition("release ")[2].split()[0]
    printed = kube.kubectl("exec", "deployment/recmesh-recall", "--", "python", "-c", MANIFEST, release)
    assert stream_of(ARCHIVED) in json.loads(printed)["training"]["log"]
    recmesh("run", "ingest", "--again", "--watch")
    kube.wait_until(lambda: answered(operator)["release"] == release, "the new release")
    assert set(items(operator, ARCHIVED)) == recorded
    kube.kubectl("delete", "jobs", "--selector=app.kubernetes.io/component=archive")
    kube.upgrade()
