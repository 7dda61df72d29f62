"""A limit on the CPU time of a running process, by a control group (https://docs.kernel.org/admin-guide/cgroup-v2.html).

Kubernetes limits containers in the same way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recmesh.errors import SettingsError

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def limited(pid: int, cores: float, period: float) -> Iterator[None]:
    """Limit a process, with all its threads, for the duration of a block.

    Args:
        pid: The process.
        cores: CPU seconds per second.
        period: Seconds after which the process may use CPU time again if it has used its share.

    Raises:
        SettingsError: This user may not make control groups, or the system has none.
    """
    unified = (_ROOT / "cgroup.controllers").exists()
    root = _ROOT if unified else _ROOT / "cpu"
    group, before = root / f"recmesh-overload-{pid}", root / _group_of(pid, unified)
    quota, microseconds = int(cores * period * 1e6), int(period * 1e6)
    try:
        group.mkdir()
        if unified:
            (group / "cpu.max").write_text(f"{quota} {microseconds}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(microseconds))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise SettingsError(f"--cores needs root and control groups: {error}") from error
    try:
        yield
    finally:
        (before / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def _group_of(pid: int, unified: bool) -> str:
    """The control group of a process, relative to the root."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "" if unified else "cpu" in controllers.split(","):
            return path.lstrip("/")
    raise SettingsError(f"process {pid} has no control group for CPU time")
