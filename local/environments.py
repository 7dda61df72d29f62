"""Make the Python environments: `python3 -m local.environments serving train dev`. Standard library only.

`serving`, `dev` and `kubernetes` go into .venv, `train` into .venv-train, `paddle-serving` (or `paddle-serving-gpu`)
into .venv-paddle-serving; all that are asked for are made at the same time. A stamp, written last, holds the hash of
the requirement file that was installed: nothing is done while it is current. An environment whose installation was cut
off is made anew. One more, for the compiler of recmesh/kernels, lives only while that compiles.
"""

import fcntl
import hashlib
import re
import runpy
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ((3, 10), (3, 12))
_KERNELS = ROOT / "recmesh" / "kernels" / "build.py"
_FOLDERS = {
    "serving": ".venv",
    "dev": ".venv",
    "kubernetes": ".venv",
    "train": ".venv-train",
    "paddle-serving": ".venv-paddle-serving",
    "paddle-serving-gpu": ".venv-paddle-serving",
}
_LINE_SECONDS = 10.0
_COMMAND = """\
#!{python}
import sys

from recmesh.cli.main import main

sys.exit(main())
"""
_SETTINGS_ERROR = 2


class InstallationError(Exception):
    """An environment cannot be made; the message is one line that says what to do."""


@dataclass(frozen=True)
class Environment:
    """One virtual environment and the requirement files that it must have installed."""

    folder: Path
    groups: Sequence[str]

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def log(self) -> Path:
        return self.folder / "install.log"

    @property
    def unfinished(self) -> Path:
        return self.folder / ".unfinished"

    def stamp(self, group: str) -> Path:
        return self.folder / f".installed-{group}"

    def missing(self) -> list[str]:
        """The groups that are not installed as their requirement files say."""
        return [group for group in self.groups if not _same(self.stamp(group), _wanted(group))]


def _requirements(group: str) -> Path:
    return ROOT / "requirements" / f"{group}.txt"


def _wanted(group: str) -> str:
    return f"{hashlib.sha256(_requirements(group).read_bytes()).hexdigest()}\n"


def _same(path: Path, content: str) -> bool:
    return path.is_file() and path.read_text() == content


def make(environment: Environment) -> None:
    """Install what is missing. Raises InstallationError."""
    name = environment.folder.name
    if not environment.missing() and environment.python.exists():
        return
    began = time.monotonic()
    _create(environment)
    missing = environment.missing()
    environment.unfinished.touch()
    for group in missing:
        _install(environment, group)
    environment.unfinished.unlink()
    for group in missing:
        _write(environment.stamp(group), _wanted(group))
    _say(f"{name}: ready after {time.monotonic() - began:.0f} s")


def compile_kernels() -> None:
    """Compile recmesh/kernels where that is not done. Raises InstallationError."""
    if runpy.run_path(str(_KERNELS))["library"]().exists():
        return
    compiler = Environment(ROOT / ".venv-build", ["build"])
    make(compiler)
    _say("recmesh/kernels: compiling")
    result = subprocess.run([str(compiler.python), str(_KERNELS)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise InstallationError(f"{_KERNELS} failed: {' '.join(result.stderr.splitlines()[-1:])}")
    shutil.rmtree(compiler.folder)


def _create(environment: Environment) -> None:
    """A new virtual environment, unless there is a whole one; that keeps its Python, since it may be in use."""
    if environment.python.exists() and not environment.unfinished.exists() and _version_fits(environment.python):
        return
    shutil.rmtree(environment.folder, ignore_errors=True)
    _say(f"{environment.folder.name}: new, with Python {sys.version.split()[0]}")
    result = subprocess.run([sys.executable, "-m", "venv", str(environment.folder)], capture_output=True, check=False)
    if result.returncode:
        shutil.rmtree(environment.folder, ignore_errors=True)
        raise InstallationError(
            f"{sys.executable} cannot make virtual environments: install its venv module (apt install python3-venv)"
        )


def _version_fits(python: Path) -> bool:
    code = f"import sys; sys.exit(not {VERSIONS[0]} <= sys.version_info[:2] <= {VERSIONS[1]})"
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def _install(environment: Environment, group: str) -> None:
    requirements = _requirements(group)
    total = len(re.findall(r"^[A-Za-z0-9]", requirements.read_text(), re.MULTILINE))
    # The file names everything that is needed. What packages ask for themselves is not looked at again: Paddle Serving
    # asks for versions of 2020.
    arguments = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(requirements)]
    _pip(environment, arguments, f"{environment.folder.name}: {group}", total)
    if group == "serving":
        _link(environment)


def _link(environment: Environment) -> None:
    """recmesh itself, as it lies in the repository, and its command: an editable install without a build backend."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([str(environment.python), "-c", code], capture_output=True, text=True, check=True)
    _write(Path(packages.stdout.strip()) / "recmesh.pth", f"{ROOT}\n")
    command = environment.folder / "bin" / "recmesh"
    _write(command, _COMMAND.format(python=environment.python))
    command.chmod(0o755)


def _pip(environment: Environment, arguments: Sequence[str], title: str, total: int) -> None:
    """Run pip, its output in a log, a line of progress now and then."""
    command = [str(environment.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", *arguments]
    collected, last = 0, time.monotonic()
    with environment.log.open("a") as log:
        pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert pip.stdout is not None
        lines: list[str] = []
        for line in pip.stdout:
            log.write(line)
            lines.append(line.strip())
            collected += line.startswith(("Collecting ", "Requirement already"))
            installing = line.startswith("Installing collected")
            if installing or time.monotonic() - last > _LINE_SECONDS:
                last = time.monotonic()
                _say(f"{title}: " + ("installing" if installing else f"{min(collected, total)} of {total} packages"))
    if pip.wait():
        raise InstallationError(_reason(lines, environment))


def _reason(lines: Sequence[str], environment: Environment) -> str:
    """What went wrong, in one line."""
    text = "\n".join(lines)
    if "No space left" in text:
        return f"the disk is full: free about 3 GB for {environment.folder.name}"
    if any(sign in text for sign in ("NewConnectionError", "Failed to establish", "Name or service", "Connection")):
        return "no network: pip does not reach its package index; check the connection or pip's settings, and try again"
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
    return f"pip failed: {' '.join(errors[-1:])} (all of it: {environment.log})"


def _write(path: Path, content: str) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(content)
    temporary.replace(path)


_printing = threading.Lock()


def _say(line: str) -> None:
    with _printing:
        print(f"environments: {line}", flush=True)


def main(groups: Sequence[str]) -> int:
    if not VERSIONS[0] <= sys.version_info[:2] <= VERSIONS[1]:
        return _fail(f"Python 3.10 to 3.12 is needed, this is {sys.version.split()[0]}: set PYTHON=python3.11, for one")
    folders = {_FOLDERS[group] for group in groups}
    environments = [Environment(ROOT / f, [g for g in groups if _FOLDERS[g] == f]) for f in sorted(folders)]
    with (ROOT / ".environments.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make up` and `make test` may come at the same time
        with ThreadPoolExecutor(max_workers=1 + len(environments)) as pool:
            work = [pool.submit(compile_kernels), *(pool.submit(make, one) for one in environments)]
            failures = [future.exception() for future in work]
    for failure in filter(None, failures):
        if not isinstance(failure, InstallationError):
            raise failure
        return _fail(str(failure))
    return 0


def _fail(message: str) -> int:
    print(f"recmesh: {message}", file=sys.stderr)
    return _SETTINGS_ERROR


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted; the next run makes anew what is not whole"))
