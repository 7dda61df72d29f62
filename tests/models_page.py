"""The steps of docs/models.md up to the import, executed literally, for several tests."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from os import environ
from pathlib import Path

import yaml

from tests.servers import ROOT
from tests.shop import Shop
from tests.train import elsewhere
from tests.train.elsewhere import Trained

USER = "5000"
"""The user in the examples of the page."""


@dataclass(frozen=True)
class Page:
    """The state after the steps up to the import.

    Attributes:
        folder: Working directory of the commands.
        shop: The trained shop, with a separate store that contains `release`.
        commands: Remaining commands of the page.
        release: The imported release.
        said: Output of the import.
        deepfm: The model of the page.
        dssm: A pair of towers, trained in addition.
    """

    folder: Path
    shop: Shop
    commands: tuple[str, ...]
    release: str
    said: str
    deepfm: Trained
    dssm: Trained


def open_page(folder: Path, shop: Shop) -> Page:
    """Train the model of the page, write its mapping and run its first command."""
    page = (ROOT / "docs" / "models.md").read_text().replace("python3.11", elsewhere.HASH)
    config, mapping, *_ = _blocks(page, "yaml")
    first, *commands = _blocks(page, "sh")[0].splitlines()
    own = _with_own_store(folder, shop)
    place = folder / "deepfm"
    sides = [*(("user", user_id) for user_id in own.user_ids[:1]), *(("item", sku_id) for sku_id in own.sku_ids)]
    made = elsewhere.trained(
        folder,
        shop.folder / "data",
        {
            place.name: (
                yaml.safe_load(config) | {"model": "deepfm", "mode": "static"},
                [(USER, item) for item in own.sku_ids],
            ),
            "dssm": (elsewhere.dssm_config(), sides),
        },
    )
    (place / mapping.splitlines()[0].removeprefix("# ")).write_text(mapping)
    (place / "shop").symlink_to(shop.folder / "data")
    said = follow(first, place, own)
    release = said.splitlines()[-1].removeprefix("release ")
    left = tuple(command.replace("RELEASE", release) for command in commands)
    return Page(place, own, left, release, said, made["deepfm"], made["dssm"])


def follow(command: str, folder: Path, shop: Shop, **environment: str) -> str:
    """Run a command of the page in a folder. Returns its output."""
    name, *words = shlex.split(command)
    if name == "recmesh":
        words = ["-m", "recmesh", *words]
    words = [str(ROOT / word) if word == "client.py" else word for word in words]
    ended = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**environ, **shop.environment, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr[-3000:]}"
    return ended.stdout


def _with_own_store(folder: Path, shop: Shop) -> Shop:
    """A copy of the shop whose store contains only the active release."""
    own, active = replace(shop, folder=folder / "own"), str(shop.store.active())
    own.folder.mkdir()
    (own.folder / "data").symlink_to(shop.folder / "data")
    shop.store.fetch(active, own.folder / "base")
    own.store.put(own.folder / "base" / active)
    own.store.activate(active, ())
    return own


def _blocks(page: str, language: str) -> list[str]:
    """The fenced code blocks in a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
