"""Answers as tables on a terminal."""

import datetime
from collections.abc import Iterable, Sequence

from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from recmesh.client import wire
from recmesh.pb import as_pb2, cm_pb2, item_info_pb2, rank_pb2, recall_pb2, um_pb2

_ID = "sku_id"


def as_table(response: Message, console: Console) -> None:
    """Print a response of any of the five methods as a table, then its release and what it lacks."""
    match response:
        case um_pb2.UserModelResponse():
            tables = [_user(response), _history(response)]
        case cm_pb2.CMResponse():
            tables = [_items(response.item_infos, (), console.width)]
        case as_pb2.ASResponse():
            items = _items(response.item_infos, response.reasons, console.width)
            tables = [items, *_missing(response.missing, console.width)]
        case recall_pb2.RecallResponse():
            tables = [_candidates(response, console.width)]
        case rank_pb2.RankResponse():
            tables = [_pairs(response, console.width)]
        case _:
            raise TypeError(f"no table for {type(response).__name__}")
    for table in tables:
        console.print(table)
    if isinstance(response, cm_pb2.CMResponse):
        if response.missing_ids:
            console.print(f"not there: {', '.join(response.missing_ids)}", markup=False)
    elif not isinstance(response, um_pb2.UserModelResponse) and response.release:
        degraded = ", ".join(response.degraded) or "nothing"
        release = response.release
        if isinstance(response, as_pb2.ASResponse) and response.unknown_user:
            console.print("no user with this id is stored", markup=False)
        console.print(f"release {release}, degraded: {degraded}", markup=False, highlight=False)


def _user(response: um_pb2.UserModelResponse) -> Table:
    table = Table(title=f"user {response.user_info.user_id}", title_justify="left")
    table.add_column("field", overflow="fold")
    table.add_column("value", overflow="fold")
    for name, value in wire.to_user(response).profile.items():
        table.add_row(name, value)
    return table


def _history(response: um_pb2.UserModelResponse) -> Table:
    history = wire.to_user(response).history
    table = Table(title=f"{len(history.sku_ids)} actions, newest first", title_justify="left")
    for column in ("time", "type", "sku_id", "value"):
        table.add_column(column, overflow="fold")
    for time, kind, sku_id, value in zip(history.times, history.types, history.sku_ids, history.values, strict=True):
        at = datetime.datetime.fromtimestamp(time / 1000, datetime.timezone.utc)
        table.add_row(f"{at:%Y-%m-%d %H:%M:%S}", kind, sku_id, f"{value:g}")
    return table


def _items(infos: Iterable[item_info_pb2.ItemInfo], reasons: Sequence[as_pb2.ASResponse.Reason], width: int) -> Table:
    items = [wire.to_item(info) for info in infos]
    names = list(dict.fromkeys(name for item in items for name in item.fields))
    ranked = any(item.rank_score for item in items)
    explained = ["channels", "features", "rules"] if reasons else []
    columns = ("#", _ID, *names, *(["score"] if ranked else []), *explained)
    table = _table(width, [item.sku_id for item in items], *columns)
    for k, item in enumerate(items):
        cells = [str(k + 1), item.sku_id, *(item.fields.get(name, "") for name in names)]
        why = _why(reasons[k]) if reasons else ()
        table.add_row(*cells, *([f"{item.rank_score:.4f}"] if ranked else []), *why)
    return table


def _missing(missing: Sequence[as_pb2.ASResponse.Missing], width: int) -> list[Table]:
    """The items whose absence is explained; no table without any."""
    if not missing:
        return []
    table = _table(width, [absent.sku_id for absent in missing], _ID, "reason", "")
    for absent in missing:
        table.add_row(absent.sku_id, absent.reason, absent.text)
    return [table]


def _candidates(response: recall_pb2.RecallResponse, width: int) -> Table:
    candidates = wire.to_candidates(response).candidates
    table = _table(width, [candidate.sku_id for candidate in candidates], "#", _ID, "score", "channels")
    for k, candidate in enumerate(candidates, 1):
        channels = ", ".join(f"{name} {score:.4g}" for name, score in candidate.channels.items())
        table.add_row(str(k), candidate.sku_id, f"{candidate.score:.4f}", channels)
    return table


def _pairs(response: rank_pb2.RankResponse, width: int) -> Table:
    table = _table(width, [pair.nid for pair in response.score_pairs], "#", _ID, "score")
    for k, pair in enumerate(response.score_pairs, 1):
        table.add_row(str(k), pair.nid, f"{pair.score:.6f}")
    return table


def _table(width: int, sku_ids: Sequence[str], *columns: str) -> Table:
    """A table that breaks texts into lines on a narrow terminal, and cuts none.

    Ids stay in one line, so that they can be copied, if they leave two thirds of the width to the other columns.
    """
    table, longest = Table(), max(map(len, sku_ids), default=0)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == _ID and 3 * longest <= width)
    return table


def _why(reason: as_pb2.ASResponse.Reason) -> tuple[str, str, str]:
    """The cells of an explanation."""
    return _channels(reason.channels), _features(reason.features), ", ".join(reason.rules)


def _channels(scores: Iterable[as_pb2.ASResponse.ChannelScore]) -> str:
    return ", ".join(f"{score.channel} {score.score:.4g}" for score in scores)


def _features(effects: Iterable[as_pb2.ASResponse.FeatureEffect]) -> str:
    return ", ".join(f"{effect.group} {effect.effect:+.4f}" for effect in effects)
