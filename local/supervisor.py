"""The process manager: one supervisord for each home, which listens on a unix socket only.

Every program has a configuration file. Changing these files and reloading them changes some programs while the others
keep running.
"""

import contextlib
import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from local import short_paths
from local.programs import STORES, Program, clean_environment
from local.settings import ROOT, LocalSettings
from recmesh.errors import RecmeshError, SettingsError, Unavailable

_START_SECONDS = 20.0
_STOP_SECONDS = 60.0
_ORPHAN_SECONDS = 5.0
_MAX_DEATHS = 3


@dataclass(frozen=True)
class ProcessState:
    """A program as the process manager sees it.

    Attributes:
        name: Name of the program.
        state: State in the terms of supervisord.
        pid: Process id; 0 if it does not run.
        started: Unix time of the start.
    """

    name: str
    state: str
    pid: int
    started: float

    @property
    def running(self) -> bool:
        """Whether it runs or is about to."""
        return self.state in ("RUNNING", "STARTING")


class Supervisor:
    """The supervisord of a home. Only `start` starts it."""

    def __init__(self, settings: LocalSettings) -> None:
        self._home = settings.folder
        self._plain = short_paths.of(settings.folder)
        self._folder = self._plain / settings.run.name
        self._programs = self._folder / "programs"
        self._logs = self._plain / settings.logs.name
        self._log = self._logs / "supervisor.log"
        self._socket = self._plain / short_paths.SUPERVISOR
        self._deaths: dict[str, int] = {}
        self._last_stop: dict[str, int] = {}

    @property
    def _rpc(self) -> Any:
        """A proxy with a new connection, since a connection is unusable after a failed or interrupted call."""
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor

    def running(self) -> bool:
        """Whether the process manager runs and answers."""
        return self._socket.exists() and self._answers()

    def start(self) -> bool:
        """Start the process manager without programs, unless it runs. Returns whether it was started."""
        if self.running():
            return False
        short_paths.link(self._home, self._plain)
        for folder in (self._folder, self._logs):
            folder.mkdir(parents=True, exist_ok=True)
        self._end_orphans()
        self._clear_programs()
        configuration = self._folder / "supervisord.conf"
        configuration.write_text(self._configuration())
        # UTF-8, whatever the locale says: the programs' files may name any path.
        command = [sys.executable, "-X", "utf8", "-m", "supervisor.supervisord", "-c", str(configuration)]
        environment = clean_environment(os.environ)
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, start_new_session=True
        )
        if result.returncode:
            reason = (result.stderr or result.stdout).strip().splitlines()[-1:]
            raise SettingsError(f"the process manager does not start: {' '.join(reason)}; its log is {self._log}")
        _wait(self._answers, _START_SECONDS, f"the process manager does not answer; its log is {self._log}")
        return True

    def ensure(self, programs: Sequence[Program]) -> list[str]:
        """Run these programs as described and leave all others as they are. Returns the names of those (re)started."""
        names = {program.name for program in programs}
        self._programs.mkdir(parents=True, exist_ok=True)
        for program in programs:
            _replace(self._programs / f"{program.name}.ini", program.section(self._logs / program.log.name))
        added, changed, _ = self._reload()
        self._stop(names & changed)
        for name in sorted(names & (added | changed)):
            self._rpc.addProcessGroup(name)
        stopped = {state.name for state in self.states() if not state.running and state.state != "BACKOFF"}
        for name in sorted(names & stopped):
            self._rpc.startProcess(name, False)
        return sorted(names & (added | changed | stopped))

    def remove(self, names: Collection[str]) -> list[str]:
        """Stop these programs and remove them. Returns the names of those that existed."""
        present = sorted({state.name for state in self.states()} & set(names))
        for name in present:
            (self._programs / f"{name}.ini").unlink(missing_ok=True)
        self._stop(present)
        self._reload()
        return present

    def states(self) -> list[ProcessState]:
        """All programs, stores first; empty if the process manager does not run."""
        if not self.running():
            return []
        return [
            ProcessState(entry["name"], entry["statename"], entry["pid"], float(entry["start"]))
            for entry in self._rpc.getAllProcessInfo()
        ]

    def check_alive(self, name: str) -> None:
        """Check that a program does not keep dying.

        Raises:
            Unavailable: The program has died several times in a row; the message has the last line of its log.
        """
        info = self._rpc.getProcessInfo(name)
        if info["statename"] not in ("FATAL", "BACKOFF", "EXITED", "UNKNOWN"):
            return
        self._deaths[name] = self._deaths.get(name, 0) + (info["stop"] != self._last_stop.get(name))
        self._last_stop[name] = info["stop"]
        if info["statename"] == "FATAL" or self._deaths[name] >= _MAX_DEATHS:
            lines = Path(info["stdout_logfile"]).read_text(errors="replace").strip().splitlines()
            raise Unavailable(f"{name} keeps dying: {lines[-1] if lines else info['spawnerr']}")

    def shutdown(self) -> bool:
        """Stop every program, then the process manager. Returns whether anything was running."""
        if not self.running():
            return self._end_orphans()
        manager = psutil.Process(self._rpc.getPID())
        self.remove([state.name for state in self.states() if state.name not in STORES])
        self.remove(STORES)
        with contextlib.suppress(OSError):
            self._rpc.shutdown()
        try:
            manager.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired as error:
            raise RecmeshError(f"the process manager (pid {manager.pid}) does not stop; kill it") from error
        if self._plain != self._home:
            self._plain.unlink(missing_ok=True)
        return True

    def _configuration(self) -> str:
        return f"""\
[supervisord]
logfile = {self._log}
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = {self._folder / "supervisord.pid"}
childlogdir = {self._logs}
silent = true
umask = 077

[unix_http_server]
file = {self._socket}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = {self._programs}/*.ini
"""

    def _reload(self) -> tuple[set[str], set[str], set[str]]:
        try:
            ((added, changed, removed),) = self._rpc.reloadConfig()
        except xmlrpc.client.Fault as error:
            raise SettingsError(f"the process manager rejects its configuration: {error.faultString}") from error
        return set(added), set(changed), set(removed)

    def _stop(self, names: Collection[str]) -> None:
        """Stop programs concurrently, wait for them and remove them."""
        for name in names:
            with _ignoring_faults():
                self._rpc.stopProcess(name, False)
        moving = ("RUNNING", "STARTING", "STOPPING", "BACKOFF")
        _wait(
            lambda: not any(state.state in moving for state in self.states() if state.name in names),
            _STOP_SECONDS,
            f"cannot stop {', '.join(names)}; see {self._log}",
        )
        for name in names:
            self._rpc.removeProcessGroup(name)

    def _end_orphans(self) -> bool:
        """End programs of a process manager that was killed. Returns whether there were any."""
        orphans = [process for process in psutil.process_iter() if self._is_ours(process)]
        for process in orphans:
            process.terminate()
        _, alive = psutil.wait_procs(orphans, timeout=_ORPHAN_SECONDS)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive)
        return bool(orphans)

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether a process manager of this home started a process, judging by the environment of the process."""
        try:
            variables = process.environ()
        except psutil.Error:
            return False
        return "SUPERVISOR_PROCESS_NAME" in variables and variables.get("RECMESH_HOME") == str(self._home)

    def _clear_programs(self) -> None:
        for stale in self._programs.glob("*.ini"):
            stale.unlink()

    def _answers(self) -> bool:
        try:
            self._rpc.getState()
        except (OSError, xmlrpc.client.Error):
            return False
        return True


@contextlib.contextmanager
def _ignoring_faults() -> Iterator[None]:
    """Ignore faults such as "not running", which mean that the program is already in the desired state."""
    with contextlib.suppress(xmlrpc.client.Fault):
        yield


def _replace(path: Path, content: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)


def _wait(ready: Callable[[], bool], seconds: float, failure: str) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > limit:
            raise Unavailable(failure)
        time.sleep(0.05)
