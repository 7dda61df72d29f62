"""Make the Python environments: `python3 -m local.environments serving train dev`. Standard library only.

`serving`, `dev` and `kubernetes` go into .venv, `train` into .venv-train, `paddle-serving` and `paddle-serving-gpu`
into .venv-paddle-serving. uv installs them all at the same time; pip installs uv into .venv-installer. A stamp, written
last, holds the hash of the lock file that was installed: nothing is done while it is current. An interrupted
installation starts again from an empty folder. The compiler of recmesh/kernels has an environment that is deleted after
use.
"""

import ast
import fcntl
import hashlib
import os
import runpy
import shlex
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
    "installer": ".venv-installer",
    "build": ".venv-build",
    "serving": ".venv",
    "dev": ".venv",
    "kubernetes": ".venv",
    "train": ".venv-train",
    "paddle-serving": ".venv-paddle-serving",
    "paddle-serving-gpu": ".venv-paddle-serving",
}
_LINE_SECONDS = 10.0
# A line that begins with #! cannot name every path.
_COMMAND = """\
#!/bin/sh
'''exec' {python} "$0" "$@"
'''
import sys

from recmesh.__main__ import main

sys.exit(main())
"""
_SETTINGS_ERROR = 2
_DISK_FULL = "the disk is full: free about 3 GB for {}"
# pip's settings for its index, and the variables that set the same for uv, which reads none of pip's.
_UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
}


class InstallationError(Exception):
    """An environment cannot be made; the message is one line that says what to do."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the groups (lock files by name) that it must have installed."""

    folder: Path
    groups: Sequence[str]

    @property
    def python(self) -> Path:
        """The Python of the environment."""
        return self.folder / "bin" / "python"

    @property
    def log(self) -> Path:
        """Everything that the installers printed."""
        return self.folder / "install.log"

    @property
    def unfinished(self) -> Path:
        """A file that exists while packages are being installed."""
        return self.folder / ".unfinished"

    def stamp(self, group: str) -> Path:
        """The file that says what is installed of a group."""
        return self.folder / f".installed-{group}"

    def missing(self) -> list[str]:
        """Return the groups that are not installed as their lock files say."""
        return [group for group in self.groups if not _same(self.stamp(group), _wanted(group))]

    def is_current(self) -> bool:
        """Return whether there is nothing to do."""
        return not self.missing() and self.python.exists() and not self.unfinished.exists()


def _requirements(group: str) -> Path:
    return ROOT / "requirements" / f"{group}.txt"


def _wanted(group: str) -> str:
    return f"{hashlib.sha256(_requirements(group).read_bytes()).hexdigest()}\n"


def _same(path: Path, content: str) -> bool:
    return path.is_file() and path.read_text() == content


INSTALLER = Environment(ROOT / _FOLDERS["installer"], ["installer"])
"""The environment of uv, which makes all others."""
_COMPILER = Environment(ROOT / _FOLDERS["build"], ["build"])


def make(environment: Environment) -> None:
    """Install what is missing in an environment.

    Raises:
        InstallationError: It cannot be installed.
    """
    if environment.is_current():
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
    _say(f"{environment.folder.name}: ready after {time.monotonic() - began:.0f} s")


def compile_kernels() -> None:
    """Compile recmesh/kernels unless that has been done.

    Raises:
        InstallationError: The compiler cannot be installed, or fails.
    """
    if _kernels_are_compiled():
        return
    make(_COMPILER)
    _say("recmesh/kernels: compiling")
    result = subprocess.run([str(_COMPILER.python), str(_KERNELS)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise InstallationError(f"{_KERNELS} failed: {' '.join(result.stderr.splitlines()[-1:])}")
    shutil.rmtree(_COMPILER.folder)


def _kernels_are_compiled() -> bool:
    return bool(runpy.run_path(str(_KERNELS))["library"]().exists())


def installer_variables() -> dict[str, str]:
    """Return the environment variables to run uv with: the present ones, and pip's settings in uv's words.

    Where both pip and uv are configured, uv's own variables count.
    """
    python = INSTALLER.python if INSTALLER.python.exists() else sys.executable
    command = [str(python), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings: dict[str, str] = {}
    # pip's order: a variable of the environment overrides a section for one command, and that the section for all.
    for section in ("global.", "install.", ":env:."):
        for line in listed.splitlines():
            if line.startswith(section):
                name, _, value = line.removeprefix(section).partition("=")
                settings[name] = str(ast.literal_eval(value))
    # The hashes decide what is installed, so that any index may supply it.
    variables = {"UV_NO_PROGRESS": "1", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    for name in settings.keys() & _UV_VARIABLES.keys():
        variables[_UV_VARIABLES[name]] = " ".join(settings[name].split())
    # A folder that does not exist is an error for uv, and a warning for pip.
    links = [link for link in settings.get("find-links", "").split() if "://" in link or Path(link).exists()]
    variables["UV_FIND_LINKS"] = ",".join(links)
    return {**variables, **os.environ}


def _create(environment: Environment) -> None:
    """A new virtual environment, unless there is a whole one; that keeps its Python, since it may be in use."""
    if environment.python.exists() and not environment.unfinished.exists() and _version_fits(environment.python):
        return
    shutil.rmtree(environment.folder, ignore_errors=True)
    _say(f"{environment.folder.name}: new, with Python {sys.version.split()[0]}")
    command = [str(INSTALLER.python), "-m", "uv", "venv", "--quiet", "--no-config", "--python", sys.executable]
    if environment is INSTALLER:
        command = [sys.executable, "-m", "venv"]
    result = subprocess.run([*command, str(environment.folder)], capture_output=True, text=True, check=False)
    if result.returncode:
        shutil.rmtree(environment.folder, ignore_errors=True)
        if "No space left" in result.stderr:
            raise InstallationError(_DISK_FULL.format(environment.folder.name))
        raise InstallationError(
            f"{sys.executable} cannot make virtual environments: install its venv module (apt install python3-venv)"
        )


def _version_fits(python: Path) -> bool:
    code = f"import sys; sys.exit(not {VERSIONS[0]} <= sys.version_info[:2] <= {VERSIONS[1]})"
    return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0


def _install(environment: Environment, group: str) -> None:
    python = str(environment.python)
    if environment is INSTALLER:
        installer = [
            python,
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar",
            "off",
        ]
        variables = None
    else:
        installer = [str(INSTALLER.python), "-m", "uv", "pip", "install", "--no-config", "--python", python]
        # As pip does. Otherwise every process compiles what it imports where PYTHONDONTWRITEBYTECODE is set.
        installer.append("--compile-bytecode")
        variables = installer_variables()
    # A lock file names everything that is needed. What its packages ask for is not looked at again, because Paddle
    # Serving asks for versions of 2020.
    arguments = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(_requirements(group))]
    _run(environment, [*installer, *arguments], variables, f"{environment.folder.name}: {group}")
    if group == "serving":
        _link(environment)


def _link(environment: Environment) -> None:
    """Make recmesh importable from the repository, with its command: an editable install without a build backend."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([str(environment.python), "-c", code], capture_output=True, text=True, check=True)
    _write(Path(packages.stdout.strip()) / "recmesh.pth", f"{ROOT}\n")
    command = environment.folder / "bin" / "recmesh"
    _write(command, _COMMAND.format(python=shlex.quote(str(environment.python))))
    command.chmod(0o755)


def _run(environment: Environment, command: Sequence[str], variables: dict[str, str] | None, title: str) -> None:
    """Run an installer; write its output to the log, and print a line of it now and then."""
    last = time.monotonic()
    lines: list[str] = []
    with environment.log.open("a") as log:
        installer = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert installer.stdout is not None
        for line in installer.stdout:
            log.write(line)
            lines.append(line.strip())
            if time.monotonic() - last > _LINE_SECONDS:
                last = time.monotonic()
                _say(f"{title}: {lines[-1]}")
    if installer.wait():
        raise InstallationError(_reason(lines, environment))


def _reason(lines: Sequence[str], environment: Environment) -> str:
    """Say in one line what went wrong."""
    text = "\n".join(lines)
    if "No space left" in text:
        return _DISK_FULL.format(environment.folder.name)
    if any(sign in text for sign in ("Failed to fetch", "Failed to establish", "Name or service", "Connection")):
        return "no network: the package index does not answer; check the connection or pip's settings, and try again"
    errors = [line for line in lines if line.lower().startswith(("error", "cause"))] or lines[-1:]
    return f"installation failed: {' '.join(errors[-1:])} (full log: {environment.log})"


def _write(path: Path, content: str) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(content)
    temporary.replace(path)


_printing = threading.Lock()


def _say(line: str) -> None:
    with _printing:
        print(f"environments: {line}", flush=True)


def main(groups: Sequence[str]) -> int:
    """Make the environments that hold the given groups; return the exit code."""
    if not VERSIONS[0] <= sys.version_info[:2] <= VERSIONS[1]:
        return _fail(f"Python 3.10 to 3.12 is needed, this is {sys.version.split()[0]}: set PYTHON, e.g. to python3.11")
    if any(sign in str(ROOT) for sign in ":\n\r"):
        return _fail(
            f"{str(ROOT)!r}: a virtual environment cannot be in a folder with a colon or a line break; move it"
        )
    folders = {_FOLDERS[group] for group in groups}
    environments = [Environment(ROOT / f, [g for g in groups if _FOLDERS[g] == f]) for f in sorted(folders)]
    with (ROOT / ".environments.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make up` and `make test` may run at the same time
        try:
            if not _kernels_are_compiled() or not all(environment.is_current() for environment in environments):
                make(INSTALLER)
            with ThreadPoolExecutor(max_workers=1 + len(environments)) as pool:
                work = [pool.submit(compile_kernels), *(pool.submit(make, wanted) for wanted in environments)]
            for future in work:
                future.result()
        except InstallationError as failure:
            return _fail(str(failure))
    return 0


def _fail(message: str) -> int:
    print(f"recmesh: {message}", file=sys.stderr)
    return _SETTINGS_ERROR


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted; the next run starts again with what is incomplete"))
