"""Item vectors in Milvus: a collection per release, searched by inner product (higher is better).

Vectors are stored with one more dimension (see `ann`); what goes in and comes out here has the release's own `dim`.

`MilvusReader` is the services' path: the raw asyncio stub with a request prepared once, which is the fastest of all
clients measured. `MilvusWriter` is the jobs' path: pymilvus, synchronous. Both take a server's URI or, for milvus-lite,
the path of a `.db` file.
"""

import importlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
import numpy as np
from pymilvus import DataType, MilvusClient
from pymilvus.client.types import PlaceholderType
from pymilvus.exceptions import MilvusException
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from recmesh.errors import DeadlineExceeded, RecmeshError, SettingsError, Unavailable
from recmesh.releases import Index
from recmesh.stores.ann import Vectors, extended, extended_queries

# It logs, with a traceback, every error that it also raises.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

_Call = Callable[..., Awaitable[Any]]
__all__ = ["HNSW_PARAMS", "Answer", "CollectionSearch", "MilvusReader", "MilvusWriter", "Vectors"]

Answer = tuple[Sequence[str], Vectors]
"""The ids and the scores (float32) that a query found, best first."""

HNSW_PARAMS: Mapping[str, int] = {"M": 16, "efConstruction": 200}
_PREFIX = "recmesh_"
_SERVICE = "/milvus.proto.milvus.MilvusService/"
_VECTOR, _KEY = "vector", "sku_id"
_MAX_ID_BYTES = 128
_INDEXED_ROWS = 1_024
"""Milvus leaves smaller segments without an index and scans them."""

_CALL_S, _BUILD_S = 30.0, 1_800.0
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # A Milvus that comes back must be found within seconds; the default waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class MilvusReader:
    """Asynchronous searches. Make it, use it and `close()` it within one event loop."""

    def __init__(self, uri: str) -> None:
        target, secure = _target(uri)
        if secure:
            self._channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=_CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._uri = uri
        self._search: _Call = self._channel.unary_unary(
            f"{_SERVICE}Search", response_deserializer=milvus_pb2.SearchResults.FromString
        )
        self._version: _Call = self._channel.unary_unary(
            f"{_SERVICE}GetVersion", response_deserializer=milvus_pb2.GetVersionResponse.FromString
        )

    def collection(self, name: str, index: Index) -> "CollectionSearch":
        """The searches of one collection, with the index of its release."""
        return CollectionSearch(self, name, index)

    async def ping(self, timeout: float) -> None:
        """Return when Milvus answers. Raises DeadlineExceeded or Unavailable."""
        with self._errors():
            await self._version(milvus_pb2.GetVersionRequest().SerializeToString(), timeout=timeout)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def search(self, request: bytes, timeout: float) -> Any:
        """Send a serialized SearchRequest; answers its SearchResultData. Raises DeadlineExceeded or Unavailable."""
        with self._errors():
            response = await self._search(request, timeout=timeout)
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


class MilvusWriter:
    """Synchronous access for the jobs. Raises Unavailable when Milvus does not answer or refuses."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lite = _is_file(uri)
        if not self._lite:
            _target(uri)
        with self._errors("connect"):
            self._client = MilvusClient(uri=uri, timeout=_CALL_S)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def create(self, name: str, dim: int) -> tuple[int, bool]:
        """Make the collection unless it is there. Returns its number, which no later one has, and whether it is new.

        Raises RecmeshError when it is there with another dimension.
        """
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(_KEY, DataType.VARCHAR, is_primary=True, max_length=_MAX_ID_BYTES)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=dim + 1)
        with self._errors(f"create {name}"):
            new = not self._client.has_collection(name, timeout=_CALL_S)
            if new:
                self._client.create_collection(name, schema=schema, timeout=_CALL_S)
            description = self._client.describe_collection(name, timeout=_CALL_S)
        found = next(field["params"]["dim"] for field in description["fields"] if field["name"] == _VECTOR)
        if int(found) != dim + 1:
            raise RecmeshError(
                f"Milvus {self._uri}: collection {name} has {int(found) - 1} dimensions, not {dim}; drop it first"
            )
        return int(description["collection_id"]), new

    def drop(self, name: str) -> None:
        """Drop the collection, if it is there."""
        with self._errors(f"drop {name}"):
            self._client.drop_collection(name, timeout=_CALL_S)

    def collections(self) -> set[str]:
        """The names of all collections of releases."""
        with self._errors("list collections"):
            names = self._client.list_collections(timeout=_CALL_S)
        return {name for name in names if name.startswith(_PREFIX)}

    def insert(
        self, name: str, sku_ids: Sequence[str], vectors: Vectors, radius: float = 0.0, replace: bool = False
    ) -> None:
        """Add rows of which none is there yet; with `replace`, rows that may be there already, at a higher price.

        vectors: float32 [rows, dim]. radius: `ann.longest()` of all vectors of the collection; 0 does for FLAT.
        """
        stored = extended(vectors, radius)
        rows = [{_KEY: sku_id, _VECTOR: vector} for sku_id, vector in zip(sku_ids, stored, strict=True)]
        send = self._client.upsert if replace else self._client.insert
        with self._errors(f"write to {name}"):
            send(name, rows, timeout=_CALL_S)

    def build(self, name: str, index: Index) -> None:
        """Flush, index and load the collection; return when searches really use the index.

        An index of another kind or with other parameters is built anew, during which the collection cannot be searched.
        """
        with self._errors(f"flush {name}"):
            self._client.flush(name, timeout=_BUILD_S)
        with self._errors(f"index {name}"):
            if self._index(name) not in (None, index.kind):
                self._client.release_collection(name, timeout=_CALL_S)
                self._client.drop_index(name, _VECTOR, timeout=_CALL_S)
            if self._index(name) is None:
                wanted = self._client.prepare_index_params()
                wanted.add_index(_VECTOR, index_type=index.kind, metric_type="IP", params=dict(index.params))
                self._client.create_index(name, wanted, timeout=_BUILD_S)
        with self._errors(f"load {name}"):
            self._client.load_collection(name, timeout=_BUILD_S)
            self._wait_until_served(name, index)

    def count(self, name: str) -> int:
        """The exact number of rows, deleted ones left out; 0 when there is no such collection."""
        with self._errors(f"count {name}"):
            if not self._client.has_collection(name, timeout=_CALL_S):
                return 0
            self._client.load_collection(name, timeout=_BUILD_S)
            rows = self._client.query(
                name, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=_CALL_S
            )
        return int(rows[0]["count(*)"])

    def read(self, name: str, sku_ids: Sequence[str]) -> dict[str, Vectors]:
        """The vectors of items, without those that the collection does not hold."""
        # Not pymilvus' get(): it does not escape quotes in ids.
        among = json.dumps(list(sku_ids), ensure_ascii=False)
        with self._errors(f"read {name}"):
            rows = self._client.query(
                name,
                filter=f"{_KEY} in {among}",
                output_fields=[_VECTOR],
                consistency_level="Strong",
                timeout=_CALL_S,
            )
        return {row[_KEY]: np.asarray(row[_VECTOR], np.float32)[:-1] for row in rows}

    def search(self, name: str, vectors: Vectors, limit: int, ef: int | None) -> list[list[str]]:
        """The ids that searches find, best first, with HNSW's search width `ef`; for measurements."""
        with self._errors(f"search {name}"):
            found = self._client.search(
                name,
                list(extended_queries(vectors)),
                limit=limit,
                search_params={"metric_type": "IP", "params": {"ef": ef} if ef else {}},
                consistency_level="Eventually",
                timeout=_CALL_S,
            )
        return [[hit.id for hit in hits] for hits in found]

    def _index(self, name: str) -> str | None:
        if _VECTOR not in self._client.list_indexes(name, timeout=_CALL_S):
            return None
        return str(self._client.describe_index(name, _VECTOR, timeout=_CALL_S)["index_type"])

    def _wait_until_served(self, name: str, index: Index) -> None:
        """Wait for the query node: that an index is built comes up to 12 s before its segments are served with it."""
        if self._lite or index.kind == "FLAT":
            return
        target, _ = _target(self._uri)
        with grpc.insecure_channel(target) as channel:
            segments = channel.unary_unary(
                f"{_SERVICE}GetQuerySegmentInfo",
                request_serializer=milvus_pb2.GetQuerySegmentInfoRequest.SerializeToString,
                response_deserializer=milvus_pb2.GetQuerySegmentInfoResponse.FromString,
            )
            deadline = time.monotonic() + _BUILD_S
            while any(
                segment.num_rows >= _INDEXED_ROWS and not segment.index_name
                for segment in segments(
                    milvus_pb2.GetQuerySegmentInfoRequest(collectionName=name), timeout=_CALL_S
                ).infos
            ):
                if time.monotonic() > deadline:
                    raise Unavailable(f"Milvus {self._uri}: {name} is not served with its index after {_BUILD_S:.0f} s")
                time.sleep(0.2)

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except MilvusException as error:
            raise Unavailable(f"Milvus {self._uri}: cannot {action}: {error.message}") from error
        except grpc.RpcError as error:
            raise Unavailable(f"Milvus {self._uri}: cannot {action}: {error}") from error


def _prepare(name: str, index: Index, limit: int) -> bytes:
    """A serialized SearchRequest without its vectors."""
    # Milvus refuses an ef below the number of items asked for.
    params = f'{{"ef": {max(index.ef or limit, limit)}}}' if index.kind == "HNSW" else "{}"
    options = {
        "anns_field": _VECTOR,
        "metric_type": "IP",
        "topk": str(limit),
        "params": params,
        "round_decimal": "-1",
        "ignore_growing": "False",
    }
    request = milvus_pb2.SearchRequest(
        collection_name=name,
        dsl_type=common_pb2.DslType.BoolExprV1,
        search_params=[common_pb2.KeyValuePair(key=key, value=value) for key, value in options.items()],
        consistency_level=common_pb2.ConsistencyLevel.Eventually,
        use_default_consistency=False,
        guarantee_timestamp=1,  # "eventually": answer from what is there
    )
    return bytes(request.SerializeToString())


def _queries(vectors: Vectors) -> bytes:
    """The part of a serialized SearchRequest that differs: the vectors and their number."""
    rows = extended_queries(vectors)
    placeholder = common_pb2.PlaceholderValue(
        tag="$0", type=PlaceholderType.FloatVector, values=[row.tobytes() for row in rows]
    )
    group = common_pb2.PlaceholderGroup(placeholders=[placeholder]).SerializeToString()
    return bytes(milvus_pb2.SearchRequest(placeholder_group=group, nq=len(rows)).SerializeToString())


def _answers(results: Any) -> list[Answer]:
    ids: Sequence[str] = list(results.ids.str_id.data)
    scores = np.array(results.scores, np.float32)
    answers, start = [], 0
    for found in results.topks:
        answers.append((ids[start : start + found], scores[start : start + found]))
        start += found
    return answers


def _is_file(uri: str) -> bool:
    return "://" not in uri


def _target(uri: str) -> tuple[str, bool]:
    """The gRPC target of a URI, and whether it wants TLS. Starts milvus-lite for a file."""
    if _is_file(uri):
        return _lite_target(uri), False
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https", "tcp") or not parts.hostname:
        raise SettingsError(
            f"RECMESH_MILVUS_URI {uri}: must be http://host:port, or the path of a .db file for milvus-lite"
        )
    return f"{parts.hostname}:{parts.port or 19530}", parts.scheme == "https"


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
