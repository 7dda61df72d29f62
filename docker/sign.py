"""`python docker/sign.py --key cosign.key --provenance FOLDER --sboms FOLDER`: sign images that were built and pushed.

For each statement that `make images PROVENANCE=FOLDER` wrote, cosign signs the image that it is about, and attests its
bill of materials (`make sbom INTO=FOLDER`) and its provenance. `RECMESH_COSIGN_OPTIONS` are further options of cosign.
Standard library only.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

COSIGN = "github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3"
OPTIONS = "RECMESH_COSIGN_OPTIONS"
_PROVENANCE, _SBOM = ".provenance.json", ".cdx.json"


class SigningError(Exception):
    """Something to sign, or cosign, is missing, or cosign fails. The message is one line."""


def sign(statement: Path, sbom: Path, key: str) -> str:
    """Sign an image, and attest its bill of materials and its provenance. Returns the name of the image, by digest.

    Raises:
        SigningError: cosign fails.
    """
    described = json.loads(statement.read_text())
    (subject,) = described["subject"]
    image = f"{subject['name']}@sha256:{subject['digest']['sha256']}"
    with tempfile.TemporaryDirectory() as folder:
        predicate = Path(folder) / "predicate.json"
        predicate.write_text(json.dumps(described["predicate"]))
        _cosign("sign", key, image)
        _cosign("attest", key, "--type=cyclonedx", f"--predicate={sbom}", image)
        _cosign("attest", key, "--type=slsaprovenance1", f"--predicate={predicate}", image)
    return image


def _cosign(command: str, key: str, *arguments: str) -> None:
    given = shlex.split(os.environ.get(OPTIONS, ""))
    result = subprocess.run(
        ["cosign", command, "--yes", f"--key={key}", *given, *arguments], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SigningError(f"cosign {command} of {arguments[-1]} failed: {' '.join(result.stderr.split())}")


def _pairs(provenances: Path, sboms: Path) -> Iterator[tuple[Path, Path]]:
    """Each statement with the bill of materials of the same image."""
    statements = sorted(provenances.glob(f"*{_PROVENANCE}"))
    if not statements:
        raise SigningError(f"{provenances} has no file *{_PROVENANCE}: make images PROVENANCE={provenances}")
    for statement in statements:
        sbom = sboms / f"{statement.name.removesuffix(_PROVENANCE)}{_SBOM}"
        if not sbom.exists():
            raise SigningError(f"{sbom} is missing: make sbom INTO={sboms}")
        yield statement, sbom


def main(arguments: Sequence[str] | None = None) -> int:
    """Sign everything and return the exit code."""
    parser = argparse.ArgumentParser(prog="docker/sign.py", description="Sign images that were built and pushed.")
    parser.add_argument("--key", required=True, help="the private key, in a form that cosign accepts")
    parser.add_argument("--provenance", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sboms", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        if not shutil.which("cosign"):
            raise SigningError(f"cosign is not on the PATH: go install {COSIGN}")
        for statement, sbom in list(_pairs(options.provenance, options.sboms)):
            print(sign(statement, sbom, options.key), flush=True)
    except SigningError as error:
        print(f"recmesh: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
