"""`client.py batch`: recommendations for every row of a file."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from rich.console import Console

from recmesh.cli.csv_files import ITEM, USER, Query, read_queries, replacing, write_failures
from recmesh.cli.journal import Journal
from recmesh.cli.many import PRINTED_FAILURES, Failure, ask_all, name_releases
from recmesh.client import AS, Item, Mesh, check_answer, wire
from recmesh.errors import SettingsError
from recmesh.pb import as_pb2
from recmesh.progress import Meter, Reporter

SCORE = "score"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """A batch.

    Attributes:
        queries: The file of queries.
        out: The file of predictions to write.
        size: Items for each user, 1 to 200.
        new_only: Whether to leave out items that the user has acted on.
        concurrency: Requests in flight.
        scores: Whether to write the score of each item.
        fields: The item fields to write.
    """

    queries: Path
    out: Path
    size: int = 100
    new_only: bool = False
    concurrency: int = 16
    scores: bool = False
    fields: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file of predictions.

        Raises:
            SettingsError: Two of them have the same name.
        """
        columns = (USER, ITEM, *((SCORE,) if self.scores else ()), *self.fields)
        twice = next((name for name, count in Counter(columns).items() if count > 1), None)
        if twice is not None:
            raise SettingsError(f"--fields: {self.out} would have two columns {twice!r}")
        return columns


@dataclass(frozen=True, slots=True)
class BatchReport:
    """Totals of a finished batch.

    Attributes:
        queries: Number of queries.
        resumed: Queries that an earlier run had answered.
        items: Items in all predictions.
        empty: Queries without any item.
        degraded_answers: Answers that lack a stage or a part of one.
        degraded: Degraded answers by what they lack, the most frequent first.
        releases: Releases that answered.
        failures: Queries without an answer.
        failures_list: The file that lists them; None without failures.
    """

    queries: int
    resumed: int
    items: int
    empty: int
    degraded_answers: int
    degraded: Mapping[str, int]
    releases: tuple[str, ...]
    failures: tuple[Failure[Query], ...]
    failures_list: Path | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """A finished query.

    Attributes:
        key: The key of the query.
        items: The cells of each item, best first, in the order of `BatchOptions.columns`.
        degraded: What the answer lacks.
        release: The release that answered.
    """

    key: str
    items: list[list[str]]
    degraded: list[str]
    release: str


async def run_batch(mesh: Mesh, options: BatchOptions, console: Console) -> BatchReport:
    """Query the mesh for each row once, and write the predictions in the order of the queries, best item first.

    Finished queries are kept in `<out>.part` until all are finished: after an interruption the same call sends only the
    rest. Failed queries are missing from `out`, and listed in `<out>.failed.csv`.

    Args:
        mesh: The mesh to query.
        options: The batch.
        console: Shows the progress.

    Returns:
        The totals.

    Raises:
        DataError: The file of queries is damaged.
        SettingsError: Another batch writes the same file, or two columns have the same name.
        Unavailable, DeadlineExceeded, Overloaded: The mesh has stopped answering.
    """
    columns, queries = options.columns, read_queries(options.queries)
    with Journal(options.out.with_name(f"{options.out.name}.part"), _identity(options)) as journal:
        if journal.started_over:
            console.print(f"{options.out}.part belongs to a run with other queries or options: starting over")
        remaining = [query for query in queries if query.key not in journal]
        resumed = len(queries) - len(remaining)

        async def ask(query: Query) -> None:
            answer = await _ask(mesh, query, options)
            journal.add(answer.key, answer.items, answer.degraded, answer.release)

        meter = Meter(Reporter(console), "batch", len(queries), done=resumed)
        failures = await ask_all(remaining, ask, concurrency=options.concurrency, meter=meter)
        return _finish(options, columns, queries, journal, resumed, failures)


def print_report(report: BatchReport, out: Path, console: Console) -> None:
    """Print the totals of a batch that wrote `out`."""
    say = Reporter(console).say
    answered = report.queries - len(report.failures)
    say(f"{out}: {report.items} items for {answered} of {report.queries} queries{name_releases(report.releases)}")
    if report.resumed:
        say(f"resumed: {report.resumed} queries were answered by an earlier run")
    if report.empty:
        say(f"without any item: {report.empty} queries")
    reasons = ", ".join(f"{name} {count}" for name, count in report.degraded.items())
    say(f"degraded: {report.degraded_answers} answers" + (f" ({reasons})" if reasons else ""))
    if report.failures:
        say(
            f"failed: {len(report.failures)} queries, listed in {report.failures_list}; "
            "the same command tries them again"
        )
        for failure in report.failures[:PRINTED_FAILURES]:
            say(f"  {failure.job.key}: {failure.error}")


async def _ask(mesh: Mesh, query: Query, options: BatchOptions) -> _Answer:
    request = as_pb2.ASRequest(user_id=query.user_id, size=options.size, new_only=options.new_only)
    # To as, an id that um does not know, with a profile, is a new user.
    if query.profile or not query.user_id:
        request.user_info.CopyFrom(wire.user_info(query.user_id, query.profile))
    response = await mesh.call(AS, request)
    check_answer(AS, response)
    items = [_cells(wire.to_item(info), options) for info in response.item_infos]
    return _Answer(query.key, items, list(response.degraded), response.release)


def _cells(item: Item, options: BatchOptions) -> list[str]:
    """The id of an item, its score to the digits of a float32, and its fields; empty for a field that it lacks."""
    score = [f"{item.rank_score:.9g}"] if options.scores else []
    return [item.sku_id, *score, *(item.fields.get(name, "") for name in options.fields)]


def _finish(
    options: BatchOptions,
    columns: Sequence[str],
    queries: list[Query],
    journal: Journal,
    resumed: int,
    failures: list[Failure[Query]],
) -> BatchReport:
    items = empty = degraded_answers = 0
    degraded: Counter[str] = Counter()
    releases: dict[str, None] = {}
    with replacing(options.out, columns) as writer:
        for answer in starmap(_Answer, journal.read(query.key for query in queries)):
            writer.writerows((answer.key, *cells) for cells in answer.items)
            items += len(answer.items)
            empty += not answer.items
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


def _identity(options: BatchOptions) -> dict[str, object]:
    return {
        "queries": hashlib.sha256(options.queries.read_bytes()).hexdigest(),
        "size": options.size,
        "new_only": options.new_only,
        "columns": options.columns,
    }
