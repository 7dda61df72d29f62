"""`python -m charts.observability.pictures`: draw the dashboards from a running Prometheus.

Grafana's server is not needed: its libraries @grafana/data and @grafana/ui, which are under the Apache license, read
the dashboards in charts/recmesh/dashboards, transform the answers of Prometheus and draw lines, numbers and tables in a
headless browser. Only bar charts are drawn by page.tsx itself, since these libraries have none.

The first run downloads the libraries with npm, to .venv/share.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Error, sync_playwright

from charts.observability.__main__ import CHART
from charts.observability.dashboards import ALL
from charts.observability.pictures import schema
from recmesh.errors import RecmeshError, SettingsError

IMAGES = CHART.parent.parent / "docs" / "images"

_SOURCES = Path(__file__).resolve().parent
_BUILD = Path(sys.prefix) / "share" / "dashboard-pictures"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_WIDTH = 1200
_COLOURS = 256


def draw(prometheus: str, folder: Path, seconds: int, service: str) -> dict[str, list[str]]:
    """Draw all dashboards.

    Args:
        prometheus: URL of the Prometheus.
        folder: Where to write `dashboard-<name>.png`.
        seconds: The time range, which ends at most a minute ago.
        service: The service that the dashboard Service shows.

    Returns:
        The titles of the panels without data, by dashboard.

    Raises:
        SettingsError: npm or a browser is missing.
        RecmeshError: The libraries cannot be downloaded, or a dashboard breaks Grafana's schema or cannot be drawn.
    """
    page = _built()
    browser_path = _found(_BROWSERS, "apt install chromium")
    with sync_playwright() as playwright:
        # The page is a file of ours and needs no sandbox, which root does not have.
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        variables = {"namespace": ".*", "service": service}
        # Half a minute is no place for a label of the axis, which would be cut off at the end.
        end = int(time.time() - 30) // 60 * 60 + 30
        arguments = (prometheus.rstrip("/"), end, seconds, variables, _WIDTH)
        return {name: _draw(browser, page, name, folder / f"dashboard-{name}.png", arguments) for name in ALL}


def _draw(browser: Browser, page: Path, name: str, into: Path, arguments: Sequence[object]) -> list[str]:
    """Draw a dashboard. Returns the titles of the panels without data."""
    dashboard = json.loads(_source(name).read_text())
    with browser.new_page(viewport={"width": _WIDTH, "height": 800}) as tab:
        tab.goto(page.as_uri())
        try:
            empty: list[str] = tab.evaluate("(all) => window.draw(...all)", [dashboard, *arguments])
        except Error as error:
            reason = error.message.splitlines()[0]
            raise RecmeshError(f"dashboard {name}: {reason}: does {arguments[0]} answer?") from error
        picture = tab.locator("#page").screenshot()
    Image.open(io.BytesIO(picture)).quantize(_COLOURS, dither=Image.Dither.NONE).save(into, optimize=True)
    return empty


def _source(name: str) -> Path:
    return CHART / "dashboards" / f"{name}.json"


def _built() -> Path:
    """The page that draws, built with the libraries. Downloads them if their versions have changed.

    The dashboards must have the types of Grafana's schema.
    """
    npm = _found(("npm",), "install Node.js 20 or newer")
    _BUILD.mkdir(parents=True, exist_ok=True)
    wanted, installed = (_SOURCES / "package.json").read_text(), _BUILD / "installed.json"
    for source in _SOURCES.glob("*.[jth][st]*"):
        shutil.copy(source, _BUILD)
    if not installed.exists() or installed.read_text() != wanted:
        # Their peers are for whole applications, and their scripts only print messages.
        _run(npm, "install", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund", "--no-package-lock")
        installed.write_text(wanted)
    schema.write(_BUILD, [_source(name) for name in ALL])
    _run(npm, "exec", "--", *schema.COMPILE)
    _run(npm, "run", "build")
    return _BUILD / "index.html"


def _run(*command: str) -> None:
    ended = subprocess.run(command, cwd=_BUILD, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RecmeshError(f"{' '.join(command[1:3])}: {(ended.stdout or ended.stderr).strip()[:1000]}")


def _found(programs: Sequence[str], advice: str) -> str:
    for name in programs:
        if path := shutil.which(name):
            return path
    raise SettingsError(f"{programs[0]} is missing: {advice}")


def main() -> int:
    """Run the command line; return the exit code: 1 if a panel has no data."""
    parser = argparse.ArgumentParser(prog="python -m charts.observability.pictures", description="Draw the dashboards.")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", help="URL of Prometheus (make observe)")
    parser.add_argument("--into", type=Path, default=IMAGES, help="folder for the pictures")
    parser.add_argument("--minutes", type=int, default=5, help="the time range")
    parser.add_argument("--service", default="rank", help="what the dashboard Service shows")
    options = parser.parse_args()
    try:
        empty = draw(options.prometheus, options.into, options.minutes * 60, options.service)
    except RecmeshError as error:
        print(f"recmesh: {error}", file=sys.stderr)
        return error.exit_code
    for name, titles in empty.items():
        for title in titles:
            print(f"{name}: {title}: no data", file=sys.stderr)
    return 1 if any(empty.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
