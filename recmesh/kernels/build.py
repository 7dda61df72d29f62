"""`python -m recmesh.kernels.build`: compile kernels.c, by the C compiler of the wheel `ziglang`.

The library's name holds the hash of its source, so that an old one is never loaded. It needs no Python headers and fits
every Python: it is called through ctypes.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

_FOLDER = Path(__file__).parent
_SOURCE = _FOLDER / "kernels.c"
# Every machine of the architecture can run it, and none needs floating-point exceptions or errno.
_FLAGS = ("-shared", "-fPIC", "-O3", "-std=c11", "-Wall", "-Wextra", "-Werror", "-mcpu=baseline", "-fno-math-errno")


def library() -> Path:
    """Where the compiled form of the present source is, or will be."""
    return _FOLDER / f"kernels-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}.so"


def build() -> Path:
    """Compile, unless it is done; delete what older sources left. Raises CalledProcessError when the compiler fails."""
    wanted = library()
    if wanted.exists():
        return wanted
    unfinished = wanted.with_suffix(f".{os.getpid()}")
    compiler = (sys.executable, "-m", "ziglang", "cc")
    try:
        subprocess.run([*compiler, *_FLAGS, "-o", str(unfinished), str(_SOURCE), "-lm"], check=True)
        unfinished.replace(wanted)
    finally:
        unfinished.unlink(missing_ok=True)
    for old in set(_FOLDER.glob("kernels-*.so")) - {wanted}:
        old.unlink()
    return wanted


if __name__ == "__main__":
    build()
