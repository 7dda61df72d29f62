"""`python -m tests.training_digest`: record that the training code of today gives the results of TRAINING_VERSION.

Run it after a change of the training code that changes no result, or after raising TRAINING_VERSION
(recmesh/releases/versions.py). The unit test of the training version compares the record with the code.
"""

from recmesh.releases.versions import TRAINING_VERSION, training_digest
from tests.servers import ROOT

RECORD = ROOT / "tests" / "unit" / "releases" / "training_digest.txt"


def current() -> str:
    """Return the line that the record must hold."""
    return f"TRAINING_VERSION {TRAINING_VERSION}, digest {training_digest()}\n"


if __name__ == "__main__":
    RECORD.write_text(current())
    print(f"{RECORD.relative_to(ROOT)}: {current()}", end="")
