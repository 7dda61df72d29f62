"""Five services of the benchmark's own, behind relays and on small disks, next to the running mesh.

They use the Milvus, the model store and the Paddle Serving of the running mesh. Their Redis is that of the running mesh
too, unless its disk shall be full: then it is a copy.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import redis

from benchmarks.faults.disk import Disk, mounted
from benchmarks.relay import Relay
from local import health, programs
from local.ports import free_ports
from local.programs import Program
from local.settings import PADDLE_SERVING, SERVICES, LocalSettings
from local.supervisor import Supervisor
from recmesh.client import Targets
from recmesh.contract import METRICS_PORT_OFFSET, ServiceName
from recmesh.errors import SettingsError
from recmesh.releases import ModelStore
from recmesh.stores.keys import Keys
from recmesh.stores.redis import KEYS_PER_COMMAND, RedisWriter

REDIS, MILVUS = "um/cm->redis", "recall->milvus"
RANK_PADDLE_SERVING = "rank->paddle-serving"
CLIENT = "client->as"

_STAGES: tuple[ServiceName, ...] = ("um", "cm", "recall", "rank")
_START_SECONDS = 120.0
_SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class Lab:
    """The services of the benchmark.

    Attributes:
        settings: Their settings.
        targets: Their targets; `as` is behind the relay `client->as`.
        supervisor: Their process manager, which restarts them.
        relays: The relay of each link.
        disks: `releases`, for the cache of recall and rank, and `redis`; empty if none were asked for.
        release: The active release.
        redis_url: Their Redis, not through its relay.
    """

    settings: LocalSettings
    targets: Targets
    supervisor: Supervisor
    relays: Mapping[str, Relay]
    disks: Mapping[str, Disk]
    release: str
    redis_url: str

    def pids(self) -> Mapping[str, int]:
        """The process of each service."""
        return {state.name: state.pid for state in self.supervisor.states() if state.running}


def links(has_paddle_serving: bool) -> list[str]:
    """The names of all links."""
    stages = [f"as->{stage}" for stage in _STAGES]
    return [CLIENT, *stages, REDIS, MILVUS, *([RANK_PADDLE_SERVING] if has_paddle_serving else [])]


@contextmanager
def open_lab(
    current: LocalSettings, has_paddle_serving: bool, with_disks: bool, say: Callable[[str], None]
) -> Iterator[Lab]:
    """Run the services during the block.

    Args:
        current: Settings of the running mesh.
        has_paddle_serving: Whether Paddle Serving runs.
        with_disks: Whether to keep the cache of releases and a copy of Redis on small disks.
        say: Prints a line.

    Raises:
        SettingsError: The disks cannot be mounted.
    """
    own = _settings(current, has_paddle_serving)
    supervisor = Supervisor(own)
    supervisor.shutdown()  # what a killed run has left
    release = _active(current)
    with ExitStack() as stack:
        disks = _disks(stack, current, own, release) if with_disks else {}
        own_redis = _redis(own) if with_disks else None
        redis_port = own_redis.ports["redis"] if own_redis else current.redis_port
        targets = {name: own.port(name) for name in SERVICES}
        behind = {f"as->{stage}": targets[stage] for stage in _STAGES}
        behind |= {CLIENT: targets["as"], REDIS: redis_port, MILVUS: current.milvus_port}
        behind |= {RANK_PADDLE_SERVING: current.paddle_serving_port} if has_paddle_serving else {}
        relays = {link: stack.enter_context(Relay(port)) for link, port in behind.items()}
        supervisor.start()
        stack.callback(supervisor.shutdown)
        redis_url = f"redis://127.0.0.1:{redis_port}/0"
        if own_redis is not None:
            _start_copy(supervisor, own_redis, current, redis_url, say)
        _start(supervisor, own, relays, say)
        variables = own.variables() | {"RECMESH_AS_TARGET": f"127.0.0.1:{relays[CLIENT].port}"}
        yield Lab(own, Targets.from_environment(variables), supervisor, relays, disks, release, redis_url)


def _settings(current: LocalSettings, has_paddle_serving: bool) -> LocalSettings:
    """Settings of the services, on free ports, without the relays."""
    names = [f"{name}_port" for name in SERVICES]
    update: dict[str, object] = dict(zip(names, free_ports(len(names), offset=METRICS_PORT_OFFSET), strict=True))
    update |= {"home": current.folder / "faults", "host": "127.0.0.1", "model_store": current.store}
    update |= {"as_http_port": 0, "feed_http_port": 0}
    update |= {"metrics_port": None, "rank_backend": PADDLE_SERVING if has_paddle_serving else "onnx"}
    return current.model_copy(update=update)


def _active(current: LocalSettings) -> str:
    release = ModelStore(current.store).active()
    if release is None:
        raise SettingsError(f"{current.store} has no active release: run `make up` first")
    return release


def _disks(stack: ExitStack, current: LocalSettings, own: LocalSettings, release: str) -> dict[str, Disk]:
    """Disks with room for two copies of what they hold."""
    files = ModelStore(current.store).manifest(release).files.values()
    with redis.Redis(port=current.redis_port) as client:
        used = int(client.info("memory")["used_memory"])
    sizes = {"releases": sum(entry.size for entry in files), "redis": used}
    return {
        name: stack.enter_context(mounted(own.folder / name, 2 * size + _SPARE_BYTES)) for name, size in sizes.items()
    }


def _redis(own: LocalSettings) -> Program:
    """Redis as `make up` runs it, on a free port."""
    settings = own.model_copy(update={"redis_port": free_ports(1)[0]})
    return next(program for program in programs.stores(settings) if program.name == "redis")


def _start_copy(
    supervisor: Supervisor, program: Program, current: LocalSettings, url: str, say: Callable[[str], None]
) -> None:
    """Start a Redis and copy all users, histories and items of the running mesh into it."""
    supervisor.ensure([program])
    settings = current.model_copy(update={"redis_port": program.ports["redis"]})
    ready = {"Redis": (program.name, lambda: health.redis_answers(settings))}
    health.wait(supervisor, ready, _START_SECONDS, lambda _: None)
    keys = Keys.of(current.redis_prefix)
    source, copy = RedisWriter(current.redis_url, keys=keys), RedisWriter(url, keys=keys)
    try:
        names = [name for kind in (keys.user, keys.history, keys.item) for name in source.scan(kind.pattern)]
        for first in range(0, len(names), KEYS_PER_COMMAND):
            chunk = names[first : first + KEYS_PER_COMMAND]
            values = zip(chunk, source.read(chunk), strict=True)
            copy.write({name: value for name, value in values if value is not None})
    finally:
        source.close()
        copy.close()
    say(f"a Redis for full disks: {len(names):,} keys copied")


def _start(supervisor: Supervisor, own: LocalSettings, relays: Mapping[str, Relay], say: Callable[[str], None]) -> None:
    """Start the services. Each finds the others, and the stores, behind relays."""
    stores = {"redis_port": relays[REDIS].port, "milvus_port": relays[MILVUS].port}
    if RANK_PADDLE_SERVING in relays:
        stores["paddle_serving_port"] = relays[RANK_PADDLE_SERVING].port
    stages = {f"RECMESH_{stage.upper()}_TARGET": f"127.0.0.1:{relays[f'as->{stage}'].port}" for stage in _STAGES}
    services = programs.services(own.model_copy(update=stores), "services")
    supervisor.ensure([_with(program, stages) for program in services if program.name in SERVICES])
    checks = {name: (name, partial(health.serving, own.target(name))) for name in map(str, SERVICES)}
    health.wait(supervisor, checks, _START_SECONDS, lambda _: None)
    say("five services behind relays are ready")


def _with(program: Program, targets: Mapping[str, str]) -> Program:
    return dataclasses.replace(program, environment={**program.environment, **targets})
