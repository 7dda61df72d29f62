"""Reads the pages of metrics ports."""

import os
import re
import time
import urllib.error
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import TypeAlias
from urllib.request import Request

from prometheus_client.parser import text_string_to_metric_families

from recmesh.bearer import Token, check_private
from recmesh.client import Targets
from recmesh.contract import PORTS, metrics_address
from recmesh.errors import SettingsError
from recmesh.tls import TlsFiles, url_opener

Labels: TypeAlias = frozenset[tuple[str, str]]
Samples: TypeAlias = Mapping[str, Mapping[Labels, float]]
"""Values by the name of the metric and the labels of the series."""

PROCESS_START = "process_start_time_seconds"

_TIMEOUT_SECONDS = 2.0
_TARGET = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s:/\[\]@]+):(\d{1,5})")
_MAX_PORT = 65_535


@dataclass(frozen=True)
class Target:
    """A metrics port.

    Attributes:
        address: `host:port`.
        service: The service that is expected there; empty if the user named the target. A target with a service is
            not missed while another one answers for the service, as the only process of the compact mode does.
    """

    address: str
    service: str = ""


@dataclass(frozen=True)
class Page:
    """What a process has counted so far.

    Attributes:
        seconds: Monotonic time at which it was read.
        samples: The metrics of recmesh, and the start time of the process.
    """

    seconds: float
    samples: Samples


@dataclass(frozen=True)
class Scrape:
    """The outcome of reading a target.

    Attributes:
        target: What was read.
        page: None if it could not be read.
        error: Why not.
    """

    target: Target
    page: Page | None
    error: str = ""


def named_targets(texts: Iterable[str]) -> list[Target]:
    """The targets that a user has named.

    Args:
        texts: Each holds one or more of `host:port`, separated by commas.

    Raises:
        SettingsError: One of them has another form.
    """
    # A process that is named twice counts once.
    addresses = dict.fromkeys(part.strip() for text in texts for part in text.split(",") if part.strip())
    for name in addresses:
        match = _TARGET.fullmatch(name)
        if match is None or not 1 <= int(match[2]) <= _MAX_PORT:
            raise SettingsError(f"target {name!r}: give HOST:PORT of a metrics port, such as 127.0.0.1:18930")
    return [Target(name) for name in addresses]


def default_targets(environment: Mapping[str, str] | None = None) -> list[Target]:
    """The metrics ports of the five services at the places where the client calls them.

    Args:
        environment: The variables; None means `os.environ`. If it has RECMESH_METRICS_PORT, the port of the compact
            mode, this port at the host of `as` comes first.

    Raises:
        SettingsError: The target of a service is not `host:port`.
    """
    env = os.environ if environment is None else environment
    targets = Targets.from_environment(env)
    try:
        services = [Target(metrics_address(targets[service]), service) for service in PORTS]
        if port := env.get("RECMESH_METRICS_PORT"):
            host = metrics_address(targets["as"]).rpartition(":")[0]
            return [Target(f"{host}:{int(port)}", "as"), *services]
    except ValueError as error:
        raise SettingsError(f"no metrics ports: {error}: name them with --target HOST:PORT") from None
    return services


def parse(text: str) -> Samples:
    """Read a page in Prometheus' text format.

    Raises:
        ValueError: It is no such page, or not one of recmesh.
    """
    samples: dict[str, dict[Labels, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("recmesh_") or sample.name == PROCESS_START:
                samples[sample.name][frozenset(sample.labels.items())] = sample.value
    if not samples.keys() - {PROCESS_START}:
        raise ValueError("no metrics of recmesh")
    return dict(samples)


class Scraper:
    """Reads several targets at the same time."""

    def __init__(self, targets: Sequence[Target], tls: TlsFiles | None = None, token: Token | None = None) -> None:
        """Read these targets.

        Args:
            targets: At least one.
            tls: Files for TLS; None means plain text.
            token: Returns the bearer token of a request.

        Raises:
            SettingsError: A file cannot be used, or the token would be sent in plain text.
        """
        if token is not None:
            for target in targets:
                check_private(target.address, encrypted=tls is not None)
        self._token = token
        self._targets = targets
        self._threads = ThreadPoolExecutor(len(targets))
        self._scheme = "https" if tls else "http"
        self._opener = url_opener(tls)

    def scrape(self) -> list[Scrape]:
        """Read each target once; those that do not answer within 2 seconds are given up. Keeps the order."""
        return list(self._threads.map(self._scrape, self._targets))

    def _scrape(self, target: Target) -> Scrape:
        url = f"{self._scheme}://{target.address}/metrics"
        try:
            headers = {"authorization": f"Bearer {self._token()}"} if self._token else {}
            with self._opener.open(Request(url, headers=headers), timeout=_TIMEOUT_SECONDS) as answer:
                text = answer.read().decode()
            return Scrape(target, Page(time.monotonic(), parse(text)))
        except urllib.error.HTTPError as error:
            return Scrape(target, None, f"HTTP status {error.code}")
        except urllib.error.URLError as error:
            return Scrape(target, None, _reason(error.reason))
        except ValueError:
            return Scrape(target, None, "no page with metrics of recmesh")
        except (OSError, HTTPException) as error:
            return Scrape(target, None, _reason(error))


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.splitlines()[0].lower()
