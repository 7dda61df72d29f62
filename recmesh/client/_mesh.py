"""The client itself."""

import asyncio
import itertools
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

import grpc

from recmesh.client import _wire
from recmesh.client._connection import Connection
from recmesh.client._methods import AS, CM, RANK, RECALL, UM, Method, Request, Response
from recmesh.client._model import Candidates, Item, Items, Recommendation, Scores, User
from recmesh.client._targets import ServiceName, Targets
from recmesh.errors import AnswerFailed
from recmesh.pb import as_pb2, cm_pb2, rank_pb2, recall_pb2, um_pb2, user_info_pb2

DEFAULT_TIMEOUT = 10.0
"""Seconds a call may take: enough for a killed process to come back and answer."""

RANK_LIMIT = 2_000
"""Items that rank takes in one call."""

AS_LIMIT = 200
"""Items that as gives in one answer."""

OK = 200
"""`error.code` of a good answer."""

# What the seed's client calls a user that has no id.
NEW_USER = "0"


class _Error(Protocol):
    @property
    def code(self) -> int: ...
    @property
    def text(self) -> str: ...


class Mesh:
    """The five services behind typed calls; one channel a service, opened at its first call.

    Every call takes `timeout` (seconds, all attempts together) and raises recmesh.errors: Unavailable,
    DeadlineExceeded, Overloaded, InvalidRequest by status, AnswerFailed when the answer itself says that it failed.
    UNAVAILABLE is tried again until the deadline; `retry_overload` does the same for RESOURCE_EXHAUSTED, which batch
    jobs want.
    """

    def __init__(
        self, targets: Targets | None = None, *, timeout: float = DEFAULT_TIMEOUT, retry_overload: bool = False
    ) -> None:
        self._targets = targets or Targets.from_environment()
        self._timeout = timeout
        overload = {grpc.StatusCode.RESOURCE_EXHAUSTED} if retry_overload else set()
        self._retried = frozenset({grpc.StatusCode.UNAVAILABLE} | overload)
        self._connections: dict[ServiceName, Connection] = {}

    async def __aenter__(self) -> "Mesh":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every channel; the mesh can be used again afterwards."""
        connections = list(self._connections.values())
        self._connections.clear()
        await asyncio.gather(*(connection.close() for connection in connections))

    async def call(
        self, method: Method[Request, Response], request: Request, *, timeout: float | None = None
    ) -> Response:
        """Any method with its raw messages. The answer's own error code is left to the caller."""
        connection = self._connections.get(method.service)
        if connection is None:
            connection = Connection(self._targets[method.service], self._retried)
            self._connections[method.service] = connection
        return await connection.call(method, request, self._timeout if timeout is None else timeout)

    async def um(self, user_id: str, *, timeout: float | None = None) -> User:
        """The stored profile and history of a user. Raises AnswerFailed for an unknown one."""
        request = um_pb2.UserModelRequest(log_id=_log_id(), user_id=user_id)
        return _wire.to_user(await self._answer(UM, request, timeout))

    async def cm(self, sku_ids: Iterable[str], *, timeout: float | None = None) -> Items:
        """What items are. Raises AnswerFailed when none of them exists."""
        request = cm_pb2.CMRequest(log_id=_log_id(), item_ids=sku_ids)
        return _wire.to_items(await self._answer(CM, request, timeout))

    async def recall(
        self,
        user: User,
        *,
        size: int = 0,
        channel: str = "",
        exclude: Iterable[str] = (),
        new_only: bool = False,
        release: str = "",
        timeout: float | None = None,
    ) -> Candidates:
        """Up to `size` (1 to 1,000; 0: the service's default) candidates, of one channel or (empty) of all, merged."""
        request = recall_pb2.RecallRequest(
            log_id=_log_id(),
            user_info=_info(user),
            recall_type=channel,
            request_num=size,
            history=_wire.history_message(user.history),
            exclude_ids=exclude,
            new_only=new_only,
            release=release,
        )
        return _wire.to_candidates(await self._answer(RECALL, request, timeout))

    async def rank(
        self,
        user: User,
        items: Sequence[Item],
        *,
        new_only: bool = False,
        release: str = "",
        timeout: float | None = None,
    ) -> Scores:
        """Scores of at most 2,000 items that are sent with their fields, whether the catalogue holds them or not."""
        request = self._rank_request(user, new_only, release)
        request.item_infos.extend(map(_wire.item_info, items))
        return _wire.to_scores([await self._answer(RANK, request, timeout)])

    async def score(
        self,
        user: User,
        sku_ids: Collection[str],
        *,
        affinity: bool = False,
        new_only: bool = False,
        release: str = "",
        timeout: float | None = None,
    ) -> Scores:
        """Scores of any number of catalogue items by id. Ids that rank cannot score are not in the answer.

        They order a list of these items; with `affinity` they say how much more the user is drawn to each item than
        its popularity says.
        """
        ids = iter(dict.fromkeys(sku_ids))
        parts: list[rank_pb2.RankResponse] = []
        while part := list(itertools.islice(ids, RANK_LIMIT)):
            # Later parts are held to the release of the first: scores of two releases cannot be compared.
            request = self._rank_request(user, new_only, parts[0].release if parts else release)
            request.affinity = affinity
            request.item_ids.extend(part)
            parts.append(await self._answer(RANK, request, timeout))
        return _wire.to_scores(parts)

    async def recommend(
        self,
        user_id: str = "",
        profile: Mapping[str, str] | None = None,
        *,
        size: int = 0,
        exclude: Iterable[str] = (),
        new_only: bool = False,
        explain: bool = False,
        timeout: float | None = None,
    ) -> Recommendation:
        """Up to `size` (1 to 200; 0: the service's default) items for a user.

        A known user is sent by id, a new one (`user_id` empty) by profile. Profile fields that are given win over
        stored ones.
        """
        request = as_pb2.ASRequest(
            log_id=_log_id(),
            user_id=user_id,
            user_info=_wire.user_info(user_id or NEW_USER, profile) if profile else None,
            size=size,
            exclude_ids=exclude,
            new_only=new_only,
            explain=explain,
        )
        return _wire.to_recommendation(await self._answer(AS, request, timeout))

    async def _answer(self, method: Method[Request, Response], request: Request, timeout: float | None) -> Response:
        response = await self.call(method, request, timeout=timeout)
        check_answer(method, response)
        return response

    @staticmethod
    def _rank_request(user: User, new_only: bool, release: str) -> rank_pb2.RankRequest:
        return rank_pb2.RankRequest(
            log_id=_log_id(),
            user_info=_info(user),
            history=_wire.history_message(user.history),
            new_only=new_only,
            release=release,
        )


def check_answer(method: Method[Any, Any], response: Any) -> None:
    """Raise AnswerFailed when a response says that it failed."""
    error: _Error = response.error
    if error.code != OK:
        raise AnswerFailed(f"{method.service} answered {error.code}: {' '.join(error.text.split())}")


def _info(user: User) -> user_info_pb2.UserInfo:
    return _wire.user_info(user.user_id or NEW_USER, user.profile)


def _log_id() -> int:
    return random.getrandbits(63)  # a handle in logs and traces
