"""Between the client's values and the wire."""

from collections.abc import Iterable, Mapping

from recmesh.client._model import Candidate, Candidates, History, Item, Items, Recommendation, Scores, User
from recmesh.pb import as_pb2, cm_pb2, item_info_pb2, rank_pb2, recall_pb2, um_pb2, user_info_pb2

USER_FIELDS = ("age", "sex", "city_level", "province", "city", "country")
ITEM_FIELDS = ("brand", "shopid", "cate")


def user_info(user_id: str, profile: Mapping[str, str]) -> user_info_pb2.UserInfo:
    """Fields of the seed's UserInfo go there, all others to `attributes`; empty ones are not sent."""
    numbered, attributes = _split(profile, USER_FIELDS)
    return user_info_pb2.UserInfo(user_id=user_id, attributes=attributes, **numbered)


def item_info(item: Item) -> item_info_pb2.ItemInfo:
    """Fields of the seed's ItemInfo go there, all others to `attributes`; empty ones are not sent."""
    numbered, attributes = _split(item.fields, ITEM_FIELDS)
    return item_info_pb2.ItemInfo(
        sku_id=item.sku_id,
        brand=numbered.get("brand"),
        shopid=numbered.get("shopid"),
        cate=numbered.get("cate"),
        attributes=attributes,
    )


def history_message(history: History) -> user_info_pb2.History:
    """The history as the services send it to each other."""
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


def to_user(response: um_pb2.UserModelResponse) -> User:
    """um's answer as a user."""
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
    """cm's answer as items."""
    return Items(tuple(map(to_item, response.item_infos)), tuple(response.missing_ids))


def to_candidates(response: recall_pb2.RecallResponse) -> Candidates:
    """recall's answer (not the columnar form) as candidates."""
    channels: list[dict[str, float]] = [{} for _ in response.score_pairs]
    for channel in response.channels:
        for position, score in zip(channel.positions, channel.scores, strict=True):
            channels[position][channel.name] = score
    candidates = tuple(
        Candidate(pair.nid, pair.score, given) for pair, given in zip(response.score_pairs, channels, strict=True)
    )
    return Candidates(candidates, response.release, tuple(response.degraded))


def to_scores(responses: Iterable[rank_pb2.RankResponse]) -> Scores:
    """rank's answers to the parts of one request as one; the first part's release stands for all."""
    parts = list(responses)
    by_sku_id = {pair.nid: pair.score for part in parts for pair in part.score_pairs}
    degraded = tuple(dict.fromkeys(name for part in parts for name in part.degraded))
    return Scores(by_sku_id, parts[0].release if parts else "", degraded)


def to_recommendation(response: as_pb2.ASResponse) -> Recommendation:
    """as's answer as a recommendation."""
    reasons = tuple({given.channel: given.score for given in reason.channels} for reason in response.reasons)
    items = tuple(map(to_item, response.item_infos))
    return Recommendation(items, response.release, tuple(response.degraded), reasons)


def to_item(info: item_info_pb2.ItemInfo) -> Item:
    """One item and its fields."""
    return Item(info.sku_id, _join(info, ITEM_FIELDS), info.rank_score)


def _split(fields: Mapping[str, str], numbered: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    given = {name: value for name, value in fields.items() if value}
    return (
        {name: value for name, value in given.items() if name in numbered},
        {name: value for name, value in given.items() if name not in numbered},
    )


def _join(info: user_info_pb2.UserInfo | item_info_pb2.ItemInfo, numbered: tuple[str, ...]) -> dict[str, str]:
    fields = {name: value for name in numbered if (value := getattr(info, name))}
    return {**fields, **info.attributes}
