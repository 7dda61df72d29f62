"""`python -m local.protos`: generate recmesh/pb and the descriptions of the HTTP ports from protos/.

It also renews the baseline of the breaking-change check.

Generated code requires a protobuf runtime, and a grpcio, at least as new as the compiler. Applications that import
recmesh.client pin both for reasons of their own, so the compiler is an old one, which sets no minimum. It cannot share
.venv with the protobuf of the services; it lies in a folder of its own there.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from local import openapi
from local.environments import ROOT

PROTOS = ROOT / "protos"
BASELINE = PROTOS / "baseline.txtpb"
"""An image of protos/ as of the last generation, which `buf breaking` compares with the current files."""

_REQUIREMENTS = ROOT / "requirements" / "protoc.txt"


def compile_protos(protos: Path, into: Path, kinds: Sequence[str] = ("python", "pyi", "grpc_python")) -> None:
    """Generate Python code for every .proto file under a folder, which is also the root of their import paths.

    Raises:
        subprocess.CalledProcessError: The compiler cannot be installed, or refuses a file.
    """
    files = sorted(str(path) for path in protos.rglob("*.proto"))
    outputs = [f"--{kind}_out={into}" for kind in kinds]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", *outputs, *files]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(_compiler())}, check=True)


def write_baseline(into: Path) -> None:
    """Write the image of protos/, as text. Raises CalledProcessError if the protos do not compile."""
    _buf("build", "--exclude-source-info", "--output", f"{into}#format=txtpb")


def _buf(*arguments: str) -> None:
    subprocess.run([str(Path(sys.prefix) / "bin" / "buf"), *arguments], cwd=ROOT, check=True)


def _compiler() -> Path:
    """The folder that holds grpc_tools; installed on first use."""
    version = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = Path(sys.prefix) / f"protoc-{version}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            installed = Path(scratch) / folder.name
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
            pip += ["--require-hashes", "--requirement", str(_REQUIREMENTS), "--target", str(installed)]
            subprocess.run(pip, check=True)
            # Concurrent test workers may all install it; the first one to finish wins.
            if not folder.exists():
                installed.rename(folder)
    return folder


def main() -> int:
    """Generate everything, unless the protos break the baseline.

    Returns:
        The exit code of the program that failed, else 0.
    """
    try:
        _buf("breaking", "--against", str(BASELINE))
        compile_protos(PROTOS, ROOT)
        write_baseline(BASELINE)
        openapi.write()
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
