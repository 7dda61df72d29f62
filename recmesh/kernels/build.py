"""`python recmesh/kernels/build.py`: compile kernels.c with the C compiler of the wheel `ziglang`.

It runs as a file, because the package cannot be imported before its library exists.

The file name of the library contains the hash of the source, so an outdated library is never loaded. The library is
called through ctypes: it needs no Python headers and works with every version of Python.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

_FOLDER = Path(__file__).parent
_SOURCE = _FOLDER / "kernels.c"
# The baseline CPU runs on every machine of the architecture. Nothing reads errno after a call of libm.
_FLAGS = ("-shared", "-fPIC", "-O3", "-std=c11", "-Wall", "-Wextra", "-Werror", "-mcpu=baseline", "-fno-math-errno")


def library() -> Path:
    """Return the path of the library of the current source, whether or not it exists."""
    return _FOLDER / f"kernels-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}.so"


def build() -> Path:
    """Compile the source unless its library exists, and delete the libraries of older sources.

    Returns:
        The path of the library.

    Raises:
        CalledProcessError: If the compiler fails.
    """
    current = library()
    if current.exists():
        return current
    unfinished = current.with_suffix(f".{os.getpid()}")
    compiler = (sys.executable, "-m", "ziglang", "cc")
    try:
        subprocess.run([*compiler, *_FLAGS, "-o", str(unfinished), str(_SOURCE), "-lm"], check=True)
        unfinished.replace(current)
    finally:
        unfinished.unlink(missing_ok=True)
    for old in set(_FOLDER.glob("kernels-*.so")) - {current}:
        old.unlink()
    return current


if __name__ == "__main__":
    build()
