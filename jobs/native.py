"""Native numeric libraries in jobs: how many threads they start, and what they print.

Both have to be settled before Paddle, NumPy and Polars are imported, so this module imports none of them.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def limit_threads(threads: int) -> None:
    """Tell the numeric libraries how many threads to start. They read this when they are imported."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[variable] = str(threads)
    # Training solves many small systems of equations; handing one to several threads costs more than solving it.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Threads that spin while they wait starve all other processes on a small machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    os.environ.setdefault("GLOG_minloglevel", "2")


@contextmanager
def quiet() -> Iterator[None]:
    """Discard standard output and error, including what native code writes. Exceptions pass through."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(stream) for stream in (1, 2)]
    with Path(os.devnull).open("w") as nowhere:
        try:
            for stream in (1, 2):
                os.dup2(nowhere.fileno(), stream)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, stream)
                os.close(copy)
