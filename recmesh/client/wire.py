"""Conversions between the values of `recmesh.client` and protobuf messages, for callers of `Mesh.call`."""

import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from recmesh.client._model import (
    Action,
    Candidate,
    Candidates,
    History,
    Item,
    Items,
    Missing,
    Recommendation,
    Recorded,
    Rejected,
    Scores,
    User,
)
from recmesh.conditions import Condition
from recmesh.contract import ITEM_FIELDS, LEGACY_NEW_USER_ID, MAX_ENTRIES, MAX_REQUEST_BYTES, USER_FIELDS
from recmesh.errors import InvalidRequest
from recmesh.filters import to_message
from recmesh.pb import as_pb2, cm_pb2, feed_pb2, item_info_pb2, rank_pb2, recall_pb2, um_pb2, user_info_pb2

__all__ = [
    "as_request",
    "availability_requests",
    "cm_request",
    "delete_request",
    "history_message",
    "item_info",
    "next_page_request",
    "put_items_requests",
    "put_users_requests",
    "rank_request",
    "recall_request",
    "record_requests",
    "remove_requests",
    "to_candidates",
    "to_item",
    "to_items",
    "to_recommendation",
    "to_recorded",
    "to_scores",
    "to_user",
    "um_request",
    "user_info",
]

_REQUEST_OVERHEAD = 16
"""The most bytes of a request to feed besides its entries: log_id and available."""

_ENTRY_OVERHEAD = 5
"""The most bytes that a request has for an entry besides the entry itself: tag and length."""

E = TypeVar("E")


def user_info(user_id: str, profile: Mapping[str, str]) -> user_info_pb2.UserInfo:
    """A user's profile as a message.

    Args:
        user_id: The id; empty for a new user, who gets the id that legacy clients send.
        profile: The fields. Those without a number of their own go to `attributes`; empty ones are not sent.

    Returns:
        The message.

    Example:
        >>> user_info("8888", {"age": "5.0", "job": "cook"}).attributes["job"]
        'cook'
    """
    numbered, attributes = _split(profile, USER_FIELDS)
    return user_info_pb2.UserInfo(user_id=user_id or LEGACY_NEW_USER_ID, attributes=attributes, **numbered)


def item_info(item: Item) -> item_info_pb2.ItemInfo:
    """An item as a message.

    Fields without a number of their own go to `attributes`; empty fields and the score are not sent.
    """
    numbered, attributes = _split(item.fields, ITEM_FIELDS)
    return item_info_pb2.ItemInfo(
        sku_id=item.sku_id,
        brand=numbered.get("brand"),
        shopid=numbered.get("shopid"),
        cate=numbered.get("cate"),
        attributes=attributes,
    )


def history_message(history: History) -> user_info_pb2.History:
    """A history as a message, in the form that the services send each other."""
    names = tuple(dict.fromkeys(history.types))
    position = {name: k for k, name in enumerate(names)}
    return user_info_pb2.History(
        sku_ids=history.sku_ids,
        times=history.times,
        types=[position[name] for name in history.types],
        values=history.values,
        type_names=names,
        older_sku_ids=history.older_sku_ids,
    )


def um_request(user_id: str) -> um_pb2.UserModelRequest:
    """The request of `Mesh.um`."""
    return um_pb2.UserModelRequest(log_id=_log_id(), user_id=user_id)


def cm_request(sku_ids: Iterable[str]) -> cm_pb2.CMRequest:
    """The request of `Mesh.cm`."""
    return cm_pb2.CMRequest(log_id=_log_id(), item_ids=sku_ids)


def recall_request(
    user: User,
    size: int,
    channel: str,
    exclude: Iterable[str],
    new_only: bool,
    release: str,
    filter: Iterable[Condition] = (),
) -> recall_pb2.RecallRequest:
    """The request of `Mesh.recall`."""
    return recall_pb2.RecallRequest(
        log_id=_log_id(),
        user_info=user_info(user.user_id, user.profile),
        recall_type=channel,
        request_num=size,
        history=history_message(user.history),
        exclude_ids=exclude,
        new_only=new_only,
        release=release,
        filter=to_message(filter),
    )


def rank_request(
    user: User,
    new_only: bool,
    release: str,
    *,
    items: Iterable[Item] = (),
    sku_ids: Sequence[str] = (),
    affinity: bool = False,
) -> rank_pb2.RankRequest:
    """The request of `Mesh.rank` (`items`) and `Mesh.score` (`sku_ids`)."""
    return rank_pb2.RankRequest(
        log_id=_log_id(),
        user_info=user_info(user.user_id, user.profile),
        item_infos=map(item_info, items),
        history=history_message(user.history),
        new_only=new_only,
        release=release,
        item_ids=sku_ids,
        affinity=affinity,
    )


def as_request(
    user_id: str,
    profile: Mapping[str, str] | None,
    size: int,
    exclude: Iterable[str],
    new_only: bool,
    explain: bool,
    history: History | None = None,
    *,
    paged: bool = False,
    explain_missing: Iterable[str] = (),
    filter: Iterable[Condition] = (),
    scenario: str = "",
    context: Iterable[str] = (),
) -> as_pb2.ASRequest:
    """The request of `Mesh.recommend`."""
    return as_pb2.ASRequest(
        log_id=_log_id(),
        user_id=user_id,
        user_info=user_info(user_id, profile) if profile else None,
        size=size,
        exclude_ids=exclude,
        new_only=new_only,
        explain=explain,
        history=history_message(history) if history else None,
        paged=paged,
        explain_missing=explain_missing,
        filter=to_message(filter),
        scenario=scenario,
        context_ids=context,
    )


def next_page_request(cursor: str, size: int) -> as_pb2.ASRequest:
    """The request of `Mesh.next_page`.

    Raises:
        InvalidRequest: The cursor is empty: the previous page was the last one, or its list is not paged.
    """
    if not cursor:
        raise InvalidRequest("cursor is empty: the previous page was the last one, or was requested without `paged`")
    return as_pb2.ASRequest(log_id=_log_id(), size=size, cursor=cursor)


def record_requests(actions: Iterable[Action]) -> Iterator[feed_pb2.RecordActionsRequest]:
    """The requests of `Mesh.record`. Actions without an `event_id` get one."""
    for part in _parts(map(_action, actions), feed_pb2.Action.ByteSize):
        yield feed_pb2.RecordActionsRequest(log_id=_log_id(), actions=part)


def put_users_requests(users: Iterable[User]) -> Iterator[feed_pb2.PutUsersRequest]:
    """The requests of `Mesh.put_users`."""
    updates = (feed_pb2.UserUpdate(user_id=user.user_id, fields=user.profile) for user in users)
    for part in _parts(updates, feed_pb2.UserUpdate.ByteSize):
        yield feed_pb2.PutUsersRequest(log_id=_log_id(), users=part)


def put_items_requests(items: Iterable[Item]) -> Iterator[feed_pb2.PutItemsRequest]:
    """The requests of `Mesh.put_items`."""
    updates = (feed_pb2.ItemUpdate(sku_id=item.sku_id, fields=item.fields) for item in items)
    for part in _parts(updates, feed_pb2.ItemUpdate.ByteSize):
        yield feed_pb2.PutItemsRequest(log_id=_log_id(), items=part)


def remove_requests(sku_ids: Iterable[str]) -> Iterator[feed_pb2.RemoveItemsRequest]:
    """The requests of `Mesh.remove_items`."""
    for part in _parts(sku_ids, _text_bytes):
        yield feed_pb2.RemoveItemsRequest(log_id=_log_id(), sku_ids=part)


def availability_requests(sku_ids: Iterable[str], available: bool) -> Iterator[feed_pb2.SetAvailabilityRequest]:
    """The requests of `Mesh.set_availability`."""
    for part in _parts(sku_ids, _text_bytes):
        yield feed_pb2.SetAvailabilityRequest(log_id=_log_id(), sku_ids=part, available=available)


def delete_request(user_id: str) -> feed_pb2.DeleteUserRequest:
    """The request of `Mesh.delete_user`."""
    return feed_pb2.DeleteUserRequest(log_id=_log_id(), user_id=user_id)


def to_user(response: um_pb2.UserModelResponse) -> User:
    """The user in an answer of um."""
    info, past = response.user_info, response.history
    names = tuple(past.type_names)
    history = History(
        sku_ids=tuple(past.sku_ids),
        times=tuple(past.times),
        types=tuple(names[k] for k in past.types),
        values=tuple(past.values),
        older_sku_ids=tuple(past.older_sku_ids),
    )
    return User(info.user_id, _join(info, USER_FIELDS), history)


def to_items(response: cm_pb2.CMResponse) -> Items:
    """The items in an answer of cm."""
    return Items(tuple(map(to_item, response.item_infos)), tuple(response.missing_ids))


def to_candidates(response: recall_pb2.RecallResponse) -> Candidates:
    """The candidates in an answer of recall, which must not be in the columnar form."""
    channels: list[dict[str, float]] = [{} for _ in response.score_pairs]
    for channel in response.channels:
        for position, score in zip(channel.positions, channel.scores, strict=True):
            channels[position][channel.name] = score
    candidates = tuple(
        Candidate(pair.nid, pair.score, by_channel)
        for pair, by_channel in zip(response.score_pairs, channels, strict=True)
    )
    return Candidates(candidates, response.release, tuple(response.degraded))


def to_scores(responses: Iterable[rank_pb2.RankResponse]) -> Scores:
    """The scores in rank's answers to the parts of one request; the release is that of the first part."""
    parts = list(responses)
    by_sku_id = {pair.nid: pair.score for part in parts for pair in part.score_pairs}
    degraded = tuple(dict.fromkeys(name for part in parts for name in part.degraded))
    return Scores(by_sku_id, parts[0].release if parts else "", degraded)


def to_recommendation(response: as_pb2.ASResponse) -> Recommendation:
    """The recommendation in an answer of `as`."""
    return Recommendation(
        items=tuple(map(to_item, response.item_infos)),
        release=response.release,
        degraded=tuple(response.degraded),
        reasons=tuple({score.channel: score.score for score in reason.channels} for reason in response.reasons),
        unknown_user=response.unknown_user,
        next_cursor=response.next_cursor,
        effects=tuple({part.group: part.effect for part in reason.features} for reason in response.reasons),
        missing=tuple(Missing(absent.sku_id, absent.reason, absent.text) for absent in response.missing),
        rules=tuple(tuple(reason.rules) for reason in response.reasons),
    )


def to_recorded(responses: Iterable[feed_pb2.FeedResponse]) -> Recorded:
    """The answers of feed to the parts of one list as one answer. Positions are those in the list."""
    accepted = repeated = 0
    rejected = list[Rejected]()
    for response in responses:
        before = accepted + len(rejected)  # Feed accepts or rejects each entry.
        rejected += [Rejected(before + entry.position, entry.reason) for entry in response.rejected]
        accepted += response.accepted
        repeated += response.repeated_entries
    return Recorded(accepted, repeated, tuple(rejected))


def to_item(info: item_info_pb2.ItemInfo) -> Item:
    """The item in a message."""
    return Item(info.sku_id, _join(info, ITEM_FIELDS), info.rank_score)


def _action(action: Action) -> feed_pb2.Action:
    return feed_pb2.Action(
        user_id=action.user_id,
        sku_id=action.sku_id,
        time=action.time or 0,
        type=action.type,
        value=action.value,
        event_id=action.event_id or uuid.uuid4().hex,
    )


def _parts(entries: Iterable[E], size: Callable[[E], int]) -> Iterator[list[E]]:
    """Divide entries into parts that fit into a request to feed. A part has an entry at least, however large it is."""
    part, total = list[E](), _REQUEST_OVERHEAD
    for entry in entries:
        added = size(entry) + _ENTRY_OVERHEAD
        if part and (len(part) == MAX_ENTRIES or total + added > MAX_REQUEST_BYTES):
            yield part
            part, total = [], _REQUEST_OVERHEAD
        part.append(entry)
        total += added
    if part:
        yield part


def _text_bytes(text: str) -> int:
    return len(text.encode())


def _split(fields: Mapping[str, str], numbered: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    given = {name: value for name, value in fields.items() if value}
    return (
        {name: value for name, value in given.items() if name in numbered},
        {name: value for name, value in given.items() if name not in numbered},
    )


def _join(info: user_info_pb2.UserInfo | item_info_pb2.ItemInfo, numbered: tuple[str, ...]) -> dict[str, str]:
    fields = {name: value for name in numbered if (value := getattr(info, name))}
    return {**fields, **info.attributes}


def _log_id() -> int:
    return random.getrandbits(63)  # finds the request in logs and traces
