"""The explorer in a browser: headless Chromium, driven as a person would, in front of the trained shop."""

import contextlib
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from local.ports import free_ports
from recmesh.client import Targets
from recmesh.contract import ServiceName
from tests.processes import NAMES, Service, port_variables
from tests.servers import Server, spawn, wait_until
from tests.shop import Shop

TWIN = "twin-of-the-active-release"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Ends a hang; Playwright's 5 seconds would be a limit for tests that share two cores.
_HANG_MS = 120_000
# Chromium's own calls home, which a closed network refuses.
_OPTIONS = ("--disable-background-networking", "--disable-component-update", "--disable-gpu", "--disable-sync")


@dataclass
class Explorer(Server):
    """A running `recmesh explore`."""

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether it has read the catalogue."""
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"{self.url}/items") as page:
            return "Reading the catalogue" not in page.read().decode()
        return False


@contextlib.contextmanager
def running_explorer(environment: Mapping[str, str], *, ready: bool = True) -> Iterator[Explorer]:
    """Run the explorer during the block; if `ready`, from when it has read the catalogue."""
    with TemporaryDirectory(prefix="recmesh-explorer-") as folder:
        log, (port,) = Path(folder) / "explorer.log", free_ports(1)
        command = [sys.executable, "-m", "recmesh", "explore", "--port", str(port)]
        explorer = Explorer(spawn(command, log, {**environment, "RECMESH_HOME": folder}), log, {"main": port})
        try:
            wait_until(lambda: explorer.answers() if ready else "explorer: " in log.read_text(), explorer, "explorer")
            yield explorer
        finally:
            explorer.stop()


@pytest.fixture(scope="module")
def targets(compact: Service) -> Targets:
    """The services of the shop."""
    services: tuple[ServiceName, ...] = ("um", "cm", "recall", "rank", "as")
    return Targets({name: compact.target(name) for name in services})


@pytest.fixture(scope="module")
def store(trained_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model store with a second release, equal to the active one."""
    copied = tmp_path_factory.mktemp("explorer") / "store"
    shutil.copytree(trained_shop.folder / "store", copied)
    active = trained_shop.store.active()
    assert active
    twin = copied / "releases" / TWIN
    shutil.copytree(copied / "releases" / active, twin)
    manifest = twin / "manifest.json"
    manifest.write_text(manifest.read_text().replace(active, TWIN))
    return copied


@pytest.fixture(scope="module")
def explorer(compact: Service, store: Path) -> Iterator[Explorer]:
    """The explorer of the shop."""
    ports = {name: compact.ports[name] for name in NAMES}
    with running_explorer({**port_variables(ports), "RECMESH_MODEL_STORE": str(store)}) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    path = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    assert path, f"no browser: install one of {', '.join(_BROWSERS)} (apt install chromium)"
    with sync_playwright() as playwright:
        # As root, which CI is, Chromium has no sandbox.
        options = [*_OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        started = playwright.chromium.launch(executable_path=path, args=options)
        expect.set_options(timeout=_HANG_MS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a browser of its own, which must ask no other origin and report no fault of the page."""
    context = browser.new_context()
    context.set_default_timeout(_HANG_MS)
    opened, origins, faults = context.new_page(), set[str](), list[str]()
    opened.on("request", lambda request: origins.add(request.url.split("/")[2]))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "Policy" in message.text else None)
    yield opened
    assert {origin.partition(":")[0] for origin in origins} == {"127.0.0.1"}
    assert faults == []
    context.close()
