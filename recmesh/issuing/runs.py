"""Reads, plans and writes until nothing is left to do."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from recmesh.errors import RecmeshError
from recmesh.issuing.plan import Change, Found, RenderAcl, Rotation, Stored, names, pending, plan
from recmesh.issuing.spec import Spec

_MAX_ROUNDS = 50


class Conflict(Exception):
    """Somebody else has written in between: read again."""


class Store(Protocol):
    """Where certificates and passwords are kept."""

    def read(self, names: Sequence[str]) -> Found:
        """What is there under these names."""
        ...

    def write(self, change: Change, before: Stored | None) -> None:
        """Write, if what is there is still what was read.

        Raises:
            Conflict: It is not.
        """
        ...


def run(
    spec: Spec,
    store: Store,
    clock: Callable[[], datetime],
    render_acl: RenderAcl,
    say: Callable[[str], None],
    rotate: Rotation | None = None,
) -> None:
    """Bring a store up to date. Several runs at the same time do no harm: each one works on what the others wrote.

    Args:
        spec: What the installation needs.
        store: Where it is kept.
        clock: The time, in UTC.
        render_acl: Writes the access control list of Redis.
        say: Prints a line.
        rotate: What has to be rotated although it is not due.

    Raises:
        SettingsError: See `plan`.
        RecmeshError: Others keep writing.
    """
    for _ in range(_MAX_ROUNDS):
        found = store.read(names(spec))
        changes = plan(spec, found, clock(), rotate, render_acl)
        if not changes:
            for line in pending(spec, found):
                say(line)
            return
        if _written(changes, found, store, say):
            rotate = None
    raise RecmeshError(f"others keep writing the same secrets ({_MAX_ROUNDS} rounds): let only one job run at a time")


def _written(changes: Sequence[Change], found: Found, store: Store, say: Callable[[str], None]) -> bool:
    """Write changes. Returns whether nobody else had written in between."""
    done: dict[str, list[str]] = {}
    try:
        for change in changes:
            store.write(change, found.get(change.name))
            done.setdefault(change.why, []).append(change.name)
    except Conflict:
        say(f"{change.name}: somebody else has just written it; reading again")
        return False
    finally:
        for why, written in done.items():
            say(f"{', '.join(written)}: {why}")
    return True
