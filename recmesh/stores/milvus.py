"""Item vectors in Milvus: a collection per release, searched by inner product (higher is better).

Vectors are stored with one more dimension (see `ann`); what goes in and comes out here has the release's own `dim`.

This is the services' path: the raw asyncio stub with a request prepared once, which is the fastest of all clients
measured, and needs no pymilvus (which needs pandas). The jobs' path is `milvus_writer`. Both take a server's URI, or
the path of a `.db` file for milvus-lite.
"""

import base64
import importlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc
import grpc.aio
import numpy as np

from recmesh.errors import DeadlineExceeded, SettingsError, Unavailable
from recmesh.pb import milvus_pb2
from recmesh.releases import Index
from recmesh.stores.ann import Vectors, extended_queries

_Call = Callable[..., Awaitable[Any]]
__all__ = [
    "SERVICE",
    "VECTOR",
    "Answer",
    "CollectionSearch",
    "MilvusReader",
    "Vectors",
    "authorization",
    "is_file",
    "masked",
    "target_of",
    "token_of",
]

Answer = tuple[Sequence[str], Vectors]
"""The ids and the scores (float32) that a query found, best first."""

SERVICE = "/milvus.proto.milvus.MilvusService/"
VECTOR = "vector"
_BOOLEAN_EXPRESSION, _EVENTUALLY, _FLOAT_VECTOR = 1, 3, 101
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # A Milvus that comes back must be found within seconds; the default waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class MilvusReader:
    """Asynchronous searches. Make it, use it and `close()` it within one event loop."""

    def __init__(self, uri: str) -> None:
        target, secure = target_of(uri)
        if secure:
            self._channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=_CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._uri = masked(uri)
        self._metadata = authorization(uri)
        self._search: _Call = self._channel.unary_unary(
            f"{SERVICE}Search", response_deserializer=milvus_pb2.SearchResults.FromString
        )
        self._version: _Call = self._channel.unary_unary(
            # Any answer will do: what is in it is not read.
            f"{SERVICE}GetVersion",
            response_deserializer=None,
        )

    def collection(self, name: str, index: Index) -> "CollectionSearch":
        """The searches of one collection, with the index of its release."""
        return CollectionSearch(self, name, index)

    async def ping(self, timeout: float) -> None:
        """Return when Milvus answers. Raises DeadlineExceeded or Unavailable."""
        with self._errors():
            await self._version(b"", timeout=timeout, metadata=self._metadata)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def search(self, request: bytes, timeout: float) -> Any:
        """Send a serialized SearchRequest; answers its SearchResultData. Raises DeadlineExceeded or Unavailable."""
        with self._errors():
            response = await self._search(request, timeout=timeout, metadata=self._metadata)
        status = response.status
        if status.code or status.error_code:
            raise Unavailable(f"Milvus {self._uri}: search failed: {status.reason}")
        return response.results

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise DeadlineExceeded(f"Milvus {self._uri}: no answer in time") from error
            raise Unavailable(f"Milvus {self._uri}: {error.code().name}: {error.details()}") from error


class CollectionSearch:
    """Searches of one collection. Only the vectors' bytes differ from one request to the next of the same `limit`."""

    def __init__(self, reader: MilvusReader, name: str, index: Index) -> None:
        self._reader = reader
        self._name = name
        self._index = index
        self._prepared: dict[int, bytes] = {}

    async def search(self, vectors: Vectors, limit: int, timeout: float) -> list[Answer]:
        """For each row of `vectors`, float32 [queries, dim], the `limit` items of largest inner product, in one call.

        timeout: seconds. Raises DeadlineExceeded or Unavailable.
        """
        prepared = self._prepared.get(limit)
        if prepared is None:
            prepared = self._prepared[limit] = _prepare(self._name, self._index, limit)
        # Serialized messages may be joined: the result is their merge.
        results = await self._reader.search(prepared + _queries(vectors), timeout)
        return _answers(results)


def _prepare(name: str, index: Index, limit: int) -> bytes:
    """A serialized SearchRequest without its vectors."""
    # Milvus refuses an ef below the number of items asked for.
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
    """The part of a serialized SearchRequest that differs: the vectors and their number."""
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
    return "://" not in uri


def target_of(uri: str) -> tuple[str, bool]:
    """The gRPC target of a URI, and whether it wants TLS. Starts milvus-lite for a file."""
    if is_file(uri):
        return _lite_target(uri), False
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https", "tcp") or not parts.hostname:
        raise SettingsError(
            f"RECMESH_MILVUS_URI {uri}: must be http://host:port, or the path of a .db file for milvus-lite"
        )
    return f"{parts.hostname}:{parts.port or 19530}", parts.scheme == "https"


def token_of(uri: str) -> str:
    """`user:password` of a URI; empty when it has none."""
    parts = urlsplit("" if is_file(uri) else uri)
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""


def masked(uri: str) -> str:
    """The URI for messages: without user and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def authorization(uri: str) -> tuple[tuple[str, str], ...]:
    """The metadata of calls as the user of a URI."""
    token = token_of(uri)
    return (("authorization", base64.b64encode(token.encode()).decode()),) if token else ()


def _lite_target(path: str) -> str:
    try:
        lite = importlib.import_module("milvus_lite.server_manager")
    except ImportError:
        raise SettingsError(
            f"RECMESH_MILVUS_URI {path}: milvus-lite is not installed; pip install milvus-lite"
        ) from None
    target = lite.server_manager_instance.start_and_get_uri(path)
    if target is None:
        raise Unavailable(f"milvus-lite {path}: does not start; is the file in use by another process?")
    return str(target).removeprefix("http://")
