"""`client.py batch`: recommendations for every row of a file, through the running chain."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from recmesh.cli.journal import Answer, Journal
from recmesh.cli.many import Failure, ask_all
from recmesh.cli.tables import ITEM, USER, Query, read_queries, replacing, write_failures
from recmesh.client import AS, Mesh, check_answer, wire
from recmesh.pb import as_pb2
from recmesh.progress import Meter, Reporter


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What to ask for every query: `size` items (1 to 200), `concurrency` requests at a time."""

    queries: Path
    out: Path
    size: int = 100
    new_only: bool = False
    concurrency: int = 16


@dataclass(frozen=True, slots=True)
class BatchReport:
    """Totals of a finished batch. `degraded` counts answers by the stage or part that was missing."""

    queries: int
    resumed: int
    items: int
    empty: int
    degraded_answers: int
    degraded: Mapping[str, int]
    releases: tuple[str, ...]
    failures: tuple[Failure[Query], ...]
    failures_list: Path | None


async def run_batch(mesh: Mesh, options: BatchOptions, console: Console) -> BatchReport:
    """Answer every query once and write `out` (user_id, sku_id; best first, users in the order of the queries).

    Finished queries are kept in `<out>.part` until all are: the same call after an interruption asks only for the rest.
    Queries that failed are listed in `<out>.failed.csv`; their absence from `out` is the only difference they make.
    Raises DataError for a damaged queries file, Unavailable and its kin when the mesh stops answering.
    """
    queries = read_queries(options.queries)
    with Journal(options.out.with_name(f"{options.out.name}.part"), _identity(options)) as journal:
        if journal.started_over:
            console.print(f"{options.out}.part was left by a run with other queries or options: starting over")
        left = [query for query in queries if query.key not in journal]
        resumed = len(queries) - len(left)

        async def ask(query: Query) -> None:
            journal.add(await _ask(mesh, query, options))

        meter = Meter(Reporter(console), "batch", len(queries), done=resumed)
        failures = await ask_all(left, ask, concurrency=options.concurrency, meter=meter)
        return _finish(options, queries, journal, resumed, failures)


async def _ask(mesh: Mesh, query: Query, options: BatchOptions) -> Answer:
    request = as_pb2.ASRequest(user_id=query.user_id, size=options.size, new_only=options.new_only)
    # An id that um does not know, with a profile, is a new user to as.
    if query.profile or not query.user_id:
        request.user_info.CopyFrom(wire.user_info(query.user_id, query.profile))
    response = await mesh.call(AS, request)
    check_answer(AS, response)
    return Answer(query.key, [item.sku_id for item in response.item_infos], list(response.degraded), response.release)


def _finish(
    options: BatchOptions, queries: list[Query], journal: Journal, resumed: int, failures: list[Failure[Query]]
) -> BatchReport:
    items = empty = degraded_answers = 0
    degraded: Counter[str] = Counter()
    releases: dict[str, None] = {}
    with replacing(options.out, (USER, ITEM)) as writer:
        for answer in journal.read(query.key for query in queries):
            writer.writerows((answer.key, sku_id) for sku_id in answer.sku_ids)
            items += len(answer.sku_ids)
            empty += not answer.sku_ids
            degraded_answers += bool(answer.degraded)
            degraded.update(answer.degraded)
            releases[answer.release] = None
    rows = [(failure.job.key, str(failure.error)) for failure in failures]
    failures_list = write_failures(options.out, (USER, "reason"), rows)
    if not failures:
        journal.remove()
    return BatchReport(
        queries=len(queries),
        resumed=resumed,
        items=items,
        empty=empty,
        degraded_answers=degraded_answers,
        degraded=dict(degraded.most_common()),
        releases=tuple(releases),
        failures=tuple(failures),
        failures_list=failures_list,
    )


def _identity(options: BatchOptions) -> dict[str, str | int | bool]:
    return {
        "queries": hashlib.sha256(options.queries.read_bytes()).hexdigest(),
        "size": options.size,
        "new_only": options.new_only,
    }
