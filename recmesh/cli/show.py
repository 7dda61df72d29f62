"""Answers and reports for people: tables, and a few lines of totals."""

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recmesh.cli.batch import BatchReport
from recmesh.cli.score import ScoreReport
from recmesh.client import wire
from recmesh.pb import as_pb2, cm_pb2, rank_pb2, recall_pb2, um_pb2

_LISTED = 10


def as_table(response: Any, console: Console) -> None:
    """Print any of the five responses as a table, and below it the release and what it was made without."""
    match response:
        case um_pb2.UserModelResponse():
            tables = [_user(response), _history(response)]
        case cm_pb2.CMResponse():
            tables = [_items(response.item_infos, [])]
        case as_pb2.ASResponse():
            tables = [_items(response.item_infos, [_channels(r.channels) for r in response.reasons])]
        case recall_pb2.RecallResponse():
            tables = [_candidates(response)]
        case rank_pb2.RankResponse():
            tables = [_pairs(response)]
        case _:
            raise TypeError(f"no table for {type(response).__name__}")
    for table in tables:
        console.print(table)
    if missing := list(getattr(response, "missing_ids", ())):
        console.print(f"not there: {', '.join(missing)}", markup=False)
    if release := getattr(response, "release", ""):
        degraded = ", ".join(response.degraded) or "nothing"
        console.print(f"release {release}, degraded: {degraded}", markup=False, highlight=False)


def batch_report(report: BatchReport, out: Path, console: Console) -> None:
    """Totals of a batch."""

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    answered = report.queries - len(report.failures)
    say(f"{out}: {report.items} items for {answered} of {report.queries} queries" + _of_release(report.releases))
    if report.resumed:
        say(f"resumed: {report.resumed} queries were answered by an earlier run")
    if report.empty:
        say(f"without any item: {report.empty} queries")
    reasons = ", ".join(f"{name} {count}" for name, count in report.degraded.items())
    say(f"degraded: {report.degraded_answers} answers" + (f" ({reasons})" if reasons else ""))
    if report.failures:
        say(
            f"failed: {len(report.failures)} queries, listed in {report.failures_list}; run again to ask for them again"
        )
        for failure in report.failures[:_LISTED]:
            say(f"  {failure.job.key}: {failure.error}")


def score_report(report: ScoreReport, out: Path, console: Console) -> None:
    """Totals of a scoring run."""

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    scored = report.pairs - len(report.unscored)
    say(f"{out}: {scored} of {report.pairs} pairs of {report.users} users" + _of_release(report.releases))
    if report.unknown_users:
        say(f"scored without profile and history: {report.unknown_users} users that um does not know")
    if report.degraded_users:
        say(f"degraded: answers for {report.degraded_users} users")
    if report.unscored:
        say(f"without a score: {len(report.unscored)} pairs, listed in {report.unscored_list}")
        for user_id, sku_id, reason in report.unscored[:_LISTED]:
            say(f"  {user_id}, {sku_id}: {reason}")


def _of_release(releases: tuple[str, ...]) -> str:
    if len(releases) > 1:
        return f", answered by {len(releases)} releases: {', '.join(releases)}"
    return f", release {releases[0]}" if releases and releases[0] else ""


def _user(response: um_pb2.UserModelResponse) -> Table:
    table = Table(title=f"user {response.user_info.user_id}", title_justify="left")
    table.add_column("field")
    table.add_column("value")
    for name, value in wire.to_user(response).profile.items():
        table.add_row(name, value)
    return table


def _history(response: um_pb2.UserModelResponse) -> Table:
    past = wire.to_user(response).history
    table = Table(title=f"{len(past.sku_ids)} actions, newest first", title_justify="left")
    for column in ("time", "type", "sku_id", "value"):
        table.add_column(column)
    for time, kind, sku_id, value in zip(past.times, past.types, past.sku_ids, past.values, strict=True):
        at = datetime.datetime.fromtimestamp(time / 1000, datetime.timezone.utc)
        table.add_row(f"{at:%Y-%m-%d %H:%M:%S}", kind, sku_id, f"{value:g}")
    return table


def _items(infos: Iterable[Any], reasons: list[str]) -> Table:
    items = [wire.to_item(info) for info in infos]
    names = list(dict.fromkeys(name for item in items for name in item.fields))
    ranked = any(item.rank_score for item in items)
    table = Table("#", "sku_id", *names, *(["score"] if ranked else []), *(["channels"] if reasons else []))
    for k, item in enumerate(items):
        cells = [str(k + 1), item.sku_id, *(item.fields.get(name, "") for name in names)]
        table.add_row(*cells, *([f"{item.rank_score:.4f}"] if ranked else []), *(reasons[k : k + 1]))
    return table


def _candidates(response: recall_pb2.RecallResponse) -> Table:
    table = Table("#", "sku_id", "score", "channels")
    for k, candidate in enumerate(wire.to_candidates(response).candidates, 1):
        channels = ", ".join(f"{name} {score:.4g}" for name, score in candidate.channels.items())
        table.add_row(str(k), candidate.sku_id, f"{candidate.score:.4f}", channels)
    return table


def _pairs(response: rank_pb2.RankResponse) -> Table:
    table = Table("#", "sku_id", "score")
    for k, pair in enumerate(response.score_pairs, 1):
        table.add_row(str(k), pair.nid, f"{pair.score:.6f}")
    return table


def _channels(given: Iterable[as_pb2.ASResponse.ChannelScore]) -> str:
    return ", ".join(f"{one.channel} {one.score:.4g}" for one in given)
