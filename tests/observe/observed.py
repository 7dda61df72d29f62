"""What alerts say when they fire, for docs/observability.md: a JSON object in each line of a file.

The file is the one that RECMESH_OBSERVED names; without it, nothing is recorded.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FILE = "RECMESH_OBSERVED"


class Observed(NamedTuple):
    """An alert that has fired.

    Attributes:
        alert: Its name.
        test: Name of the test that made the fault.
        description: What the alert said.
    """

    alert: str
    test: str
    description: str


def record(alert: str, description: str) -> None:
    """Record an alert that has fired in the running test."""
    if path := os.environ.get(FILE):
        test = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].partition(" ")[0]
        with Path(path).open("a") as file:
            file.write(json.dumps(Observed(alert, test, description)._asdict()) + "\n")


def recorded(path: Path) -> Iterator[Observed]:
    """The alerts of a file."""
    for line in path.read_text().splitlines():
        yield Observed(**json.loads(line))
