"""The run of `recmesh replay`: requests from the log of answers go to `as` again, and the lists are compared."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from rich.console import Console

from recmesh.answers import answer_files, read_answers
from recmesh.cli.many import ask_all
from recmesh.cli.unlogged import Unlogged
from recmesh.client import AS, Mesh, Targets, check_answer
from recmesh.contract import NO_USER_IDS
from recmesh.errors import DataError, RecmeshError
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.progress import Meter, Reporter

EQUAL, ORDER, ITEMS, FAILED = "equal", "other order", "other items", "failed"
"""What an answer is like, compared with the logged one."""

_NAMED_ITEMS = 5


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay.

    Attributes:
        path: A file of the log, or its folder.
        release: The only release whose requests are asked; empty for all.
        limit: The most requests, the latest ones; 0 for all.
        timeout: Seconds for a request, retries included.
        concurrency: Requests in flight.
        as_json: Whether to print JSON.
    """

    path: Path
    release: str
    limit: int
    timeout: float
    concurrency: int
    as_json: bool


@dataclass(frozen=True, slots=True)
class Logged:
    """A logged request, and its answer then."""

    place: str
    request: ASRequest
    items: Sequence[str]
    release: str
    degraded: Sequence[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An answer compared with the logged one.

    Attributes:
        place: File and line of the logged answer.
        user_id: The user of the request.
        kind: `equal`, `other order`, `other items` or `failed`.
        came: Items of the new answer alone, in its order.
        went: Items of the logged answer alone, in its order.
        overlap: Number of common items, divided by the length of the longer list; 1 for two empty lists.
        releases: The release that answered then, and the one that answered now.
        degraded: What was missing then, and what is missing now.
        error: Why the request failed; else empty.
    """

    place: str
    user_id: str
    kind: str
    came: Sequence[str] = ()
    went: Sequence[str] = ()
    overlap: float = 0.0
    releases: tuple[str, str] = ("", "")
    degraded: tuple[Sequence[str], Sequence[str]] = ((), ())
    error: str = ""

    @property
    def other_release(self) -> bool:
        """Whether another release answered."""
        return self.kind != FAILED and self.releases[0] != self.releases[1]

    def __str__(self) -> str:
        what = [f"{self.kind}: {self.error}" if self.error else self.kind]
        if self.came or self.went:
            what = [f"{max(len(self.came), len(self.went))} other items"]
        what += [f"{verb} {_named(items)}" for verb, items in (("came", self.came), ("went", self.went)) if items]
        if self.other_release:
            what.append(f"release {self.releases[0]}, now {self.releases[1]}")
        for when, missing in zip(("then", "now"), self.degraded, strict=True):
            if missing:
                what.append(f"degraded {when}: {', '.join(missing)}")
        user = "new user" if self.user_id in NO_USER_IDS else f"user {self.user_id}"
        return f"{self.place}: {user}: {'; '.join(what)}"


@dataclass
class ReplayReport:
    """All comparisons, in the order of the log, and the lines that could not be read."""

    comparisons: list[Comparison] = field(default_factory=list)
    bad_lines: list[str] = field(default_factory=list)

    def kinds(self) -> dict[str, int]:
        """The number of answers of each kind."""
        counts = Counter(comparison.kind for comparison in self.comparisons)
        return {kind: counts[kind] for kind in (EQUAL, ORDER, ITEMS, FAILED)}

    @property
    def overlap(self) -> float:
        """The mean overlap of the answers; 0 if all failed."""
        found = [comparison.overlap for comparison in self.comparisons if comparison.kind != FAILED]
        return sum(found) / len(found) if found else 0.0

    def summary(self) -> dict[str, Any]:
        """The totals, as JSON values."""
        answered = [comparison for comparison in self.comparisons if comparison.kind != FAILED]
        return {
            "asked": len(self.comparisons),
            **{kind.replace(" ", "_"): count for kind, count in self.kinds().items()},
            "overlap": round(self.overlap, 4),
            "other_release": sum(comparison.other_release for comparison in answered),
            "degraded_then": sum(bool(comparison.degraded[0]) for comparison in answered),
            "degraded_now": sum(bool(comparison.degraded[1]) for comparison in answered),
            "bad_lines": len(self.bad_lines),
        }


async def run_replay(options: ReplayOptions, targets: Targets) -> int:
    """Ask the logged requests again, and print what differs.

    Returns:
        The exit code: 0 if all lists are equal, 1 if some differ; the code of the first error if requests failed.

    Raises:
        DataError: There are no logged answers to ask for.
        Unavailable, DeadlineExceeded, Overloaded: `as` has stopped answering.
    """
    report = ReplayReport()
    logged = read_logged(options, report.bad_lines.append)
    console = Console(stderr=True, highlight=False)
    compared: dict[int, Comparison] = {}
    async with Mesh(targets, timeout=options.timeout, retry_overload=True, interceptors=[Unlogged()]) as mesh:

        async def ask(number: int) -> None:
            response = await mesh.call(AS, logged[number].request)
            check_answer(AS, response)
            compared[number] = compare(logged[number], response)

        meter = Meter(Reporter(console), "replay", len(logged))
        failures = await ask_all(range(len(logged)), ask, concurrency=options.concurrency, meter=meter)
    for failure in failures:
        then = logged[failure.job]
        compared[failure.job] = Comparison(then.place, then.request.user_id, FAILED, error=str(failure.error))
    report.comparisons = [compared[number] for number in sorted(compared)]
    _print(report, options.as_json)
    if failures:
        return failures[0].error.exit_code
    return 0 if report.kinds()[EQUAL] == len(logged) else RecmeshError.exit_code


def read_logged(options: ReplayOptions, bad: Callable[[str], None]) -> list[Logged]:
    """Read the requests to ask, in the order of the log.

    Raises:
        DataError: There are none.
    """
    logged = []
    for place, answer in read_answers(answer_files(options.path), bad):
        if options.release not in ("", answer.release):
            continue
        try:
            request = ParseDict(answer.request, ASRequest())
        except ParseError as error:
            bad(f"{place}: request: {' '.join(str(error).split())}")
            continue
        logged.append(Logged(place, request, answer.items, answer.release, answer.degraded))
    if not logged:
        of = f" of release {options.release}" if options.release else ""
        raise DataError(f"{options.path}: no logged answer{of}")
    return logged[-options.limit :]  # [-0:] is everything


def compare(then: Logged, now: ASResponse) -> Comparison:
    """Compare an answer with the logged one."""
    items = [item.sku_id for item in now.item_infos]
    came, went = _without(items, then.items), _without(then.items, items)
    same_items = ORDER if items != list(then.items) else EQUAL
    longer = max(len(items), len(then.items))
    return Comparison(
        place=then.place,
        user_id=then.request.user_id,
        kind=ITEMS if came or went else same_items,
        came=came,
        went=went,
        overlap=(len(items) - len(came)) / longer if longer else 1.0,
        releases=(then.release, now.release),
        degraded=(list(then.degraded), list(now.degraded)),
    )


def _print(report: ReplayReport, as_json: bool) -> None:
    for fault in report.bad_lines:
        print(f"warning: {fault}", file=sys.stderr)
    differing = [of for of in report.comparisons if of.kind != EQUAL]
    if as_json:
        plain = {**report.summary(), "differences": [asdict(of) for of in differing], "faults": report.bad_lines}
        print(json.dumps(plain, indent=2, ensure_ascii=False))
        return
    for comparison in differing:
        print(comparison)
    counts = report.summary()
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.kinds().items())
    print(f"asked {counts['asked']:,} requests: {kinds}; the lists share {report.overlap:.1%} of their items")
    told = {"answered by another release": "other_release", "degraded then": "degraded_then"}
    told |= {"degraded now": "degraded_now", "lines that cannot be read": "bad_lines"}
    if others := [f"{counts[name]:,} {text}" for text, name in told.items() if counts[name]]:
        print(", ".join(others))


def _without(items: Sequence[str], others: Sequence[str]) -> list[str]:
    known = set(others)
    return [item for item in items if item not in known]


def _named(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED_ITEMS:,} more" if len(items) > _NAMED_ITEMS else ""
    return ", ".join(items[:_NAMED_ITEMS]) + more
