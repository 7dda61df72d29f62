"""`python -m local.prometheus`: put Prometheus and Alertmanager into .venv, from Debian's packages, unless installed.

The programs are Go binaries that need only the C library. apt verifies the packages, and installs nothing.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from recmesh.errors import RecmeshError, SettingsError

_PACKAGES = ("prometheus", "prometheus-alertmanager")
_FOLDER = Path(sys.prefix) / "share" / "prometheus"
_ASSETS = Path("share", "prometheus", "web")


def program(name: str) -> Path:
    """Find `prometheus`, `promtool` or `prometheus-alertmanager` on the path or in .venv, or fetch it.

    Raises:
        SettingsError: It is nowhere, and cannot be fetched.
    """
    if found := shutil.which(name):
        return Path(found)
    fetched = _FOLDER / "usr" / "bin" / name
    if not fetched.exists():
        _fetch()
    return fetched


def root(name: str) -> Path:
    """The folder that the files of a program's package are relative to: the working directory of Alertmanager."""
    return program(name).parent.parent.parent


def assets(prometheus: Path) -> Path | None:
    """The folder of Prometheus' pages, which Debian keeps in a package's folder, not in the program."""
    folder = prometheus.parent.parent / _ASSETS
    return folder if folder.is_dir() else None


def _fetch() -> None:
    """Unpack the packages. The lists of a new system are empty, so apt may have to update them first."""
    _FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_FOLDER.parent, prefix=".prometheus-") as scratch:
        folder = Path(scratch)
        if not _download(folder) and not (_apt(folder, "update") and _download(folder)):
            raise SettingsError(f"prometheus is missing, and apt cannot download it: install {' and '.join(_PACKAGES)}")
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(folder / "root")], check=True)
        _make_relative(folder / "root" / "usr" / "bin" / "prometheus-alertmanager")
        shutil.rmtree(_FOLDER, ignore_errors=True)
        (folder / "root").rename(_FOLDER)


def _make_relative(alertmanager: Path) -> None:
    """Let Alertmanager find its templates in its working directory: Debian compiles an absolute path into it."""
    installed = b"/usr/share/prometheus/alertmanager"
    alertmanager.write_bytes(alertmanager.read_bytes().replace(installed, b"usr//" + installed.removeprefix(b"/usr/")))


def _download(folder: Path) -> bool:
    return _apt(folder, "download", *_PACKAGES)


def _apt(folder: Path, *arguments: str) -> bool:
    """Run apt-get in a folder. Returns whether it succeeded."""
    if not shutil.which("apt-get"):
        return False
    # As root, apt downloads as another user, who cannot write into the folder.
    command = ["apt-get", "-qq", "--option", "APT::Sandbox::User=root", *arguments]
    return not subprocess.run(command, cwd=folder, check=False).returncode


def main() -> int:
    """Fetch what is missing; return the exit code."""
    try:
        for name in ("prometheus", "promtool", "prometheus-alertmanager"):
            program(name)
    except RecmeshError as error:
        print(f"recmesh: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
