"""A real Prometheus and Alertmanager for tests, with short windows: seconds stand for minutes and hours."""

import contextlib
import json
import re
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from local.observe import ALERTS, command, configuration
from local.ports import direct, free_ports
from local.prometheus import program, root
from tests.servers import Server, spawn, wait_until

INTERVAL = "1s"
# Prometheus needs two samples in a window: with one in each second, four seconds always have them.
_WINDOWS = {
    "2m": "5s",
    "5m": "5s",
    "10m": "5s",
    "15m": "20s",
    "30m": "8s",
    "1h": "10s",
    "6h": "15s",
    "1d": "10m",
    "3d": "20s",
}
_WINDOW = re.compile(r"\[(\w+)\]")


def shortened(expression: str) -> str:
    """The expression of an alert, with its windows in seconds."""
    return _WINDOW.sub(lambda match: f"[{_WINDOWS[match[1]]}]", expression)


def short_rules() -> str:
    """The rule file with short windows, whose alerts fire as soon as their expressions hold."""
    rules = yaml.safe_load(ALERTS.read_text())
    for rule in rules["groups"][0]["rules"]:
        rule |= {"expr": shortened(rule["expr"]), "for": "0s"}
    return yaml.safe_dump(rules)


class Prometheus(Server):
    """A running Prometheus."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression returns now.

        Raises:
            urllib.error.HTTPError: Prometheus cannot evaluate the expression.
        """
        answer = _get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series


class Alertmanager(Server):
    """A running Alertmanager."""

    def alerts(self) -> set[str]:
        """Names of the alerts that it would notify somebody of."""
        return {alert["labels"]["alertname"] for alert in self.described()}

    def described(self) -> list[dict[str, Any]]:
        """The same with all labels and annotations."""
        found: list[dict[str, Any]] = _get(f"http://127.0.0.1:{self.port}/api/v2/alerts?active=true")
        return found


@contextlib.contextmanager
def running_prometheus(targets: Collection[str], rules: str = "", alertmanager: int = 0) -> Iterator[Prometheus]:
    """Scrape targets during the block.

    Args:
        targets: `host:port`, each of which must answer.
        rules: Content of the rule file. Empty: that of the chart.
        alertmanager: Port of an Alertmanager that gets the alerts.
    """
    with tempfile.TemporaryDirectory(prefix="recmesh-prometheus-") as name:
        folder, (port,) = Path(name), free_ports(1)
        (folder / "rules.yaml").write_text(rules or ALERTS.read_text())
        content = yaml.safe_load(configuration(targets, INTERVAL, folder / "rules.yaml"))
        if alertmanager:
            managers = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
            content["alerting"] = {"alertmanagers": managers}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(content))
        log = folder / "log"
        # The next resolved alert is sent after a minute, unless it is told otherwise.
        words = [*command(folder / "prometheus.yaml", folder / "data", port), "--rules.alert.resend-delay=1s"]
        server = Prometheus(spawn(words, log), log, {"main": port})
        with _stopped(server):
            wait_until(lambda: _healthy(server, targets), server, "Prometheus")
            yield server


@contextlib.contextmanager
def running_alertmanager() -> Iterator[Alertmanager]:
    """Run an Alertmanager that notifies nobody during the block."""
    with tempfile.TemporaryDirectory(prefix="recmesh-alertmanager-") as name:
        folder, (port,) = Path(name), free_ports(1)
        (folder / "alertmanager.yaml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        words = [
            *("/usr/bin/env", f"--chdir={root('prometheus-alertmanager')}"),
            str(program("prometheus-alertmanager")),
            f"--config.file={folder / 'alertmanager.yaml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        log = folder / "log"
        server = Alertmanager(spawn(words, log), log, {"main": port})
        with _stopped(server):
            wait_until(lambda: _answers(lambda: server.alerts() == set()), server, "Alertmanager")
            yield server


def eventually(holds: Callable[[], bool], what: Callable[[], object], seconds: float = 120) -> None:
    """Poll until something holds; fail with `what` after a generous time."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, what()
        time.sleep(0.2)


@contextlib.contextmanager
def _stopped(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        server.kill()


def _healthy(server: Prometheus, targets: Collection[str]) -> bool:
    return _answers(lambda: len(server.query("up == 1")) == len(targets))


def _answers(holds: Callable[[], bool]) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return holds()
    return False


def _get(url: str) -> Any:
    with direct.open(url, timeout=10) as answer:
        return json.load(answer)
