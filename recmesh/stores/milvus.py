"""Search of item vectors in Milvus. Every release has a collection; scores are inner products, higher is better.

Stored vectors have another dimension (see `ann`). The functions here take and return vectors with the `dim` of the
release.

This module is for the services. It calls Milvus through a gRPC channel with prepared requests, the fastest of all
clients that were measured, and does not need pymilvus, which needs pandas. The jobs use `milvus_writer`. Both take the
URI of a server or the path of a `.db` file for milvus-lite.
"""

import asyncio
import base64
import importlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.protobuf.message import Message

from recmesh import spans
from recmesh.contract import DIRECT, KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, MILVUS_PORT, address, without_credentials
from recmesh.errors import DeadlineExceeded, SettingsError, Unavailable
from recmesh.pb import milvus_pb2
from recmesh.releases import Index
from recmesh.secure_channels import SecureChannel
from recmesh.stores.ann import Vectors, extended_queries
from recmesh.stores.credentials import (
    NO_CREDENTIALS,
    Credentials,
    Passwords,
    login,
    refused,
    split_url,
    tls_advice,
)
from recmesh.tls import TlsFiles

_Call = Callable[..., Awaitable[Any]]
__all__ = [
    "SERVICE",
    "VECTOR",
    "Answer",
    "CollectionSearch",
    "MilvusReader",
    "Token",
    "Vectors",
    "authorization",
    "is_file",
    "reason",
    "target_of",
]

Answer = tuple[Sequence[str], Vectors]
"""The ids and the scores float32 that a query found, best first."""

SERVICE = "/milvus.proto.milvus.MilvusService/"
VECTOR = "vector"
_BOOLEAN_EXPRESSION, _EVENTUALLY, _FLOAT_VECTOR = 1, 3, 101
_COMPLETE = frozenset({3, 4, 5})
"""States of segments that get no more rows: sealed, flushed, and being flushed."""

_MIN_INDEXED_ROWS = 1_024
"""Milvus builds no index for smaller segments and scans them."""

_CHANNEL_OPTIONS = (
    DIRECT,
    # A new channel has a new connection. By default, channels to the same target share one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    # Reconnect within a second after Milvus restarts. By default, gRPC waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
)
_NO_COLLECTION = 100
"""The code of a status that says that there is no such collection."""

_CLOSED, _MAYBE_TLS = "Socket closed", "; if it speaks TLS, use https://"
_MAX_MISSED_DEADLINES = 3
_REOPEN_SECONDS = 1.0
_CLOSE_SECONDS = 2.0


class MilvusReader:
    """Asynchronous searches, within an event loop.

    After three calls in a row without an answer in time, the next one uses a new connection: the old one may be
    half-open, which takes gRPC longer to find out.

    Attributes:
        database: Names Milvus in spans.
    """

    def __init__(
        self, uri: str, credentials: Credentials = NO_CREDENTIALS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open a channel, which connects on demand.

        Args:
            uri: `http://host:port`, or the path of a `.db` file.
            credentials: User and password; by default those in the URI.
            clock: Monotonic time in seconds.

        Raises:
            SettingsError: If the URI is invalid, or has credentials although others are given, or if milvus-lite is not
                installed.
        """
        self._token = Token(uri, credentials)
        self._target, secure = target_of(uri)
        self._open_channel = _opener(self._target, secure, credentials.tls)
        self.database: spans.Attributes = {"db.system.name": "milvus", **spans.server(self._target)}
        self._lite = is_file(uri)
        self._uri = without_credentials(uri)
        self._clock = clock
        self._closing: set[asyncio.Task[None]] = set()
        self._open()

    def _open(self) -> None:
        self._channel = self._open_channel()
        self._missed, self._opened_at = 0, self._clock()
        self._search = self._call("Search", milvus_pb2.SearchResults)
        self._stored = self._call("GetPersistentSegmentInfo", milvus_pb2.GetPersistentSegmentInfoResponse)
        self._loaded = self._call("GetQuerySegmentInfo", milvus_pb2.GetQuerySegmentInfoResponse)

    def _call(self, method: str, answer: type[Message]) -> _Call:
        """A method of Milvus that takes serialized requests."""
        call: _Call = self._channel.unary_unary(f"{SERVICE}{method}", response_deserializer=answer.FromString)
        return call

    def collection(self, name: str, index: Index) -> "CollectionSearch":
        """Return the search of a collection with the index of its release."""
        return CollectionSearch(self, name, index)

    async def close(self) -> None:
        """Close the channel."""
        await asyncio.gather(self._channel.close(), *self._closing)

    def _missed_deadline(self) -> None:
        """Count a call without an answer, and open a new channel after too many in a row."""
        self._missed += 1
        if self._missed >= _MAX_MISSED_DEADLINES and self._clock() >= self._opened_at + _REOPEN_SECONDS:
            closing = asyncio.create_task(self._channel.close(_CLOSE_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._open()

    async def search(self, request: bytes, timeout: float) -> Any:
        """Send a serialized SearchRequest and return the SearchResultData.

        Args:
            request: The request.
            timeout: Seconds.

        Raises:
            DeadlineExceeded: If there is no answer in time.
            Unavailable: If Milvus reports an error or cannot be reached.
        """
        return (await self._ask(self._search, "search", request, timeout)).results

    async def uses_index(self, name: str, timeout: float) -> bool:
        """Tell whether searches use the index of a collection, in all of its segments that get one.

        Milvus scans segments that it has loaded without their index, up to 12 s after a build: searches find
        everything, slowly. milvus-lite has no such segments.

        Args:
            name: The collection.
            timeout: Seconds for each of two calls.

        Raises:
            DeadlineExceeded: If there is no answer in time.
            Unavailable: If Milvus reports an error or cannot be reached.
        """
        if self._lite:
            return True
        of_stored = milvus_pb2.GetPersistentSegmentInfoRequest(collection_name=name).SerializeToString()
        stored = await self._ask(self._stored, "reading segments", of_stored, timeout)
        of_loaded = milvus_pb2.GetQuerySegmentInfoRequest(collection_name=name).SerializeToString()
        loaded = await self._ask(self._loaded, "reading loaded segments", of_loaded, timeout)
        indexed = {segment.segment_id for segment in loaded.infos if segment.index_name}
        return all(
            segment.segment_id in indexed
            for segment in stored.infos
            if segment.state in _COMPLETE and segment.num_rows >= _MIN_INDEXED_ROWS
        )

    async def has_collection(self, name: str, timeout: float) -> bool:
        """Tell whether there is a collection.

        Args:
            name: The collection.
            timeout: Seconds.

        Raises:
            DeadlineExceeded: If there is no answer in time.
            Unavailable: If Milvus reports an error or cannot be reached.
        """
        request = milvus_pb2.GetPersistentSegmentInfoRequest(collection_name=name).SerializeToString()
        with self._errors():
            response = await self._authorized(self._stored, request, timeout)
        if response.status.code == _NO_COLLECTION:
            return False
        self._check(response.status, "looking for a collection")
        return True

    async def _ask(self, call: _Call, what: str, request: bytes, timeout: float) -> Any:
        with self._errors():
            response = await self._authorized(call, request, timeout)
        self._check(response.status, what)
        return response

    def _check(self, status: milvus_pb2.Status, what: str) -> None:
        """Raise Unavailable for the status of a call that failed."""
        if status.code or status.error_code:
            raise Unavailable(f"Milvus {self._uri}: {what} failed: {status.reason}")

    async def _authorized(self, call: _Call, request: bytes, timeout: float) -> Any:
        """Call with the token, and once more with the other one if the password is being changed."""
        token = self._token.current()
        try:
            return await call(request, timeout=timeout, metadata=authorization(token))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED or not self._token.refused(token):
                raise
            return await call(request, timeout=timeout, metadata=authorization(self._token.current()))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
            self._missed = 0
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._missed_deadline()
                raise DeadlineExceeded(f"Milvus {self._uri}: no answer in time") from error
            raise Unavailable(f"Milvus {self._uri}: {reason(error, self._uri.startswith('https:'))}") from error


class CollectionSearch:
    """The search of a collection.

    Requests with the same `limit` differ only in the bytes of the vectors; the rest is prepared once.
    """

    def __init__(self, reader: MilvusReader, name: str, index: Index) -> None:
        """Search the collection `name` through `reader`."""
        self._reader = reader
        self._name = name
        self._index = index
        self._operation = {**reader.database, "db.operation.name": "search", "db.collection.name": name}
        self._prepared: dict[int, bytes] = {}

    async def search(self, vectors: Vectors, limit: int, timeout: float) -> list[Answer]:
        """Find the items with the largest inner products, for several queries in a single call.

        Args:
            vectors: float32 [queries, dim].
            limit: How many items to find for each query.
            timeout: Seconds.

        Returns:
            The answer to each query.

        Raises:
            DeadlineExceeded: If there is no answer in time.
            Unavailable: If Milvus reports an error or cannot be reached.
        """
        prepared = self._prepared.get(limit)
        if prepared is None:
            prepared = self._prepared[limit] = _prepare(self._name, self._index, limit)
        operation = {**self._operation, spans.QUERIES: len(vectors)}
        with spans.span(f"search {self._name}", operation, spans.Kind.CLIENT):
            # Concatenated messages are parsed as their merge.
            results = await self._reader.search(prepared + _queries(vectors), timeout)
        return _answers(results)

    async def check(self, dim: int, timeout: float) -> None:
        """Pass if Milvus answers searches of the collection, with its index. After a start, it still has to load it.

        Args:
            dim: The dimension of vectors.
            timeout: Seconds for each of up to three calls.

        Raises:
            DeadlineExceeded: If there is no answer in time.
            Unavailable: If Milvus has not loaded the collection, or searches do not use the index yet.
        """
        await self.search(np.zeros((1, dim), np.float32), 1, timeout)
        if self._index.kind == "HNSW" and not await self._reader.uses_index(self._name, timeout):
            raise Unavailable(f"Milvus: searches of {self._name} do not use its index yet")


def _prepare(name: str, index: Index, limit: int) -> bytes:
    """Serialize a SearchRequest without vectors."""
    # Milvus rejects an ef below the limit.
    params = f'{{"ef": {max(index.ef or limit, limit)}}}' if index.kind == "HNSW" else "{}"
    options = {
        "anns_field": VECTOR,
        "metric_type": "IP",
        "topk": str(limit),
        "params": params,
        "round_decimal": "-1",
        "ignore_growing": "False",
    }
    request = milvus_pb2.SearchRequest(
        collection_name=name,
        dsl_type=_BOOLEAN_EXPRESSION,
        search_params=[milvus_pb2.KeyValuePair(key=key, value=value) for key, value in options.items()],
        consistency_level=_EVENTUALLY,
        guarantee_timestamp=1,
    )
    return bytes(request.SerializeToString())


def _queries(vectors: Vectors) -> bytes:
    """Serialize the variable part of a SearchRequest: the vectors and their number."""
    rows = extended_queries(vectors)
    placeholder = milvus_pb2.PlaceholderValue(tag="$0", type=_FLOAT_VECTOR, values=[row.tobytes() for row in rows])
    group = milvus_pb2.PlaceholderGroup(placeholders=[placeholder]).SerializeToString()
    return bytes(milvus_pb2.SearchRequest(placeholder_group=group, nq=len(rows)).SerializeToString())


def _answers(results: Any) -> list[Answer]:
    ids: Sequence[str] = list(results.ids.str_id.data)
    scores = np.array(results.scores, np.float32)
    answers, start = [], 0
    for found in results.topks:
        answers.append((ids[start : start + found], scores[start : start + found]))
        start += found
    return answers


def is_file(uri: str) -> bool:
    """Tell whether a URI is the path of a file for milvus-lite."""
    return "://" not in uri


def target_of(uri: str) -> tuple[str, bool]:
    """Return the gRPC target of a URI and whether it needs TLS. For a file, start milvus-lite.

    Raises:
        SettingsError: If the URI is invalid or milvus-lite is not installed.
        Unavailable: If milvus-lite does not start.
    """
    if is_file(uri):
        return _lite_target(uri), False
    parts = split_url("MILVUS", uri)
    if not parts.hostname:
        raise SettingsError("RECMESH_MILVUS_URI has no host: set it to http://host:port")
    return address(parts.hostname, parts.port or MILVUS_PORT), parts.scheme == "https"


class Token:
    """What authenticates calls: `user:password`, the password alone if there is no user, or nothing."""

    def __init__(self, uri: str, given: Credentials) -> None:
        """Use the given credentials, or those in a URI.

        Raises:
            SettingsError: See `login`.
        """
        credentials = NO_CREDENTIALS if is_file(uri) and uri.endswith(".db") else login("MILVUS", uri, given)
        self._before = f"{credentials.username}:" if credentials.username else ""
        self._passwords = Passwords(credentials)

    def current(self) -> str:
        """Return the token; empty for none."""
        return self._before + self._passwords.current()

    def refused(self, token: str) -> bool:
        """Take note that Milvus does not accept a token. Returns whether `current` is another one now."""
        return self._passwords.refused(token.removeprefix(self._before))


def _opener(target: str, secure: bool, tls: TlsFiles | None) -> Callable[[], grpc.aio.Channel]:
    """What opens a channel to Milvus."""
    if not secure:
        return lambda: grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
    if tls:
        return lambda: SecureChannel(target, tls, _CHANNEL_OPTIONS)
    return lambda: grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=_CHANNEL_OPTIONS)


def authorization(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that authenticates calls by a token."""
    return (("authorization", base64.b64encode(token.encode()).decode()),) if token else ()


def reason(error: grpc.RpcError, secure: bool) -> str:
    """Return why a call failed and, if Milvus does not accept the user or TLS fails, what to do.

    Args:
        error: The error.
        secure: Whether the call was made over TLS.
    """
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return f"the user and password are not accepted; {refused('MILVUS')}"
    if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        return f"the user may not do this ({error.details()}); set RECMESH_MILVUS_USERNAME to the user of this process"
    details = str(error.details())
    advice = tls_advice("MILVUS", details) or (_MAYBE_TLS if not secure and _CLOSED in details else "")
    return f"{error.code().name}: {details}{advice}"


def _lite_target(path: str) -> str:
    try:
        lite = importlib.import_module("milvus_lite.server_manager")
    except ImportError:
        raise SettingsError(
            f"RECMESH_MILVUS_URI {path}: milvus-lite is not installed; run pip install milvus-lite"
        ) from None
    target = lite.server_manager_instance.start_and_get_uri(path)
    if target is None:
        raise Unavailable(f"milvus-lite {path}: does not start; another process may be using the file")
    return str(target).removeprefix("http://")
