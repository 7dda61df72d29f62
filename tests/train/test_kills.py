"""Trainings that are killed at random points: the next one leaves what an undisturbed one leaves.

Points are lines of the progress, and changes of files: of the model store, of the work folder and of temporary files.
Meanwhile a reader of the model store sees complete releases only.
"""

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from recmesh.evaluation.report import METRICS_FILE, PAGE_FILE
from recmesh.releases import ModelStore
from recmesh.releases.manifest import MANIFEST, verify_folder
from tests.kills import Point, changes, command, files, points
from tests.servers import ROOT
from tests.shop import TRAINING_PYTHON
from tests.train.conftest import DAY_NAMES, orders, write

MAX_KILLS_IN_A_ROW = 5
USERS, ITEMS, DAYS = 60, 30, 6


class Trainings:
    """Trainings on one data set, which share a model store, a work folder and a folder for temporary files."""

    def __init__(self, root: Path, data: Path) -> None:
        self._root, self._data = root, data
        self.store = ModelStore(str(root / "store"))

    def reset(self) -> None:
        """Begin again without a release."""
        shutil.rmtree(self._root, ignore_errors=True)
        (self._root / "temporary").mkdir(parents=True)

    def train(self, point: Point | None = None) -> Mapping[str, int] | None:
        """Train to the end, or to a point where the training is killed.

        Returns:
            The number of events by kind; None if the training was killed.
        """
        where = ["--dataset", str(self._data), "--store", self.store.url, "--work", str(self._root / "work")]
        process = subprocess.Popen(
            command(str(TRAINING_PYTHON), self._root, point, "jobs.train", *where),
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(self._root / "temporary")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        lines = []
        with process.stderr as errors:
            for line in errors:
                lines.append(line)
                if point == Point("lines", len(lines)):
                    process.kill()
        code, output = process.wait(), "".join(lines)
        assert code in ((0, -9) if point else (0,)), output
        return None if code else {"lines": len(lines) - 1, **changes(output)}

    def state(self) -> dict[str, object]:
        """All files, except what differs from run to run: times and memory, in the manifest and in the report."""
        found: dict[str, object] = {**files(self._root)}
        found.pop("temporary/.ses", None)  # ONNX Runtime's, the same file for all processes
        for release in self.store.list():
            folder = f"store/releases/{release.id}"
            found.pop(f"{folder}/{PAGE_FILE}")
            report = json.loads((self._root / folder / METRICS_FILE).read_text())
            del report["cost"], report["facts"]["trained"]
            found[f"{folder}/{METRICS_FILE}"] = report
            names = set(release.files) - {METRICS_FILE, PAGE_FILE}
            found[f"{folder}/{MANIFEST}"] = {
                **release.model_dump(exclude={"created": True, "files": True, "training": {"seconds"}}),
                "files": {name: release.files[name] for name in names},
            }
        return found

    @contextlib.contextmanager
    def reader(self) -> Iterator[None]:
        """List the model store and check every release there, over and over during the block."""
        ended, failures = threading.Event(), list[Exception]()

        def read() -> None:
            try:
                while not ended.wait(0.01):
                    for manifest in self.store.list():
                        verify_folder(self._root / "store" / "releases" / manifest.id, manifest)
            except Exception as error:  # noqa: BLE001 - the block raises it
                failures.append(error)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        assert not failures


@dataclass(frozen=True)
class Undisturbed:
    """A training that was not killed: the number of its events by kind, and what it left."""

    events: Mapping[str, int]
    state: Mapping[str, object]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    """Trainings on orders of a few days, which make few windows."""
    root = tmp_path_factory.mktemp("kills")
    rows = [(user, item, DAY_NAMES[DAY_NAMES.index(day) % DAYS]) for user, item, day in orders(USERS, ITEMS, 8)]
    return Trainings(root / "killed", write(root / "data", rows, USERS, ITEMS))


@pytest.fixture(scope="module")
def undisturbed(trainings: Trainings) -> Undisturbed:
    trainings.reset()
    events = trainings.train()
    assert events
    return Undisturbed(events, trainings.state())


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("seed", "kills"), [(1, 2), pytest.param(2, 50, marks=pytest.mark.long)])
def test_a_training_killed_at_random_points_ends_as_an_undisturbed_one(
    seed: int, kills: int, trainings: Trainings, undisturbed: Undisturbed
) -> None:
    random_points = points(undisturbed.events, seed)
    done = 0
    while done < kills:
        trainings.reset()
        row: list[Point] = []
        ended = False
        with trainings.reader():
            while not ended and len(row) < min(MAX_KILLS_IN_A_ROW, kills - done):
                row.append(next(random_points))
                ended = trainings.train(row[-1]) is not None
            trainings.train()
        done += len(row) - ended
        found = trainings.state()
        different = sorted(
            name for name in found.keys() | undisturbed.state.keys() if found.get(name) != undisturbed.state.get(name)
        )
        assert not different, f"seed {seed}, killed at {row} of {undisturbed.events}: {different[:20]}"
