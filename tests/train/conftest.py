"""Small data sets, and trainings on them as separate processes in the training environment."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recmesh.dataset import read
from recmesh.evaluation.split import split
from recmesh.releases import ModelStore
from tests.servers import ROOT
from tests.shop import TRAINING_PYTHON

DAY_NAMES = [f"2024-01-{day:02}" for day in range(1, 29)]


@dataclass(frozen=True)
class Run:
    """A finished training: exit code, standard output, standard error, and the model store."""

    code: int
    output: str
    errors: str
    store: ModelStore

    @property
    def release(self) -> str:
        """The id on the last line of the output."""
        word, release = self.output.splitlines()[-1].split()
        assert word == "release"
        return release


def train(dataset: Path, store: Path, *options: str) -> Run:
    """Run `python -m jobs.train`."""
    command = [str(TRAINING_PYTHON), "-m", "jobs.train", "--dataset", str(dataset), "--store", str(store)]
    work = ["--work", str(store.parent / f"{store.name}-work")]
    done = subprocess.run([*command, *work, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    return Run(done.returncode, done.stdout, done.stderr, ModelStore(str(store)))


def inside(code: str, *arguments: str) -> Any:
    """Run code in the training environment, and parse the last line of its output as JSON.

    The code runs from a file, because Paddle reads the source of models.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(code)
        command = [str(TRAINING_PYTHON), str(script), *arguments]
        # The computations are so small that threads would make them slower.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write(folder: Path, actions: Sequence[tuple[str, str, str]], users: int, items: int, fields: bool = True) -> Path:
    """Write a data set of orders (user number, item number, day) as CSV files with a schema.

    Args:
        folder: The folder to create.
        actions: The orders.
        users: Number of users.
        items: Number of items.
        fields: Whether users and items have a field.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    user_field, item_field = ("{age: {kind: categorical}}", "{cate: {kind: categorical}}") if fields else ("{}", "{}")
    (folder / "schema.yaml").write_text(
        f"user: {{id: user_id, fields: {user_field}}}\nitem: {{id: sku_id, fields: {item_field}}}\n"
        "action: {user: user_id, item: sku_id, time: at, type: type, weights: {order: 1}}\n"
    )
    _table(folder / "users.csv", "user_id", "age", users, 3, fields)
    _table(folder / "products.csv", "sku_id", "cate", items, 5, fields)
    rows = [f"{user},{item},{day},order" for user, item, day in actions]
    (folder / "actions.csv").write_text("\n".join(["user_id,sku_id,at,type", *rows]) + "\n")
    return folder


def orders(users: int, items: int, each: int, seed: int = 3) -> list[tuple[str, str, str]]:
    """Draw `each` random orders for every user over four weeks, from the items that match the user's taste."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        days = np.sort(rng.integers(len(DAY_NAMES), size=each))
        for day in days:
            item = (user % 5 + 5 * int(rng.integers(items // 5))) % items
            rows.append((str(user), str(item), DAY_NAMES[day]))
    return rows


def _table(path: Path, key: str, field: str, count: int, values: int, fields: bool) -> None:
    header = f"{key},{field}" if fields else key
    rows = [f"{number},{number % values}" if fields else f"{number}" for number in range(count)]
    path.write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture(scope="session")
def shop_data(training_folder: Path) -> Path:
    """A generated shop whose preferences are known."""
    return training_folder / "data"


@pytest.fixture(scope="session")
def trained(training_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The shop, trained once for all tests."""
    store = shutil.copytree(training_folder / "store", tmp_path_factory.mktemp("trained") / "store")
    return Run(0, (training_folder / "output").read_text(), "", ModelStore(str(store)))


@pytest.fixture(scope="session")
def retrained(shop_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same training with a store whose active release was trained on the first two thirds of the time span.

    The earlier release has seen 120 of the 300 users only, which makes its training short.
    """
    folder = tmp_path_factory.mktemp("retrained")
    split(read(shop_data), folder / "cut", seed=1)
    data = read(folder / "cut" / "train")
    users = data.users["user_id"].head(120).to_list()
    actions = data.actions.filter(pl.col("user_id").is_in(users))
    split(replace(data, users=data.users.head(120), actions=actions), folder / "earlier", seed=1)
    older = train(folder / "earlier" / "train", folder / "store")
    assert older.code == 0, older.errors
    older.store.activate(older.release)
    run = train(shop_data, folder / "store")
    assert run.code == 0, run.errors
    return run


@pytest.fixture(scope="session")
def release(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the release of `trained`."""
    return trained.store.fetch(trained.release, tmp_path_factory.mktemp("fetched"))
