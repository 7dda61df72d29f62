"""`make observe`: Prometheus beside a running mesh, with the alerts of the chart."""

import contextlib
import hashlib
import urllib.error
from collections.abc import Collection
from pathlib import Path

import yaml
from rich.console import Console

from local import health, ports, programs
from local.prometheus import assets, program
from local.settings import PROMETHEUS, ROOT, LocalSettings
from local.supervisor import Supervisor
from recmesh.contract import address
from recmesh.errors import SettingsError

ALERTS = ROOT / "charts" / "recmesh" / "alerts.yaml"

_INTERVAL = "5s"
_KEPT = "15d"
_SECONDS = 60.0


def observe(settings: LocalSettings, console: Console) -> None:
    """Run Prometheus under the process manager of the mesh, which `make down` stops.

    Raises:
        SettingsError: No service runs, the port is taken, or Prometheus cannot be fetched.
    """
    supervisor = Supervisor(settings)
    running = {state.name for state in supervisor.states()}
    scraped = sorted(running - {*programs.STORES, PROMETHEUS})
    if not scraped:
        raise SettingsError("nothing is running; start the mesh with make up")
    if PROMETHEUS not in running and not ports.is_free(settings.prometheus_port):
        taken = f"port {settings.prometheus_port} for Prometheus is taken"
        raise SettingsError(f"{taken}: stop that process, or set RECMESH_PROMETHEUS_PORT")
    supervisor.ensure([_program(settings, scraped)])
    checks = {"Prometheus": (PROMETHEUS, lambda: _ready(url(settings)))}
    health.wait(supervisor, checks, _SECONDS, lambda line: console.print(line, highlight=False))
    console.print(f"{url(settings)}/alerts has the alerts, {url(settings)}/graph everything else", soft_wrap=True)


def url(settings: LocalSettings) -> str:
    """Where Prometheus listens."""
    return f"http://127.0.0.1:{settings.prometheus_port}"


def configuration(
    targets: Collection[str], interval: str = _INTERVAL, rules: Path = ALERTS, tls: Path | None = None
) -> str:
    """The configuration of a Prometheus.

    Args:
        targets: What to scrape: `host:port`.
        interval: Time between scrapes, and between evaluations of the rules.
        rules: File of the alerts.
        tls: Folder with the certificate to show; None for plain connections. Prometheus reads it again when it changes.
    """
    files = {"ca_file": "ca.crt", "cert_file": "tls.crt", "key_file": "tls.key"}
    encryption = (
        {
            "scheme": "https",
            "tls_config": {name: str(tls / file) for name, file in files.items()},
        }
        if tls
        else {}
    )
    job = {"job_name": "recmesh", "static_configs": [{"targets": sorted(targets)}], **encryption}
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(rules)],
            "scrape_configs": [job],
        }
    )


def command(configured: Path, data: Path, port: int) -> list[str]:
    """The command line of a Prometheus on loopback."""
    binary = program("prometheus")
    pages = assets(binary)
    return [
        str(binary),
        f"--config.file={configured}",
        f"--storage.tsdb.path={data}",
        f"--storage.tsdb.retention.time={_KEPT}",
        f"--web.listen-address=127.0.0.1:{port}",
        *([f"--web.local-assets={pages}"] if pages else []),
    ]


def _program(settings: LocalSettings, scraped: Collection[str]) -> programs.Program:
    folder = settings.folder / PROMETHEUS
    folder.mkdir(exist_ok=True)
    places = [address(settings.reachable_host, settings.metrics(name)) for name in scraped]
    content = configuration(places, tls=settings.secrets / PROMETHEUS if settings.tls else None)
    path = folder / "prometheus.yaml"
    path.write_text(content)
    # Prometheus reads the files only at its start: another hash makes the process manager start it again.
    digest = hashlib.sha256(content.encode() + ALERTS.read_bytes()).hexdigest()
    return programs.Program(
        PROMETHEUS,
        command(path, folder / "data", settings.prometheus_port),
        settings.logs / f"{PROMETHEUS}.log",
        {PROMETHEUS: settings.prometheus_port},
        {"RECMESH_HOME": str(settings.folder), "RECMESH_CONFIGURATION": digest},
    )


def _ready(base: str) -> bool:
    with contextlib.suppress(OSError, urllib.error.URLError), ports.direct.open(f"{base}/-/ready", timeout=2) as answer:
        return bool(answer.status == 200)
    return False
