"""An installation in memory: its spec, a store, and a clock that tests move."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from recmesh.issuing import Change, Conflict, Found, Identity, Rotation, Spec, Stored, run
from recmesh.issuing.spec import MilvusUsers, RedisUsers

BEGIN = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)


def spiffe(component: str) -> str:
    return f"spiffe://cluster.local/ns/shop/release/r/{component}"


SPEC = Spec(
    release="r",
    namespace="shop",
    certificates={
        "um": Identity(dns=("r-um", "r-um.shop.svc"), uri=spiffe("um")),
        "as": Identity(dns=("r-as", "10.1.2.3"), uri=spiffe("as")),
        "client": Identity(uri=spiffe("client")),
    },
    redis=RedisUsers(users=("um", "operator")),
    milvus=MilvusUsers(users=("root", "recall")),
)


def render(passwords: Mapping[str, Sequence[str]], prefix: str) -> str:
    """The passwords of each user as text, in place of Redis's list."""
    return "".join(f"{user} {prefix} {' '.join(accepted)}\n" for user, accepted in passwords.items())


class Killed(Exception):
    """The run was ended from outside."""


class Memory:
    """A store that refuses to overwrite what it has not handed out, like Kubernetes."""

    def __init__(self) -> None:
        self.stored: dict[str, Stored] = {}
        self.writes = 0
        self.before_write: Callable[[Change], object] = lambda change: None

    def read(self, names: Sequence[str]) -> Found:
        return {name: self.stored[name] for name in names if name in self.stored}

    def write(self, change: Change, before: Stored | None) -> None:
        self.before_write(change)
        if self.stored.get(change.name) is not before:
            raise Conflict
        self.writes += 1
        self.stored[change.name] = Stored(dict(change.data), version=self.writes)

    def data(self, name: str, key: str) -> bytes:
        return self.stored[name].data[key]


class Installation:
    """An installation and the secrets Job that keeps it up to date."""

    def __init__(self, spec: Spec = SPEC) -> None:
        self.spec, self.store, self.now = spec, Memory(), BEGIN

    def after(self, **time: float) -> "Installation":
        self.now += timedelta(**time)
        return self

    def run(self, rotate: Rotation | None = None) -> list[str]:
        """Run the Job. Returns its lines."""
        lines: list[str] = []
        run(self.spec, self.store, lambda: self.now, render, lines.append, rotate)
        return lines
