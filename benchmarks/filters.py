"""Measure requests with a filter: are the lists full, do all items pass, and what does it cost?

    python -m benchmarks.filters [--field cate] [--users 100] [--size 50]

Ten values of an item field are chosen, from one of the rarest to the most frequent one. Each user asks `as` for items
with each of them, without a filter, and with one that all items pass; one request after the other. The items of the
answers are compared with those in Redis. The mesh must be running (`make up`). The exit code is 1 if a list lacks an
item, or has one that does not pass.
"""

import argparse
import asyncio
import math
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

import local.settings
from benchmarks import traffic
from benchmarks.load import quantile
from recmesh.client import Condition, Mesh, Targets
from recmesh.errors import DataError, RecmeshError
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.stores.keys import Keys
from recmesh.stores.redis import RedisWriter
from recmesh.stores.wire import item_fields

_VALUES = 10
_WARM_UP = 20


@dataclass
class _Case:
    """A filter, and the answers to the requests with it.

    Attributes:
        name: Of the filter.
        conditions: Its conditions.
        passing: The items that pass.
        milliseconds: The time of each answer.
        full: How many lists have as many items as they can.
        wrong: How many items do not pass.
        degraded: How many answers lack a part.
    """

    name: str
    conditions: Sequence[Condition]
    passing: Collection[str]
    milliseconds: list[float] = field(default_factory=list)
    full: int = 0
    wrong: int = 0
    degraded: int = 0

    async def ask(self, mesh: Mesh, user_id: str, size: int) -> None:
        """Send a request of a user, and keep what the answer is like."""
        began = time.perf_counter()
        answer = await mesh.recommend(user_id, size=size, filter=self.conditions)
        self.milliseconds.append(1e3 * (time.perf_counter() - began))
        listed = {item.sku_id for item in answer.items}
        self.full += len(listed) == min(size, len(self.passing))
        self.wrong += len(listed.difference(self.passing))
        self.degraded += bool(answer.degraded)


def _chosen(items: Mapping[str, Collection[str]]) -> list[str]:
    """Ten values, whose numbers of items have about the same ratio from each to the next."""
    ordered = sorted(items, key=lambda value: (len(items[value]), value))
    least, most = (math.log(len(items[value])) for value in (ordered[0], ordered[-1]))
    wanted = [least + (most - least) * step / (_VALUES - 1) for step in range(_VALUES)]
    nearest = [min(ordered, key=lambda value: abs(math.log(len(items[value])) - size)) for size in wanted]
    return list(dict.fromkeys([*nearest[:-1], ordered[-1]]))


def _values(redis_url: str, keys: Keys, name: str) -> tuple[set[str], dict[str, set[str]]]:
    """All items, and those with each value of a field."""
    redis = RedisWriter(redis_url, keys=keys)
    try:
        found = sorted(redis.scan(keys.item.pattern))
        infos = [ItemInfo.FromString(value) for value in redis.read(found) if value is not None]
    finally:
        redis.close()
    items: dict[str, set[str]] = {}
    for info in infos:
        if value := item_fields(info).get(name):
            items.setdefault(value, set()).add(info.sku_id)
    if not items:
        raise DataError(f"no item in Redis has a field {name!r}: give another one by --field")
    return {info.sku_id for info in infos}, items


async def _measure(options: argparse.Namespace) -> list[_Case]:
    settings = local.settings.load()
    keys = Keys.of(settings.redis_prefix)
    users = traffic.draw_users(settings.redis_url, keys, options.users)
    every, items = _values(settings.redis_url, keys, options.field)
    cases = [
        _Case("none", (), every),
        _Case("one that all items pass", (Condition("sku_id", none_of=("no such item",)),), every),
    ]
    for value in _chosen(items):
        cases.append(_Case(f"{options.field}={value}", (Condition(options.field, any_of=(value,)),), items[value]))
    async with Mesh(Targets.from_environment(settings.variables()), timeout=10.0) as mesh:
        for user_id in users[:_WARM_UP]:
            await mesh.recommend(user_id, size=options.size)
        # All filters of a user in turn, so that they share the speed of the moment.
        for user_id in users:
            for case in cases:
                await case.ask(mesh, user_id, options.size)
    return cases


def _show(console: Console, options: argparse.Namespace, cases: Sequence[_Case]) -> None:
    title = f"as, {options.size} items, one request at a time, {len(cases[0].milliseconds)} users"
    table = Table("filter", title=title, title_justify="left")
    for column in ("items that pass", "full lists", "wrong items", "degraded", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right")
    for case in cases:
        times = (f"{quantile(sorted(case.milliseconds), share):.1f}" for share in (0.5, 0.99))
        full = f"{case.full} of {len(case.milliseconds)}"
        table.add_row(case.name, f"{len(case.passing):,}", full, str(case.wrong), str(case.degraded), *times)
    console.print(table)


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filters", description=__doc__.partition("\n")[0])
    parser.add_argument("--field", default="cate", help="the item field (default cate)")
    parser.add_argument("--users", type=int, default=100, help="number of users (default 100)")
    parser.add_argument("--size", type=int, default=50, help="items of each list (default 50)")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    try:
        cases = asyncio.run(_measure(options))
    except RecmeshError as error:
        print(f"filters: {error}", file=sys.stderr)
        return error.exit_code
    _show(console, options, cases)
    complete = all(case.full == len(case.milliseconds) and not case.wrong for case in cases)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
