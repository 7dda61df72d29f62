"""The client for threads: scripts, notebooks, and web applications such as Django's and Flask's.

`Mesh` has the methods of `recmesh.client.Mesh` with the same arguments, results and errors, but they block. It needs no
event loop, so it also works where one is running already, as in a notebook.

Example:
    from recmesh.client import sync

    with sync.Mesh() as mesh:
        answer = mesh.recommend("8888", size=10)
"""

import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TypeAlias, cast

import grpc

from recmesh import channels
from recmesh.bearer import Token, token_of
from recmesh.client import wire
from recmesh.client._attempts import POLICY, Attempts, retried_statuses
from recmesh.client._mesh import DEFAULT_TIMEOUT
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
    Method,
    Request,
    Response,
    check_answer,
)
from recmesh.client._model import Action, Candidates, History, Item, Items, Recommendation, Recorded, Scores, User
from recmesh.client._targets import Targets
from recmesh.conditions import Condition
from recmesh.contract import MAX_RANKED_ITEMS, ServiceName
from recmesh.pb import rank_pb2
from recmesh.pb.feed_pb2 import FeedResponse
from recmesh.tls import TlsFiles

__all__ = ["ChannelFactory", "Mesh"]

ChannelFactory: TypeAlias = Callable[[str, Sequence[tuple[str, str | int]]], grpc.Channel]
"""Opens a channel, given a target and the channel arguments that `Mesh` would use."""


class Mesh:
    """The six services as typed calls that block.

    Any number of threads may share a mesh. A channel to each service is opened at the first call to it.

    A process may fork after it made a mesh, as gunicorn does with `--preload`: each child opens channels of its own at
    its first call. Make no call before the fork. A child of a process that has used gRPC may hang in its first call.

    Each call has one deadline for all its attempts. UNAVAILABLE is tried again until the deadline. Every method
    raises, besides the errors that it names, `Unavailable`, `DeadlineExceeded`, `Overloaded`, `InvalidRequest`,
    `Unauthenticated` and `PermissionDenied` according to the gRPC status, `RecmeshError` for any other status, and
    `AnswerFailed` if the answer itself reports a failure.

    Args:
        targets: Where the services are; None reads the environment.
        timeout: Seconds for each call that does not set its own.
        retry_overload: Try RESOURCE_EXHAUSTED again as well, and say that the calls can wait: under load, services
            refuse them before others. This suits batch jobs.
        credentials: Of all channels, such as `grpc.ssl_channel_credentials()`. They exclude `tls`.
        tls: PEM files for TLS, which are read again when they change. None reads RECMESH_TLS_CA and, for a certificate
            of this client, RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY. Without RECMESH_TLS_CA: plain text.
        token: The bearer token of this client, or a function that returns it for each call. None reads RECMESH_TOKEN,
            or the file that RECMESH_TOKEN_FILE names, which is read again when it changes. A token is sent over TLS, or
            to this machine; a call that would send it in plain text raises `SettingsError`.
        interceptors: Client interceptors of all channels; they see each attempt.
        channel_factory: Opens the channels instead. It excludes `credentials`, `tls`, `token` and `interceptors`.

    Example:
        with Mesh(Targets.from_environment(), timeout=0.5) as mesh:
            answer = mesh.recommend("8888", size=10)
    """

    def __init__(
        self,
        targets: Targets | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry_overload: bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        tls: TlsFiles | None = None,
        token: str | Token | None = None,
        interceptors: Sequence[grpc.UnaryUnaryClientInterceptor] = (),
        channel_factory: ChannelFactory | None = None,
    ) -> None:
        given = (credentials, tls, token, interceptors or None)
        if channel_factory is not None and any(part is not None for part in given):
            raise ValueError("a channel_factory applies credentials and interceptors itself: do not give them to Mesh")
        if credentials is not None and tls is not None:
            raise ValueError("credentials and tls exclude each other: give one of them to Mesh")
        self._targets = targets or Targets.from_environment()
        self._timeout = timeout
        self._retried = retried_statuses(retry_overload)
        self._credentials = credentials
        self._tls = TlsFiles.from_environment() if credentials is None and tls is None else tls
        self._token = token_of(token) if channel_factory is None else None
        self._interceptors = interceptors
        self._channel_factory = channel_factory
        self._lock = threading.Lock()
        self._connections: dict[ServiceName, _Connection] = {}

    def __enter__(self) -> "Mesh":
        """Return the mesh."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the mesh."""
        self.close()

    def close(self) -> None:
        """Close every channel; the next call opens a new one."""
        with self._lock:
            connections = list(self._connections.values())
            self._connections.clear()
        for connection in connections:
            connection.close()

    def call(self, method: Method[Request, Response], request: Request, *, timeout: float | None = None) -> Response:
        """Call a method with its protobuf messages.

        Args:
            method: `UM`, `CM`, `RECALL`, `RANK`, `AS`, or a method of feed such as `RECORD_ACTIONS`.
            request: The request; `recmesh.client.wire` makes them.
            timeout: Seconds for all attempts; None means that of the mesh.

        Returns:
            The response. Its error code is not checked; `check_answer` does that.

        Example:
            response = mesh.call(AS, as_pb2.ASRequest(user_id="8888"))
        """
        return self._connection(method.service).call(method, request, self._timeout if timeout is None else timeout)

    def um(self, user_id: str, *, timeout: float | None = None) -> User:
        """Look up the stored profile and history of a user.

        Args:
            user_id: The user.
            timeout: Seconds for all attempts; None means that of the mesh.

        Returns:
            The user.

        Raises:
            AnswerFailed: There is no such user.

        Example:
            user = mesh.um("8888")
        """
        return wire.to_user(self._answer(UM, wire.um_request(user_id), timeout))

    def cm(self, sku_ids: Iterable[str], *, timeout: float | None = None) -> Items:
        """Look up items.

        Args:
            sku_ids: The items.
            timeout: Seconds for all attempts; None means that of the mesh.

        Returns:
            The items that exist, and the ids of the others.

        Raises:
            AnswerFailed: None of the items exists.

        Example:
            items = mesh.cm(["99654", "12048"])
        """
        return wire.to_items(self._answer(CM, wire.cm_request(sku_ids), timeout))

    def recall(
        self,
        user: User,
        *,
        size: int = 0,
        channel: str = "",
        exclude: Iterable[str] = (),
        new_only: bool = False,
        release: str = "",
        filter: Iterable[Condition] = (),
        timeout: float | None = None,
    ) -> Candidates:
        """Retrieve candidates for a user.

        Args:
            user: The user, with profile and history.
            size: Number of candidates, 1 to 1,000; 0 means the default of the service, 100.
            channel: Query this channel alone; empty merges all channels.
            exclude: Items to leave out.
            new_only: Leave out items that the user has acted on.
            release: The release to use; empty means the active one.
            filter: Only items that meet all of these, at most 20.
            timeout: Seconds for all attempts; None means that of the mesh.

        Returns:
            The candidates, best first.

        Example:
            candidates = mesh.recall(mesh.um("8888"), size=300)
        """
        request = wire.recall_request(user, size, channel, exclude, new_only, release, filter)
        return wire.to_candidates(self._answer(RECALL, request, timeout))

    def rank(
        self,
        user: User,
        items: Sequence[Item],
        *,
        new_only: bool = False,
        release: str = "",
        timeout: float | None = None,
    ) -> Scores:
        """Score items by their fields, whether or not the catalogue contains them.

        Args:
            user: The user, with profile and history.
            items: At most 2,000 items.
            new_only: The items are new to the user: use the ranker for new items.
            release: The release to use; empty means the active one.
            timeout: Seconds for all attempts; None means that of the mesh.

        Returns:
            A score for each item.

        Example:
            scores = mesh.rank(user, [Item("not-in-the-catalogue", {"cate": "70"})])
        """
        request = wire.rank_request(user, new_only, release, items=items)
        return wire.to_scores([self._answer(RANK, request, timeout)])

    def score(
        self,
        user: User,
        sku_ids: Collection[str],
        *,
        affinity: bool = False,
        new_only: bool = False,
        release: str = "",
        timeout: float | None = None,
    ) -> Scores:
        """Score any number of catalogue items by id, 2,000 in a call to rank.

        Args:
            user: The user, with profile and history.
            sku_ids: The items.
            affinity: Return debiased scores, which say how much more the user is drawn to each item than the item's
                popularity suggests. The default scores are those that order lists.
            new_only: The items are new to the user: use the ranker for new items.
            release: The release to use; empty means the active one. All parts are scored by the same release.
            timeout: Seconds for all attempts of each call to rank; None means that of the mesh.

        Returns:
            A score for each item that rank knows.

        Example:
            scores = mesh.score(mesh.um("8888"), ["99654", "12048"])
        """
        ids = iter(dict.fromkeys(sku_ids))
        parts: list[rank_pb2.RankResponse] = []
        while part := list(itertools.islice(ids, MAX_RANKED_ITEMS)):
            # Scores of two releases cannot be compared: later parts ask for the release of the first one.
            held = parts[0].release if parts else release
            request = wire.rank_request(user, new_only, held, sku_ids=part, affinity=affinity)
            parts.append(self._answer(RANK, request, timeout))
        return wire.to_scores(parts)

    def recommend(
        self,
        user_id: str = "",
        profile: Mapping[str, str] | None = None,
        *,
        size: int = 0,
        exclude: Iterable[str] = (),
        new_only: bool = False,
        explain: bool = False,
        history: History | None = None,
        paged: bool = False,
        explain_missing: Iterable[str] = (),
        filter: Iterable[Condition] = (),
        scenario: str = "",
        context: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Recommendation:
        """Recommend items to a user.

        Args:
            user_id: A known user; empty for a new one.
            profile: Profile fields. They describe a new user, and override the stored fields of a known one.
            size: Number of items, 1 to 200; 0 means the default of the service, 50.
            exclude: Items to leave out.
            new_only: Leave out items that the user has acted on.
            explain: Say which channels proposed each item, and which features moved its score most.
            history: Actions of a guest, or in place of the stored ones; never stored. With `sku_ids` alone, all are of
                the strongest type and happened at the end of the data.
            paged: Ask for the first page of a list, which `next_page` continues.
            explain_missing: Say of these items, at most 20, why they are not in the list.
            filter: Only items that meet all of these, at most 20. The list is full if enough items do.
            scenario: What the list is for: what goes with `context` (`"related"`), what completes the basket `context`
                (`"basket"`), what the user may buy again (`"repeat"`), or what is acted on most right now
                (`"trending"`). Empty means `"home"`.
            context: The items that `"related"` and `"basket"` refer to, at most 100.
            timeout: Seconds for all attempts; None means that of the mesh.

        Returns:
            The items, best first.

        Example:
            answer = mesh.recommend(profile={"age": "5.0", "city": "120.0"}, size=10)
        """
        request = wire.as_request(
            user_id,
            profile,
            size,
            exclude,
            new_only,
            explain,
            history,
            paged=paged,
            explain_missing=explain_missing,
            filter=filter,
            scenario=scenario,
            context=context,
        )
        return wire.to_recommendation(self._answer(AS, request, timeout))

    def next_page(self, cursor: str, *, size: int = 0, timeout: float | None = None) -> Recommendation:
        """Recommend the next items of a list, by the release and in the order of its first page.

        Args:
            cursor: `Recommendation.next_cursor` of the previous page.
            size: Number of items, 1 to 200; 0 means the default of the service, 50.
            timeout: Seconds for all attempts; None means that of the mesh.

        Returns:
            The items that follow. Those that are no longer offered are left out. After the last page, `next_cursor` is
            empty.

        Example:
            page = mesh.recommend("8888", size=20, paged=True)
            page = mesh.next_page(page.next_cursor, size=20)
        """
        request = wire.next_page_request(cursor, size)
        return wire.to_recommendation(self._answer(AS, request, timeout))

    def record(self, actions: Iterable[Action], *, timeout: float | None = None) -> Recorded:
        """Record what users did.

        More than 1,000 actions, or 1 MiB of them, are sent in several calls, one after the other. If one fails, the
        actions of those before it are recorded.

        Every action without an `event_id` gets a fresh one, so that it counts once even if a call is tried again after
        UNAVAILABLE. To call this method again after an error, give event ids of your own: feed knows them for an hour.

        Args:
            actions: The actions.
            timeout: Seconds for all attempts of each call; None means that of the mesh.

        Returns:
            How many are in feed's log, and which were rejected. A moment later, the other services know them.

        Example:
            recorded = mesh.record([Action("8888", "99654", type="order")])
        """
        return self._feed(RECORD_ACTIONS, wire.record_requests(actions), timeout)

    def put_users(self, users: Iterable[User], *, timeout: float | None = None) -> Recorded:
        """Create users, or change fields of their profiles.

        Args:
            users: The users with new values of fields. An empty value removes a field; fields that are not given keep
                their values. Histories are not sent. Any number of users; see `record`.
            timeout: Seconds for all attempts of each call; None means that of the mesh.

        Returns:
            How many are in feed's log, and which were rejected.

        Example:
            recorded = mesh.put_users([User("8888", {"age": "6.0"})])
        """
        return self._feed(PUT_USERS, wire.put_users_requests(users), timeout)

    def put_items(self, items: Iterable[Item], *, timeout: float | None = None) -> Recorded:
        """Create items, or change their fields.

        Args:
            items: The items with new values of fields. An empty value removes a field; fields that are not given keep
                their values. Any number of items; see `record`.
            timeout: Seconds for all attempts of each call; None means that of the mesh.

        Returns:
            How many are in feed's log, and which were rejected.

        Example:
            recorded = mesh.put_items([Item("99654", {"cate": "70"})])
        """
        return self._feed(PUT_ITEMS, wire.put_items_requests(items), timeout)

    def remove_items(self, sku_ids: Iterable[str], *, timeout: float | None = None) -> Recorded:
        """Remove items from all answers and from the catalogues of later trainings.

        Args:
            sku_ids: The items. Any number; see `record`.
            timeout: Seconds for all attempts of each call; None means that of the mesh.

        Returns:
            How many removals are in feed's log, and which were rejected.

        Example:
            recorded = mesh.remove_items(["99654"])
        """
        return self._feed(REMOVE_ITEMS, wire.remove_requests(sku_ids), timeout)

    def set_availability(self, sku_ids: Iterable[str], available: bool, *, timeout: float | None = None) -> Recorded:
        """Take items out of all answers for a while, or bring them back.

        Args:
            sku_ids: The items. Any number; see `record`.
            available: Whether the items can be recommended.
            timeout: Seconds for all attempts of each call; None means that of the mesh.

        Returns:
            How many changes are in feed's log, and which were rejected.

        Example:
            recorded = mesh.set_availability(["99654"], False)
        """
        return self._feed(SET_AVAILABILITY, wire.availability_requests(sku_ids, available), timeout)

    def delete_user(self, user_id: str, *, timeout: float | None = None) -> Recorded:
        """Delete the profile and the history of a user, and keep them out of later trainings.

        Args:
            user_id: The user.
            timeout: Seconds for all attempts; None means that of the mesh.

        Returns:
            Whether the deletion is in feed's log, or why it was rejected.

        Example:
            recorded = mesh.delete_user("8888")
        """
        return self._feed(DELETE_USER, [wire.delete_request(user_id)], timeout)

    def _connection(self, service: ServiceName) -> "_Connection":
        with self._lock:
            connection = self._connections.get(service)
            if connection is None:
                connection = self._connections[service] = self._connect(self._targets[service])
        return connection

    def _connect(self, target: str) -> "_Connection":
        if self._channel_factory is not None:
            channel = self._channel_factory(target, POLICY.options())
        else:
            channel = channels.open_blocking_channel(
                target,
                POLICY,
                credentials=self._credentials,
                tls=self._tls,
                token=self._token,
                interceptors=self._interceptors,
            )
        return _Connection(target, channel, self._retried)

    def _answer(self, method: Method[Request, Response], request: Request, timeout: float | None) -> Response:
        response = self.call(method, request, timeout=timeout)
        check_answer(method, response)
        return response

    def _feed(
        self, method: Method[Request, FeedResponse], requests: Iterable[Request], timeout: float | None
    ) -> Recorded:
        return wire.to_recorded([self._answer(method, request, timeout) for request in requests])


class _Connection:
    """A channel and the calls that are made through it; see `recmesh.client._connection`."""

    def __init__(self, target: str, channel: grpc.Channel, retried: frozenset[grpc.StatusCode]) -> None:
        self._target = target
        self._channel = channel
        self._retried = retried
        self._stubs: dict[str, object] = {}

    def call(self, method: Method[Request, Response], request: Request, timeout: float) -> Response:
        stub = self._stub(method)
        attempts = Attempts(method, self._target, self._retried, timeout)
        while True:
            try:
                return stub(request, timeout=attempts.remaining(), metadata=attempts.metadata)
            except grpc.RpcError as error:
                pause = attempts.pause(cast(grpc.Call, error))
            time.sleep(pause)

    def close(self) -> None:
        self._channel.close()

    def _stub(self, method: Method[Request, Response]) -> "grpc.UnaryUnaryMultiCallable[Request, Response]":
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = self._stubs[method.path] = self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return cast("grpc.UnaryUnaryMultiCallable[Request, Response]", stub)
