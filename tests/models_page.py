"""docs/models.md, followed to the letter as far as its import: what several tests look at."""

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
"""Whom the page asks for."""


@dataclass(frozen=True)
class Page:
    """The page's place: its model is trained and imported there, `commands` are those that are left.

    shop: the trained shop with a store of its own, which `release` is in. said: by the import. dssm: towers beside it.
    """

    folder: Path
    shop: Shop
    commands: tuple[str, ...]
    release: str
    said: str
    deepfm: Trained
    dssm: Trained


def open_page(folder: Path, shop: Shop) -> Page:
    """Train what the page's config says, write its mapping, run its first command."""
    page = (ROOT / "docs" / "models.md").read_text().replace("python3.11", elsewhere.HASH)
    config, mapping, *_ = _blocks(page, "yaml")
    first, *commands = _blocks(page, "sh")[0].splitlines()
    own = _with_own_store(folder, shop)
    place = folder / "deepfm"
    sides = [*(("user", one) for one in own.user_ids[:1]), *(("item", one) for one in own.sku_ids)]
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
    """Run a command of the page in a folder; what it printed."""
    name, *words = shlex.split(command)
    if name == "recmesh":
        words = ["-m", "recmesh", *words]
    words = [str(ROOT / word) if word == "client.py" else word for word in words]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**environ, **shop.environment, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr[-3000:]}"
    return done.stdout


def _with_own_store(folder: Path, shop: Shop) -> Shop:
    """The shop with a copy of its active release as the only one."""
    own, active = replace(shop, folder=folder / "own"), str(shop.store.active())
    own.folder.mkdir()
    (own.folder / "data").symlink_to(shop.folder / "data")
    shop.store.fetch(active, own.folder / "base")
    own.store.put(own.folder / "base" / active)
    own.store.activate(active, ())
    return own


def _blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
