"""Measure what each kind of rules adds to an answer of `as`, and how soon `as` applies rules.

    python -m benchmarks.rules [--rounds 5] [--requests 200]

Every round applies each set of rules in turn, waits until `as` has it, and asks for the same lists of 50 items one
after the other, so that all sets see the same load of the machine. In the end, the rules that were active before are
applied again. The mesh must be running (`make up`).
"""

import argparse
import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio
from rich.console import Console
from rich.table import Table

from benchmarks.load import Call, open_channel, quantile
from recmesh.cli.options import STORE
from recmesh.cli.top.scrape import Scraper, Target
from recmesh.client import Targets
from recmesh.contract import ITEM_FIELDS, METHOD_PATHS, metrics_address
from recmesh.errors import RecmeshError, Unavailable
from recmesh.pb import as_pb2
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.releases import ModelStore

_SIZE = 50
_GIVE_UP_SECONDS, _POLL_SECONDS = 10.0, 0.01
_NONE = "no rules"
_CPU = "process_cpu_seconds_total "


def rule_sets(items: Sequence[ItemInfo]) -> Mapping[str, Sequence[Mapping[str, object]]]:
    """The rules of each set, made of the fields of some items."""
    name = next((name for name in ITEM_FIELDS if all(getattr(item, name) for item in items)), "")
    if not name:
        raise RecmeshError(f"the items of this mesh have none of the fields {', '.join(ITEM_FIELDS)}")
    values = [getattr(item, name) for item in items]
    often = max(set(values), key=values.count).replace('"', '""')
    when = f'{name}="{often}"'
    kinds: Mapping[str, Mapping[str, object]] = {
        "pin": {"items": [items[-1].sku_id], "position": "3"},
        "boost": {"factor": "2", "when": when},
        "bury": {"factor": "2", "when": when},
        "exclude": {"when": when},
        "at_most": {"field": name, "count": "5", "first": "20"},
        "freshness": {"field": name, "days": "30", "share": "0.2", "first": "20"},
        "diversity": {"strength": "0.3"},
    }
    rules = {kind: {"name": kind, "kind": kind, **keys} for kind, keys in kinds.items()}
    elsewhere = [{**rules["diversity"], "name": f"{number}", "scenario": "related"} for number in range(50)]
    return {
        _NONE: [],
        "50 for another scenario": elsewhere,
        **{kind: [rule] for kind, rule in rules.items()},
        "one of each kind": list(rules.values()),
        "200 boosts": [{**rules["boost"], "name": f"{number}"} for number in range(200)],
    }


class _Mesh:
    """The running mesh."""

    def __init__(self, channel: grpc.aio.Channel, metrics: str, store: str) -> None:
        self._call: Call = channel.unary_unary(METHOD_PATHS["as"])
        self._metrics = metrics
        self._scraper = Scraper([Target(metrics)])
        self.store = ModelStore(store)

    async def ask(self, user: int) -> as_pb2.ASResponse:
        request = as_pb2.ASRequest(user_info=UserInfo(age=f"{user % 9}.0", sex=f"{user % 3}.0"), size=_SIZE)
        content = await self._call(request.SerializeToString(), timeout=_GIVE_UP_SECONDS)
        return as_pb2.ASResponse.FromString(content)

    async def cpu(self) -> float:
        """The processor time that the process of `as` has used, in seconds."""
        page = await asyncio.to_thread(_page, self._metrics)
        return float(next(line for line in page.splitlines() if line.startswith(_CPU)).rpartition(" ")[2])

    async def apply(self, text: str) -> float:
        """Apply rules. Returns the seconds until `as` has them."""
        number = self.store.apply_rules(text, comment="benchmark").number
        began = time.perf_counter()
        while time.perf_counter() - began < _GIVE_UP_SECONDS:
            (scrape,) = await asyncio.to_thread(self._scraper.scrape)
            found = scrape.page.samples.get("recmesh_rules_version", {}) if scrape.page else {}
            if max(found.values(), default=0.0) >= number:
                return time.perf_counter() - began
            await asyncio.sleep(_POLL_SECONDS)
        raise Unavailable(f"as does not apply version {number}: is RECMESH_MODEL_STORE that of the mesh?")


@dataclass
class _Answers:
    """Seconds of answers, and the processor time of all of them."""

    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0


async def _measured(mesh: _Mesh, rounds: int, requests: int) -> tuple[dict[str, _Answers], list[float]]:
    """The answers with each set of rules, and the seconds until rules applied."""
    await mesh.apply("rules: []")
    items = [item for user in range(20) for item in (await mesh.ask(user)).item_infos]
    answers: dict[str, _Answers] = {}
    applied = list[float]()
    for _ in range(rounds):
        for name, rules in rule_sets(items).items():
            applied.append(await mesh.apply(json.dumps({"rules": rules})))
            of_set, before = answers.setdefault(name, _Answers()), await mesh.cpu()
            for user in range(requests):
                began = time.perf_counter()
                answer = await mesh.ask(user)
                of_set.seconds.append(time.perf_counter() - began)
                if answer.degraded:
                    raise RecmeshError(f"{name}: an answer is degraded: {', '.join(answer.degraded)}")
            of_set.cpu += await mesh.cpu() - before
    return answers, applied


async def _run(options: argparse.Namespace) -> None:
    target = Targets.from_environment()["as"]
    async with open_channel(target) as channel:
        mesh = _Mesh(channel, metrics_address(target) if not options.metrics else options.metrics, options.store)
        numbers = mesh.store.rule_numbers()
        before = mesh.store.rules(numbers[-1]) if numbers else None
        try:
            answers, applied = await _measured(mesh, options.rounds, options.requests)
        finally:
            mesh.store.apply_rules(before.text if before else "rules: []", comment="as before the benchmark")
    table = Table("rules", "p50 ms", "p99 ms", "CPU of as, ms")
    for name, of_set in answers.items():
        seconds = sorted(of_set.seconds)
        p50, p99 = quantile(seconds, 0.5), quantile(seconds, 0.99)
        table.add_row(name, f"{p50 * 1e3:.2f}", f"{p99 * 1e3:.1f}", f"{of_set.cpu / len(seconds) * 1e3:.2f}")
    console = Console(highlight=False)
    console.print(table)
    p50, most = quantile(sorted(applied), 0.5), max(applied)
    console.print(f"applied after {p50:.2f} s (p50), {most:.2f} s at most, {len(applied)} times")


def _page(metrics: str) -> str:
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=_GIVE_UP_SECONDS) as answer:
        content: bytes = answer.read()
    return content.decode()


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200, help="for each set of rules in a round")
    parser.add_argument("--store", default=os.environ.get("RECMESH_MODEL_STORE", STORE))
    parser.add_argument("--metrics", default="", help="the metrics port of as, HOST:PORT")
    try:
        asyncio.run(_run(parser.parse_args()))
    except RecmeshError as error:
        print(f"benchmarks.rules: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
