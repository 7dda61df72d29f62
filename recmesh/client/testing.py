"""A mesh for unit tests of code that uses the client: canned answers, failures on demand, and a record of the calls.

`FakeMesh` stands for `recmesh.client.Mesh` and `SyncFakeMesh` for `recmesh.client.sync.Mesh`. They are subclasses that
replace only the calls to the services: requests are made and answers are read by the code that runs in production.

Example:
    mesh = FakeMesh(items=[Item("a"), Item("b")], recommendations={"8888": ["b"]})
    answer = await mesh.recommend("8888")
    assert [item.sku_id for item in answer.items] == ["b"]
    assert mesh.requests(AS)[0].user_id == "8888"
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from google.protobuf.text_format import MessageToString

from recmesh.client import _mesh, sync, wire
from recmesh.client._fake_feed import FakeFeed
from recmesh.client._methods import (
    AS,
    CM,
    DELETE_USER,
    PUT_ITEMS,
    PUT_USERS,
    RANK,
    RECALL,
    RECORD_ACTIONS,
    REMOVE_ITEMS,
    SET_AVAILABILITY,
    UM,
    AnyRequest,
    Method,
    Request,
    Response,
)
from recmesh.client._model import Item, User
from recmesh.client._targets import Targets
from recmesh.conditions import Condition, item_values
from recmesh.contract import (
    DEFAULT_CANDIDATES,
    DEFAULT_RECOMMENDATIONS,
    FAILED,
    LEGACY_NEW_USER_ID,
    MAX_CANDIDATES,
    MAX_CONTEXT,
    MAX_RANKED_ITEMS,
    MAX_RECOMMENDATIONS,
    OK,
    PORTS,
    REPEAT,
    ServiceName,
    scenario_fault,
)
from recmesh.errors import InvalidRequest, RecmeshError
from recmesh.filters import to_conditions
from recmesh.pb import as_pb2, cm_pb2, filter_pb2, rank_pb2, recall_pb2, um_pb2, user_info_pb2

__all__ = ["FakeMesh", "FakeServices", "SyncFakeMesh"]

_CHANNEL = "fake"


class FakeServices:
    """What `FakeMesh` and `SyncFakeMesh` have in common: the canned data, the failures and the record of the calls.

    Args:
        users: The users that um knows.
        items: The items that cm knows. In this order they are recommended to users without canned recommendations.
        recommendations: The items to recommend to a user, best first, by `user_id`; the key `""` stands for all new
            users. Their order decides all scores: 1, 1/2, 1/3 and so on, continued by the other items.
        release: The release that answers name.

    What feed gets changes the users and items at once. Without a schema, it accepts every type and field.

    Attributes:
        degraded: What the answers of recall, rank and `as` report as degraded; may be changed at any time.

    Example:
        mesh = FakeMesh(users=[User("8888", {"age": "5.0"})], items=[Item("99654")])
        mesh.degraded = ("rank",)
        mesh.fail(Unavailable("um is restarting"), service="um", times=1)
    """

    def __init__(
        self,
        *,
        users: Iterable[User] = (),
        items: Iterable[Item] = (),
        recommendations: Mapping[str, Sequence[str]] | None = None,
        release: str = "fake",
    ) -> None:
        self._users = {user.user_id: user for user in users}
        self._items = {item.sku_id: item for item in items}
        self._recommendations = dict(recommendations or {})
        self._release = release
        self._failures: list[_Failure] = []
        self._calls: list[tuple[Method[Any, Any], AnyRequest]] = []
        self._rests: list[list[tuple[str, float]]] = []
        self._feed_service = FakeFeed(self._users, self._items, lambda: int(time.time() * 1000))
        self.degraded: tuple[str, ...] = ()

    @property
    def calls(self) -> tuple[ServiceName, ...]:
        """The services that were called, in order; failed calls count.

        Example:
            assert mesh.calls == ("um", "recall")
        """
        return tuple(method.service for method, _ in self._calls)

    def requests(self, method: Method[Request, Response]) -> list[Request]:
        """The requests to a method, in order; failed calls count.

        Args:
            method: `UM`, `CM`, `RECALL`, `RANK`, `AS`, or a method of feed such as `RECORD_ACTIONS`.

        Returns:
            The protobuf messages that the service would have received.

        Example:
            assert mesh.requests(AS)[0].size == 10
        """
        return [cast(Request, request) for called, request in self._calls if called == method]

    def fail(self, error: RecmeshError, *, service: ServiceName | None = None, times: int | None = None) -> None:
        """Let the next calls fail.

        Args:
            error: What they raise.
            service: Only calls to this service fail; None means calls to any.
            times: The number of calls that fail; None means all.

        Example:
            mesh.fail(DeadlineExceeded("too slow"), times=2)
        """
        self._failures.append(_Failure(error, service, times))

    def recover(self) -> None:
        """Let all calls succeed again.

        Example:
            mesh.recover()
        """
        self._failures.clear()

    def _respond(self, method: Method[Request, Response], request: Request) -> Response:
        self._calls.append((method, request))
        for failure in self._failures:
            if failure.applies(method.service):
                raise failure.error
        feed = self._feed_service
        answers: Mapping[Method[Any, Any], Callable[..., object]] = {
            UM: self._um,
            CM: self._cm,
            RECALL: self._recall,
            RANK: self._rank,
            AS: self._as,
            RECORD_ACTIONS: feed.record,
            PUT_USERS: feed.put_users,
            PUT_ITEMS: feed.put_items,
            REMOVE_ITEMS: feed.remove_items,
            SET_AVAILABILITY: feed.set_availability,
            DELETE_USER: feed.delete_user,
        }
        return cast(Response, answers[method](request))

    def _um(self, request: um_pb2.UserModelRequest) -> um_pb2.UserModelResponse:
        user = self._users.get(request.user_id)
        if user is None:
            asked = MessageToString(um_pb2.UserModelRequest(user_id=request.user_id), as_utf8=True)
            text = f"UM server get user_info from redis fail. ({asked})"
            return um_pb2.UserModelResponse(error={"code": FAILED, "text": text})
        return um_pb2.UserModelResponse(
            error={"code": OK},
            user_info=wire.user_info(user.user_id, user.profile),
            history=wire.history_message(user.history),
        )

    def _cm(self, request: cm_pb2.CMRequest) -> cm_pb2.CMResponse:
        there = {sku_id for sku_id in request.item_ids if sku_id in self._items and self._feed_service.offers(sku_id)}
        found = [sku_id for sku_id in request.item_ids if sku_id in there]
        missing = [sku_id for sku_id in request.item_ids if sku_id not in there]
        error = {"code": OK} if found else {"code": FAILED, "text": "CM server get item_info from redis fail."}
        infos = [wire.item_info(self._items[sku_id]) for sku_id in found]
        return cm_pb2.CMResponse(error=error, item_infos=infos, missing_ids=missing)

    def _recall(self, request: recall_pb2.RecallRequest) -> recall_pb2.RecallResponse:
        size = _size("recall", "request_num", request.request_num, DEFAULT_CANDIDATES, MAX_CANDIDATES)
        left_out = {*request.exclude_ids, *(request.history.sku_ids if request.new_only else ())}
        scored = self._list(_user_id(request.user_info), left_out, request.filter)[:size]
        channel = recall_pb2.RecallResponse.Channel(
            name=request.recall_type or _CHANNEL, positions=range(len(scored)), scores=[score for _, score in scored]
        )
        return recall_pb2.RecallResponse(
            error={"code": OK},
            score_pairs=[recall_pb2.RecallResponse.ScorePair(nid=sku_id, score=score) for sku_id, score in scored],
            channels=[channel],
            release=self._release,
            degraded=self.degraded,
        )

    def _rank(self, request: rank_pb2.RankRequest) -> rank_pb2.RankResponse:
        count = len(request.item_ids) + len(request.item_infos)
        if count > MAX_RANKED_ITEMS:
            raise InvalidRequest(f"rank takes at most {MAX_RANKED_ITEMS} items, {count} were given")
        listed = self._recommendations.get(_user_id(request.user_info), ())
        known = _scores((*listed, *self._items))
        scores = {sku_id: known[sku_id] for sku_id in request.item_ids if sku_id in known}
        scores.update({info.sku_id: known.get(info.sku_id, 0.0) for info in request.item_infos})
        ordered = sorted(scores.items(), key=lambda pair: -pair[1])
        return rank_pb2.RankResponse(
            error={"code": OK},
            score_pairs=[rank_pb2.RankResponse.ScorePair(nid=sku_id, score=score) for sku_id, score in ordered],
            release=request.release or self._release,
            degraded=self.degraded,
        )

    def _as(self, request: as_pb2.ASRequest) -> as_pb2.ASResponse:
        size = _size("as", "size", request.size, DEFAULT_RECOMMENDATIONS, MAX_RECOMMENDATIONS)
        listed = self._rest(request.cursor) if request.cursor else self._asked(request)
        answer = as_pb2.ASResponse(error={"code": OK}, release=self._release, degraded=self.degraded)
        for sku_id, score in listed[:size]:
            info = wire.item_info(self._items.get(sku_id, Item(sku_id)))
            info.rank_score = score
            answer.item_infos.append(info)
            if request.explain:
                answer.reasons.add(channels=[as_pb2.ASResponse.ChannelScore(channel=_CHANNEL, score=score)])
        if (request.paged or request.cursor) and listed[size:]:
            self._rests.append(listed[size:])
            answer.next_cursor = str(len(self._rests))
        for sku_id in request.explain_missing:
            reason = self._absence(sku_id, request, [info.sku_id for info in answer.item_infos])
            answer.missing.add(sku_id=sku_id, reason=reason, text=reason)
        return answer

    def _absence(self, sku_id: str, request: as_pb2.ASRequest, listed: Sequence[str]) -> str:
        """What left an item out of the list, as `as` names it."""
        if sku_id in listed:
            return "listed"
        if sku_id in request.exclude_ids:
            return "excluded"
        if sku_id not in self._items or not self._feed_service.offers(sku_id):
            return "unknown"
        if sku_id not in dict(self._list(request.user_id, (), filter_pb2.Filter())):
            return "not_proposed"
        if sku_id not in dict(self._list(request.user_id, (), request.filter)):
            return "filter"
        return "rank" if sku_id in dict(self._asked(request)) else "history"

    def _asked(self, request: as_pb2.ASRequest) -> list[tuple[str, float]]:
        if fault := scenario_fault(request.scenario, bool(request.context_ids), request.new_only):
            raise InvalidRequest(f"as: {fault}")
        if len(request.context_ids) > MAX_CONTEXT:
            raise InvalidRequest(f"as: context_ids has {len(request.context_ids)} entries, the limit is {MAX_CONTEXT}")
        left_out = {*request.exclude_ids, *request.context_ids}
        history = self._users.get(request.user_id, User()).history
        if request.new_only:
            left_out |= {*history.sku_ids, *history.older_sku_ids}
        listed = self._list(request.user_id, left_out, request.filter)
        if request.scenario == REPEAT:
            return [(sku_id, score) for sku_id, score in listed if sku_id in history.sku_ids]
        return listed

    def _rest(self, cursor: str) -> list[tuple[str, float]]:
        """What follows the page that gave a cursor, without items that are no longer offered."""
        if not cursor.isdecimal() or not 0 < int(cursor) <= len(self._rests):
            raise InvalidRequest("as: cursor is invalid")
        rest = self._rests[int(cursor) - 1]
        return [(sku_id, score) for sku_id, score in rest if self._feed_service.offers(sku_id)]

    def _list(self, user_id: str, left_out: Collection[str], filter: filter_pb2.Filter) -> list[tuple[str, float]]:
        """The items for a user with their scores, best first."""
        listed = self._recommendations.get(user_id, tuple(self._items))
        offered, conditions = self._feed_service.offers, to_conditions(filter)
        return [
            (sku_id, score)
            for sku_id, score in _scores(listed).items()
            if sku_id not in left_out and offered(sku_id) and self._meets(sku_id, conditions)
        ]

    def _meets(self, sku_id: str, conditions: Iterable[Condition]) -> bool:
        fields = self._items[sku_id].fields if sku_id in self._items else {}
        values = item_values(sku_id, fields, separators={}, missing=("",))
        return all(condition.met_by(values) for condition in conditions)


class FakeMesh(FakeServices, _mesh.Mesh):
    """A `recmesh.client.Mesh` that answers from memory; see `FakeServices` for its arguments.

    Example:
        async def test_the_page_shows_recommendations():
            mesh = FakeMesh(items=[Item("99654")])
            assert "99654" in await render_page(mesh, user_id="8888")
    """

    def __init__(
        self,
        *,
        users: Iterable[User] = (),
        items: Iterable[Item] = (),
        recommendations: Mapping[str, Sequence[str]] | None = None,
        release: str = "fake",
    ) -> None:
        FakeServices.__init__(self, users=users, items=items, recommendations=recommendations, release=release)
        _mesh.Mesh.__init__(self, _NOWHERE)

    async def call(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None = None
    ) -> Response:
        """Answer a call from memory; see `Mesh.call`."""
        return self._respond(method, request)


class SyncFakeMesh(FakeServices, sync.Mesh):
    """A `recmesh.client.sync.Mesh` that answers from memory; see `FakeServices` for its arguments.

    Example:
        def test_the_page_shows_recommendations():
            mesh = SyncFakeMesh(items=[Item("99654")])
            assert "99654" in render_page(mesh, user_id="8888")
    """

    def __init__(
        self,
        *,
        users: Iterable[User] = (),
        items: Iterable[Item] = (),
        recommendations: Mapping[str, Sequence[str]] | None = None,
        release: str = "fake",
    ) -> None:
        FakeServices.__init__(self, users=users, items=items, recommendations=recommendations, release=release)
        sync.Mesh.__init__(self, _NOWHERE)

    def call(self, method: Method[Request, Response], request: Request, *, timeout: float | None = None) -> Response:
        """Answer a call from memory; see `Mesh.call`."""
        return self._respond(method, request)


class _Failure:
    """Calls that fail: `times` of those to `service`."""

    def __init__(self, error: RecmeshError, service: ServiceName | None, times: int | None) -> None:
        self.error = error
        self._service = service
        self._left = times

    def applies(self, service: ServiceName) -> bool:
        """Whether a call to a service fails; counts it if so."""
        if self._service not in (None, service) or self._left == 0:
            return False
        if self._left is not None:
            self._left -= 1
        return True


_NOWHERE = Targets(dict.fromkeys(PORTS, "a fake has no target"))


def _user_id(info: user_info_pb2.UserInfo) -> str:
    return "" if info.user_id == LEGACY_NEW_USER_ID else info.user_id


def _scores(sku_ids: Iterable[str]) -> dict[str, float]:
    return {sku_id: 1 / k for k, sku_id in enumerate(dict.fromkeys(sku_ids), 1)}


def _size(service: ServiceName, field: str, given: int, default: int, limit: int) -> int:
    if given > limit:
        raise InvalidRequest(f"{service}: {field} is {given}, the limit is {limit}")
    return given or default
