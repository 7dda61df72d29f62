"""`make up`: from a data set to five running services. Read `_steps` from top to bottom.

Everything that is current is reused. The evidence that a step is complete is written last and atomically: the folder of
a data set, the manifest of a release, the mark of an ingestion. A run that fails stops everything it started.
"""

import asyncio
import fcntl
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import redis
from rich.console import Console

from local import datasets, health, machine, programs, secrets, show
from local.datasets import Checked
from local.interrupts import Interrupts
from local.jobs import run_job
from local.settings import FEED, PADDLE_SERVING, ROOT, SERVICES, LocalSettings, Mode
from local.supervisor import Supervisor
from recmesh.client import Mesh, Recommendation, Targets
from recmesh.errors import ReleaseError, SettingsError, Unavailable
from recmesh.progress import NumberedSteps
from recmesh.releases import Manifest, ModelStore
from recmesh.releases.versions import code_digest, training_versions
from recmesh.stores import redis_login
from recmesh.stores.credentials import Credentials
from recmesh.stores.keys import Keys

_SERVICES_SECONDS = 120.0
_SWAP_SECONDS = 60.0
_MARK = "ingested"
_SHOWN_ITEMS = 10


@dataclass(frozen=True)
class _Run:
    """Values that all steps of a run share."""

    settings: LocalSettings
    dataset: str
    mode: Mode
    retrain: bool
    tls: bool
    supervisor: Supervisor
    steps: NumberedSteps
    interrupts: Interrupts


def bring_up(
    settings: LocalSettings, dataset: str, mode: Mode, console: Console, retrain: bool = False, tls: bool = False
) -> None:
    """Start the mesh and show its recommendations.

    Errors of the steps are raised after everything that this run started has been stopped.

    Args:
        settings: Of the mesh.
        dataset: Folder or name of a data set.
        mode: The processes of the services.
        console: Where progress and recommendations are printed.
        retrain: Archive first what feed has recorded.
        tls: Whether the mesh speaks TLS.
    """
    supervisor, interrupts, steps = Supervisor(settings), Interrupts(), NumberedSteps(console, 6)
    with interrupts.handled(), exclusive(settings):
        before = {state.name for state in supervisor.states()}
        datasets.check_name(dataset)
        settings = machine.with_milvus(settings, steps.say)
        machine.check(settings, mode, supervisor.states())
        try:
            _steps(_Run(settings, dataset, mode, retrain, tls, supervisor, steps, interrupts), console)
        except BaseException:
            with interrupts.shield():
                _undo(supervisor, before, console)
            raise


def _steps(run: _Run, console: Console) -> None:
    settings, steps = run.settings, run.steps
    if run.tls:
        secrets.switch_on(settings, steps.say)
    else:
        secrets.switch_off(settings)
    with steps.step("start Redis and Milvus in the background"):
        with run.interrupts.shield():
            run.supervisor.start()
        run.supervisor.ensure(programs.stores(settings))
    with steps.step(f"data set {run.dataset}"):
        if run.retrain:
            _archive(run)
        data = datasets.checked(settings, run.dataset, steps)
    with steps.step("training"):
        release = _current_release(settings, data) or _train(settings, data)
        steps.say(f"release {release.id}: {release.items:,} items")
    with steps.step("ingestion"):
        health.wait_for_stores(run.supervisor, settings, steps.say)
        set_up_users(settings)
        _ingest(run, data, release)
    with steps.step("services: all in one process" if run.mode == "compact" else "services: one process each"):
        _start_services(run)
    with steps.step("recommendations"):
        answers = asyncio.run(_ask(settings, data, release))
    for title, answer in answers.items():
        show.recommendations(console, title, answer)
    show.addresses(console, settings, run.mode)
    show.closing(console, settings, data.known_user, steps.seconds)


def _archive(run: _Run) -> None:
    health.wait_for_stores(run.supervisor, run.settings, run.steps.say)
    place = datasets.archive_of(run.settings, datasets.fetched(run.settings, run.dataset, run.steps))
    command = [sys.executable, "-m", "jobs.archive", "--archive", str(place)]
    run_job("archive", command, run.settings.variables("archive"))


def _current_release(settings: LocalSettings, data: Checked) -> Manifest | None:
    """The release of this state of the data and the current training version: the active release or the newest."""
    versions = training_versions()
    for release in _releases(settings, data):
        if settings.keep_release or release.code_version in versions:
            return release
    return None


def _releases(settings: LocalSettings, data: Checked) -> list[Manifest]:
    """Releases of this state of the data: the active release, then the others, newest first.

    A release with imported models counts only if it is active, since an operator has to choose it. A starter never
    does.
    """
    store = ModelStore(settings.store)
    active = store.active()
    trained = [release for release in store.list() if not release.starter]
    usable = [release for release in trained if not release.imported or release.id == active]
    fitting = [release for release in usable if release.fingerprint == data.fingerprint]
    return sorted(fitting, key=lambda release: release.id != active)


def _train(settings: LocalSettings, data: Checked) -> Manifest:
    python = ROOT / ".venv-train" / "bin" / "python"
    if not python.exists():
        raise SettingsError(f"{python} is missing: run `make environments`")
    before = {release.id for release in _releases(settings, data)}
    command = [str(python), "-m", "jobs.train", "--dataset", str(data.folder), "--store", settings.store]
    command += ["--work", str(settings.folder / "train"), "--archive", data.archive]
    run_job("training", command, settings.variables("train"))
    releases = _releases(settings, data)
    new = [release for release in releases if release.id not in before]
    release = next(iter(new), None) or _current_release(settings, data)
    if release is None:
        raise ReleaseError(f"training ended without a release of {data.folder} in {settings.store}; train again")
    return release


def set_up_users(settings: LocalSettings) -> None:
    """Let Milvus have the users and passwords of a mesh with TLS. Redis follows its file.

    Raises:
        Unavailable: Milvus does not run.
    """
    from recmesh.stores.milvus_users import ensure_users

    if settings.tls and not settings.milvus_lite:
        ensure_users(settings.milvus_uri, settings.milvus_root, settings.client_tls)


def _ingest(run: _Run, data: Checked, release: Manifest) -> None:
    """Ingest and activate, unless both stores have the mark of this data, release and code.

    Redis must also hold this state of the data: somebody may have ingested another one since.
    """
    settings = run.settings
    mark = f"{data.fingerprint}:{release.id}:{code_digest('recmesh', 'jobs/ingest')}"
    keys = Keys.of(settings.redis_prefix)
    redis_mark, milvus_mark = keys.local(_MARK), settings.folder / "milvus" / "ingested"
    login = redis_login.options(
        settings.redis_url, Credentials.from_environment("REDIS", settings.variables()), asynchronous=False
    )
    with redis.Redis.from_url(settings.redis_url, decode_responses=True, **login) as client:
        marks = (client.get(redis_mark), milvus_mark.read_text() if milvus_mark.exists() else None)
        ingested = str(client.hget(keys.ingest("redis"), "owner") or "").startswith(f"{data.fingerprint}:")
        if ingested and marks == (mark, mark) and ModelStore(settings.store).active() == release.id:
            run.steps.say("current")
            return
        if settings.milvus_lite:  # only one process at a time can open its file
            run.supervisor.remove((*SERVICES, "compact"))
        client.delete(redis_mark)
        milvus_mark.unlink(missing_ok=True)
        command = [sys.executable, "-m", "jobs.ingest", "--dataset", str(data.folder), "--store", settings.store]
        command += ["--release", release.id, "--rejects", str(datasets.rejects(settings, data.folder))]
        command += ["--archive", data.archive]
        run_job("ingestion", command, settings.variables("ingest"))
        milvus_mark.parent.mkdir(exist_ok=True)
        milvus_mark.write_text(mark)
        client.set(redis_mark, mark)


def _start_services(run: _Run) -> None:
    settings, mode = run.settings, run.mode
    wanted = programs.names(settings, mode)
    if PADDLE_SERVING in wanted and not programs.PADDLE_SERVING_PYTHON.exists():
        raise SettingsError(
            f"{programs.PADDLE_SERVING_PYTHON} is missing: run `make environments BACKEND=paddle-serving`"
        )
    run.supervisor.remove(set(programs.ALL) - set(wanted) - set(programs.STORES))
    run.supervisor.ensure(programs.services(settings, mode))
    checks = {}
    for name in (PADDLE_SERVING, *SERVICES, FEED) if PADDLE_SERVING in wanted else (*SERVICES, FEED):
        target = settings.target(name)
        program = name if name in wanted else "compact"
        checks[f"{name} {target}"] = (program, lambda target=target: health.serving(target, settings.client_tls))
    health.wait(run.supervisor, checks, _SERVICES_SECONDS, run.steps.say)


async def _ask(settings: LocalSettings, data: Checked, release: Manifest) -> Mapping[str, Recommendation]:
    """Recommendations for a known and a new user, once the services have loaded the release."""
    limit = time.monotonic() + _SWAP_SECONDS
    targets = Targets.from_environment(settings.variables())
    profile = " ".join(f"{name}={value}" for name, value in data.new_user.items()) or "no profile"
    async with Mesh(targets, tls=settings.client_tls) as mesh:
        while True:
            known = await mesh.recommend(data.known_user, size=_SHOWN_ITEMS, explain=True)
            new = await mesh.recommend("", data.new_user, size=_SHOWN_ITEMS, explain=True)
            if known.release == new.release == release.id:
                return {f"known user {data.known_user}": known, f"new user ({profile})": new}
            if time.monotonic() > limit:
                raise Unavailable(f"the services answer from release {known.release or 'none'}, not from {release.id}")
            await asyncio.sleep(0.1)


def _undo(supervisor: Supervisor, before: Collection[str], console: Console) -> None:
    console.print("stopping everything that this run started", highlight=False)
    if before:
        supervisor.remove({state.name for state in supervisor.states()} - set(before))
    else:
        supervisor.shutdown()


@contextmanager
def exclusive(settings: LocalSettings) -> Iterator[None]:
    """Allow a single `make up` per home at a time. The lock ends with the process."""
    settings.run.mkdir(parents=True, exist_ok=True)
    with (settings.run / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(f"another `make up` is at work in {settings.folder}: wait for it or stop it") from None
        yield
