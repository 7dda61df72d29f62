"""Visitors of the web shop, as load: they view products, fill carts and order. docs/webshop.md explains it.

pip install httpx
python visitors.py --url http://127.0.0.1:8000 --rate 2 --seconds 30 --users 5000,5001

Sessions begin at random times, `--rate` a second on average, whether or not the shop keeps up. A seed decides
everything that a visitor chooses and how long it thinks, except what the shop shows.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

TIMEOUT_SECONDS = 10.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass
class Totals:
    """What all visitors have seen.

    Attributes:
        seconds: How long each request took.
        failures: The requests that failed, by reason.
        lists: Home pages that were opened after an action.
        changed: How many of them had another list than the home page before the action.
        fallbacks: Pages with the list that the shop shows while recmesh does not answer.
    """

    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    lists: int = 0
    changed: int = 0
    fallbacks: int = 0


class Visitor:
    """One session: its cookies, its choices, and the pages that it opens."""

    def __init__(self, shop: httpx.AsyncClient, choices: random.Random, think: float, totals: Totals) -> None:
        self._shop, self._choices, self._think, self._totals = shop, choices, think, totals

    async def visit(self, user_id: str) -> None:
        """Home, a few products, sometimes the cart, sometimes an order, and home again after each product."""
        if user_id:
            await self._send("POST", "/login", {"user_id": user_id})
        items = await self._home()
        for _ in range(self._choices.randint(1, 3)):
            if not items:
                return
            sku_id = items[min(int(self._choices.expovariate(0.5)), len(items) - 1)]  # mostly from the top
            await self._pause()
            await self._send("GET", f"/products/{sku_id}")
            await self._act("view", sku_id)
            if self._choices.random() < 0.5:
                await self._pause()
                await self._act("cart", sku_id)
                if self._choices.random() < 0.5:
                    await self._pause()
                    await self._act("order", sku_id)
            await self._pause()
            before, items = items, await self._home()
            self._totals.lists += 1
            self._totals.changed += items != before

    async def _home(self) -> list[str]:
        page = await self._send("GET", "/")
        return [item["sku_id"] for item in page.get("items", ())]

    async def _act(self, kind: str, sku_id: str) -> None:
        # Not of the seed: the actions of a second run count, too.
        await self._send("POST", "/actions", {"sku_id": sku_id, "type": kind, "event_id": uuid.uuid4().hex})

    async def _pause(self) -> None:
        await asyncio.sleep(self._choices.expovariate(1 / self._think) if self._think else 0)

    async def _send(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        """Send a request. Returns the answer; nothing if it failed, which is counted."""
        began = time.perf_counter()
        try:
            answer = await self._shop.request(method, path, json=body)
            answer.raise_for_status()
            page: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
            self._totals.failures[f"{method} /{path.split('/')[1]}: {status}"] += 1
            return {}
        finally:
            self._totals.seconds.append(time.perf_counter() - began)
        self._totals.fallbacks += page.get("fallback", False)
        return page


async def run(options: argparse.Namespace) -> int:
    """Send the visitors, wait for the last one, and print what they saw. Returns the exit code."""
    arrivals, users, totals = random.Random(options.seed), list(filter(None, options.users.split(","))), Totals()
    began, at, sessions = time.monotonic(), 0.0, list[asyncio.Task[None]]()
    async with httpx.AsyncHTTPTransport() as transport:  # all visitors share its connections
        while (at := at + arrivals.expovariate(options.rate)) < options.seconds:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            user_id = arrivals.choice(users) if users and arrivals.random() < options.known else ""
            choices = random.Random(f"{options.seed} {len(sessions)}")
            shop = httpx.AsyncClient(
                base_url=options.url, transport=transport, timeout=TIMEOUT_SECONDS, trust_env=False
            )
            sessions.append(asyncio.create_task(Visitor(shop, choices, options.think, totals).visit(user_id)))
        await asyncio.gather(*sessions)
    failed = sum(totals.failures.values())
    print(f"{len(sessions)} sessions, {len(totals.seconds)} requests in {time.monotonic() - began:.1f} s")
    print(f"failures: {failed}", *(f"  {count} x {reason}" for reason, count in totals.failures.items()), sep="\n")
    if len(totals.seconds) > 1:
        cuts = statistics.quantiles(totals.seconds, n=100)
        print(f"latency: p50 {1000 * cuts[49]:.1f} ms, p99 {1000 * cuts[98]:.1f} ms")
    print(f"lists that changed after an action: {totals.changed} of {totals.lists}")
    print(f"pages with the list for failures of recmesh: {totals.fallbacks}")
    return 1 if failed else 0


def main() -> int:
    """Read the options, and run."""
    parser = argparse.ArgumentParser(description="Visit the web shop.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the shop")
    parser.add_argument("--rate", type=float, default=1.0, help="sessions a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long new sessions begin")
    parser.add_argument("--think", type=float, default=1.0, help="mean time between two pages, in seconds")
    parser.add_argument("--users", default="", help="ids of known users, separated by commas")
    parser.add_argument("--known", type=float, default=0.5, help="share of the sessions that log in as one of them")
    parser.add_argument("--seed", type=int, default=1, help="seed of all choices")
    parser.add_argument("--remote", action="store_true", help="allow an address that is not on this machine")
    options = parser.parse_args()
    if options.rate <= 0 or options.seconds <= 0 or options.think < 0:
        parser.error("--rate and --seconds must be positive, and --think must not be negative")
    if httpx.URL(options.url).host not in LOOPBACK and not options.remote:
        parser.error(f"{options.url} is not on this machine: the visitors' actions would count there; see --remote")
    return asyncio.run(run(options))


if __name__ == "__main__":
    sys.exit(main())
