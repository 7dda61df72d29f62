"""The faults: of the processes of the running mesh, and of links and disks of the lab."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import psutil

from benchmarks.faults.lab import Lab
from benchmarks.relay import LinkFault
from local.settings import PADDLE_SERVING, LocalSettings
from local.supervisor import Supervisor
from recmesh.errors import RecmeshError
from recmesh.stores.redis import RedisWriter

KILLED, FROZEN, FULL_DISK = "killed", "frozen", "full disk"
DISKS = ("recall", "rank", "redis")
FAULTS = (KILLED, FROZEN, *(fault.value for fault in LinkFault), FULL_DISK)

# Larger than what fits into a block that is already allocated.
_PROBE_BYTES = 1 << 16
_PROBE_INTERVAL_SECONDS = 0.1
_PROBE_KEY = "recmesh:faults:probe"
_WRITABLE_SECONDS = 30.0

Notes = list[Callable[[], str]]
"""Say what else happened during a fault. They are called after the load, and may wait."""

Inflict = Callable[[Notes], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """A fault at a place.

    Attributes:
        fault: One of `FAULTS`.
        where: The process, link or disk.
        inflict: The fault lasts as long as the block of this context manager.
        is_instant: Whether it is over at once, as a kill is.
        ends_processes: Whether processes are expected to end.
    """

    fault: str
    where: str
    inflict: Inflict
    is_instant: bool = False
    ends_processes: bool = False


def option(fault: str) -> str:
    """The name of a fault on the command line."""
    return fault.replace(" ", "-")


def of_processes(current: LocalSettings) -> list[Case]:
    """Each process of the running mesh is killed, and frozen."""
    killed = partial(Case, KILLED, is_instant=True, ends_processes=True)
    return [
        case
        for name in _processes(current)
        for case in (
            killed(name, partial(_killed, current, name)),
            Case(FROZEN, name, partial(_frozen, current, name)),
        )
    ]


def of_lab(lab: Lab) -> list[Case]:
    """Each link is broken in each way, and the disks are full that the serving path writes to."""
    links = [Case(fault.value, link, partial(_broken, lab, link, fault)) for link in lab.relays for fault in LinkFault]
    if not lab.disks:
        return links
    starts = [Case(FULL_DISK, name, partial(_no_room, lab, name), ends_processes=True) for name in ("recall", "rank")]
    return [*links, *starts, Case(FULL_DISK, "redis", partial(_no_writes, lab))]


def _processes(current: LocalSettings) -> dict[str, int]:
    """Processes by name: those of the process manager, and the pipelines of Paddle Serving."""
    programs = {state.name: state.pid for state in Supervisor(current).states()}
    gateway = programs.get(PADDLE_SERVING)
    pipelines = psutil.Process(gateway).children() if gateway else []
    return programs | {f"{PADDLE_SERVING} pipeline {n}": pipeline.pid for n, pipeline in enumerate(pipelines)}


def _group(current: LocalSettings, name: str) -> int:
    """The process group of a process that may have been replaced: Milvus has a launcher and a server."""
    return os.getpgid(_processes(current)[name])


@contextmanager
def _killed(current: LocalSettings, name: str, _: Notes) -> Iterator[None]:
    os.killpg(_group(current, name), signal.SIGKILL)
    yield


@contextmanager
def _frozen(current: LocalSettings, name: str, _: Notes) -> Iterator[None]:
    group = _group(current, name)
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # Paddle Serving's gateway replaces a pipeline that hangs
            os.killpg(group, signal.SIGCONT)


@contextmanager
def _broken(lab: Lab, link: str, fault: LinkFault, _: Notes) -> Iterator[None]:
    relay = lab.relays[link]
    relay.set(fault)
    try:
        yield
    finally:
        relay.set(None)


@contextmanager
def _no_room(lab: Lab, service: str, _: Notes) -> Iterator[None]:
    """A service starts without a copy of the release, as on a new node, and there is no room for one."""
    disk = lab.disks["releases"]
    shutil.rmtree(disk.folder / lab.release)
    disk.fill()
    os.killpg(os.getpgid(lab.pids()[service]), signal.SIGKILL)
    try:
        yield
    finally:
        disk.free()


@contextmanager
def _no_writes(lab: Lab, notes: Notes) -> Iterator[None]:
    """Redis cannot extend its append-only file, and a job writes to it."""
    disk = lab.disks["redis"]
    probes = _Probes(lab.redis_url)
    notes.append(probes.outcome)
    disk.fill()
    probes.start()
    try:
        yield
    finally:
        disk.free()
        probes.freed_at = time.monotonic()


class _Probes(threading.Thread):
    """Writes to Redis until it accepts a write after there is space again.

    Attributes:
        freed_at: Since when there is space, in seconds of the monotonic clock; 0 before.
    """

    def __init__(self, redis_url: str) -> None:
        super().__init__(daemon=True)
        self.freed_at = 0.0
        self._writer = RedisWriter(redis_url)
        self._refused = 0
        self._accepted_after = -1.0

    def run(self) -> None:
        """Write at intervals."""
        while self._accepted_after < 0 and not (self.freed_at and time.monotonic() > self.freed_at + _WRITABLE_SECONDS):
            try:
                self._writer.write({_PROBE_KEY: os.urandom(_PROBE_BYTES)})
            except RecmeshError:
                self._refused += 1
            else:
                if self.freed_at:
                    self._accepted_after = time.monotonic() - self.freed_at
            time.sleep(_PROBE_INTERVAL_SECONDS)
        self._writer.close()

    def outcome(self) -> str:
        """Wait for the end, and say what became of the writes."""
        self.join()
        again = f"accepted again after {self._accepted_after:.1f} s" if self._accepted_after >= 0 else "still refused"
        return f"{self._refused} writes to Redis refused, {again}"
