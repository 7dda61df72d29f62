"""`python -m tests.observe.page ALERTS`: draw the dashboards from a live mesh, and print docs/observability.md.

ALERTS is the file that the tests of faults have written, of which `make test` runs only the quick ones:

    RECMESH_OBSERVED=ALERTS .venv/bin/python -m pytest -m '' tests/observe/test_faults.py
    .venv/bin/python -m tests.observe.page ALERTS > docs/observability.md

The mesh serves a small generated shop for five minutes, in which it meets some faults, so that every panel has data.
"""

import contextlib
import json
import random
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import yaml
from redis import Redis

from charts.observability.__main__ import CHART
from charts.observability.dashboards import ALL
from charts.observability.pictures.__main__ import IMAGES, draw
from local.observe import ALERTS
from recmesh.contract import BATCH, PRIORITY
from recmesh.pb.as_pb2 import ASRequest
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.stores.keys import Keys
from tests.calls import AS
from tests.mesh.test_release_switch import SPOILED, copied_release
from tests.observe import test_faults
from tests.observe.feeding import recording
from tests.observe.monitoring import Prometheus, running_prometheus
from tests.observe.observed import Observed, recorded
from tests.observe.test_faults import frozen, repeated
from tests.paddle_serving.conftest import gateway, with_paddle_serving
from tests.processes import Service
from tests.servers import running_milvus, running_redis
from tests.shop import Shop, open_shop, running_apart, trained_once

_SECONDS = 300
# The pictures end up to a minute before they are drawn.
_EARLY_SECONDS = 60
_CALLERS = 4
_PAUSE_SECONDS = 0.25
_KNOWN_SHARE, _NEW_SHARE, _BATCH_SHARE = 0.9, 0.1, 0.2
_TIMEOUTS = (0.5, 1.0, 2.0, 5.0)
_SHOWN = 3
_YEAR = 365.25 * 86400
# `$__rate_interval` is the whole time, so that the values include the faults.
_VARIABLES = {"$__rate_interval": f"{_SECONDS}s", "$__range": f"{_SECONDS}s", "$namespace": ".*", "$service": "rank"}
# They need actions that users did after the answers, which this mesh does not wait for.
_NOT_EVALUATED, _NO_CONTROLLER = "no answers were evaluated", "no controller ran"
_WITHOUT_DATA = {
    "Rates by release and channel": _NOT_EVALUATED,
    "Rates of the chain": _NOT_EVALUATED,
    "Shown items that users acted on": _NOT_EVALUATED,
    "Evaluated answers": _NOT_EVALUATED,
    "Age of the evaluation": _NOT_EVALUATED,
    "Lost data": _NO_CONTROLLER,
    "Repairs": _NO_CONTROLLER,
}
_RULES = """\
rules:
  - {name: own brand, kind: boost, factor: 2, when: 'brand=1,2,3,4,5,6,7,8'}
  - {name: mix, kind: at_most, field: cate, count: 3, first: 10}
  - {name: variety, kind: diversity, strength: 0.3, first: 20}
"""
_LABEL = re.compile(r"\{\{(\w+)\}\}")

_HEAD = """\
# Dashboards and alerts, as seen

This page shows each dashboard of the chart with data, what each of its panels returned, and the
fault that made each alert fire. [kubernetes.md](kubernetes.md#dashboards-and-alerts) says how to
install them, [runbooks.md](runbooks.md) what to do about an alert.

The data come from a Prometheus that scraped six services and Paddle Serving. They served a small
generated shop on loopback, to callers with stored profiles and without. The pictures show five
minutes, in which rank, Milvus and Paddle Serving were stopped for eight seconds each, a user's
stored profile was damaged, a release that does not load was activated, another release became
active, and 48 callers sent more than the services can answer. Where a panel shows a rate, the value
is the mean of five minutes, otherwise that at the end, just after the pictures. The service of
"Service" is rank.

The pictures are drawn by Grafana's libraries `@grafana/data` and `@grafana/ui` 11.6 in a headless
browser (`charts/observability/pictures`), not by Grafana's server. They read the dashboards of the
chart, transform the answers of Prometheus, and format and draw lines, numbers and tables, as in
Grafana. Bar charts are drawn by the page itself from the transformed data: the libraries have none.

To make this page again, with `npm` and Chromium installed:

    make environments-dev prometheus
    RECMESH_OBSERVED=/tmp/alerts .venv/bin/python -m pytest -m '' tests/observe/test_faults.py
    .venv/bin/python -m tests.observe.page /tmp/alerts > docs/observability.md

`.venv/bin/python -m charts.observability.pictures` alone draws the dashboards of a mesh of yours
from `make observe`."""

_ALERTS = """
## Alerts

`tests/observe/test_faults.py` makes these faults, waits until Alertmanager has the alert, removes
the fault and waits until the alert is resolved. Its windows are seconds instead of minutes and
days. Without a fault the expressions return nothing: `tests/observe/test_live.py` checks this,
except for late answers, event loop lag and drift, which a busy machine or a small shop can cause.

| alert | fault | what the alert said |
|---|---|---|"""


def main() -> None:
    """Draw the pictures, and print the page."""
    observed = {found.alert: found for found in recorded(Path(sys.argv[1]))}
    names = [rule["alert"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]]
    if missing := [name for name in names if name not in observed]:
        sys.exit(f"{sys.argv[1]} lacks {', '.join(missing)}: run the tests of faults, also the long ones (-m '')")
    with TemporaryDirectory(prefix="recmesh-page-") as folder, observed_mesh(Path(folder)) as prometheus:
        drawn = draw(prometheus.url, IMAGES, _SECONDS, "rank")
        if empty := {title for titles in drawn.values() for title in titles} - _WITHOUT_DATA.keys():
            sys.exit(f"panels without data: {empty}")
        print(_HEAD)
        for name in ALL:
            print("\n".join(_section(prometheus, name)))
    print(_ALERTS)
    for name in names:
        print(_row(observed[name]))


def _section(prometheus: Prometheus, name: str) -> Iterator[str]:
    page = json.loads((CHART / "dashboards" / f"{name}.json").read_text())
    title = page["title"].removeprefix("recmesh: ")
    yield f"\n## {title}\n\n{page['description']}\n\n![{title}](images/dashboard-{name}.png)\n"
    yield "| panel | what it shows | value |\n|---|---|---|"
    for panel in page["panels"]:
        if panel["type"] != "row":
            shown = _shown(prometheus, panel)
            yield f"| {panel['title']} | {panel['description']} | {shown} |"


def _shown(prometheus: Prometheus, panel: Mapping[str, Any]) -> str:
    """The values of a panel, or the first ones of many."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    found = [
        f"{_legend(series['metric'], target['legendFormat'])} {_value(float(series['value'][1]), unit)}".strip()
        for target in panel["targets"]
        for series in prometheus.query(_replaced(target["expr"]))
        if series["value"][1] != "NaN"
    ]
    if not found and panel["title"] in _WITHOUT_DATA:
        return _WITHOUT_DATA[panel["title"]]
    if not found:
        sys.exit(f"no value for {panel['title']}")
    more = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _replaced(expression: str) -> str:
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def _legend(labels: Mapping[str, str], template: str) -> str:
    """The name of a series. Ports are left out: they mean nothing here."""
    if template == "__auto":
        return ""
    if not _LABEL.search(template):
        template = " ".join(["{{" + label + "}}" for label in sorted(labels.keys() - {"release"})] + [template])
    name = _LABEL.sub(lambda match: labels.get(match[1], ""), template)
    return re.sub(r" ?127\.0\.0\.1:\d+", "", name)


def _value(value: float, unit: str) -> str:
    match unit:
        case "s" if abs(value) < 1:
            return f"{value * 1000:.3g} ms"
        case "s" if abs(value) > _YEAR:
            return f"{value / _YEAR:.3g} years"
        case "s":
            return f"{value:.3g} s"
        case "percentunit":
            return f"{value * 100:.3g} %"
        case "bytes":
            return f"{value / 2**20:.3g} MiB"
        case "reqps" | "cps":
            return f"{value:.3g}/s"
        case _:
            return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _row(found: Observed) -> str:
    doc = getattr(test_faults, found.test).__doc__
    return f"| {found.alert} | {doc.splitlines()[0]} | {found.description} |"


@contextlib.contextmanager
def observed_mesh(folder: Path) -> Iterator[Prometheus]:
    """Run all services under load, with faults, and yield the Prometheus that has scraped them for the whole time."""
    with running_milvus() as milvus, running_redis() as redis:
        shop = open_shop(trained_once(folder), folder / "shop", redis, milvus)
        shop.store.apply_rules(_RULES)
        Redis(port=redis.port).set(Keys.of().user(shop.user_ids[0]), b"damaged")
        with (
            gateway(shop.environment) as paddle,
            running_apart(shop, with_paddle_serving(shop, paddle)) as services,
            recording(shop) as (feed, _),
        ):
            targets = [f"127.0.0.1:{service.ports['metrics']}" for service in (*services.values(), feed, paddle)]
            with running_prometheus(targets) as prometheus, traffic(services["as"].target("as"), shop.user_ids):
                end = time.monotonic() + _EARLY_SECONDS + _SECONDS
                make_faults(shop, services, paddle, folder)
                time.sleep(max(0.0, end - time.monotonic()))
                yield prometheus


def make_faults(shop: Shop, services: Mapping[str, Service], paddle: Service, folder: Path) -> None:
    """Make one fault after the other, with time to recover, within the time that the pictures show."""
    first = shop.store.active()
    assert first is not None
    copied_release(shop, folder / "copies", "spoiled", SPOILED["the models are no ONNX files"])
    copied_release(shop, folder / "copies", "second")
    time.sleep(_EARLY_SECONDS)
    for server in (services["rank"], shop.milvus, paddle):
        with frozen(server):
            time.sleep(8)
        time.sleep(40)
    shop.store.activate("spoiled", ())
    time.sleep(5)
    shop.store.activate(first)
    shop.ingest("--release", "second", "--only", "milvus")
    time.sleep(30)
    with contextlib.ExitStack() as callers:
        for user_id in shop.user_ids[:48]:
            request = ASRequest(user_id=user_id)
            callers.enter_context(repeated(services["as"].target("as"), request, callers=1, timeout=0.5))
        time.sleep(10)


@contextlib.contextmanager
def traffic(target: str, user_ids: Sequence[str]) -> Iterator[None]:
    """Send different requests to `as` at random times during the block."""
    stop = threading.Event()

    def call_repeatedly(seed: int, channel: grpc.Channel) -> None:
        chance, call = random.Random(seed), AS.on(channel)
        while not stop.wait(chance.expovariate(1 / _PAUSE_SECONDS)):
            known = chance.random() < _KNOWN_SHARE
            request = ASRequest(user_id=chance.choice(user_ids) if known else "unheard of")
            if chance.random() < _NEW_SHARE:
                request = ASRequest(user_info=UserInfo(age=chance.choice(("1.0", "2.0", "unheard of")), sex="0.0"))
            metadata = ((PRIORITY, BATCH),) if chance.random() < _BATCH_SHARE else ()
            with contextlib.suppress(grpc.RpcError):
                call(request, timeout=chance.choice(_TIMEOUTS), metadata=metadata)

    with grpc.insecure_channel(target) as channel, ThreadPoolExecutor(_CALLERS) as threads:
        for seed in range(_CALLERS):
            threads.submit(call_repeatedly, seed, channel)
        try:
            yield
        finally:
            stop.set()


if __name__ == "__main__":
    main()
