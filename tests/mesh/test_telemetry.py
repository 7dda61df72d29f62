"""What a running mesh exports: telemetry.yaml describes all of it, and requests decide about values only."""

import re
from typing import Any

import yaml

from recmesh.pb.as_pb2 import ASRequest
from recmesh.pb.user_info_pb2 import UserInfo
from tests.calls import AS
from tests.processes import Service
from tests.servers import ROOT, wait_until
from tests.shop import Shop

LABEL = re.compile(r'(\w+)="([^"]*)"')


def test_every_series_and_label_is_described(compact: Service, trained_shop: Shop) -> None:
    telemetry: dict[str, Any] = yaml.safe_load((ROOT / "telemetry.yaml").read_text())
    for user_id in ("", "nobody", *trained_shop.user_ids[:5]):
        profile = UserInfo(age="never heard of", attributes={"colour": "of the request"})
        AS.call(compact.target("as"), ASRequest(user_id=user_id, user_info=profile, new_only=True))
    found = [series for series in compact.metrics() if series.startswith("recmesh_")]
    assert len(found) > 200
    for series in found:
        name, _, labels = series.partition("{")
        metric = telemetry["metrics"].get(name) or telemetry["metrics"].get(
            re.sub("_(bucket|sum|count|created)$", "", name)
        )
        if metric is None:  # the creation times of counters
            metric = telemetry["metrics"][re.sub("_created$", "_total", name)]
        values = {label: value for label, value in LABEL.findall(labels) if label != "le"}
        assert set(values) == set(metric["labels"]), series
        for label, value in values.items():
            assert value in telemetry["labels"][label].get("values", [value]), series
            assert "request" not in value and "nobody" not in value


def test_the_facts_of_the_release_and_of_the_ingestion_are_exported(compact: Service, trained_shop: Shop) -> None:
    release = str(trained_shop.store.active())
    manifest = trained_shop.store.manifest(release)
    assert manifest.training is not None
    series = compact.metrics()
    assert series[f'recmesh_release_items{{release="{release}"}}'] == len(trained_shop.sku_ids)
    labels = f'metric="recall@10",release="{release}",segment="novel",system="chain"'
    assert series[f"recmesh_release_held_out{{{labels}}}"] == manifest.metrics["novel"].chain["recall@10"]
    used = manifest.training.rows["used"]
    assert series[f'recmesh_training_rows{{outcome="used",release="{release}"}}'] == used > 5_000
    wait_until(lambda: compact.metric("recmesh_ingestion_timestamp_seconds") > 0, compact, "the ingestion")
    assert compact.metrics()['recmesh_ingestion_rows{outcome="used"}'] == used
