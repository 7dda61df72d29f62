"""Item vectors into Milvus, by pymilvus: the jobs' and the operator's path. See `milvus` for what is stored."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import grpc
import numpy as np
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException
from pymilvus.grpc_gen import milvus_pb2

from recmesh.errors import RecmeshError, Unavailable
from recmesh.releases import Index
from recmesh.stores.ann import Vectors, extended, extended_queries
from recmesh.stores.milvus import SERVICE, VECTOR, authorization, is_file, masked, target_of, token_of

# It logs, with a traceback, every error that it also raises.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

HNSW_PARAMS: Mapping[str, int] = {"M": 16, "efConstruction": 200}
_PREFIX = "recmesh_"
_KEY = "sku_id"
_MAX_ID_BYTES = 128
_INDEXED_ROWS = 1_024
"""Milvus leaves smaller segments without an index and scans them."""

_CALL_S, _BUILD_S = 30.0, 1_800.0


class MilvusWriter:
    """Synchronous access for the jobs. Raises Unavailable when Milvus does not answer or refuses."""

    def __init__(self, uri: str) -> None:
        self._uri = masked(uri)
        self._authorization = authorization(uri)
        self._lite = is_file(uri)
        if not self._lite:
            target_of(uri)
        with self._errors("connect"):
            self._client = MilvusClient(uri=self._uri, token=token_of(uri), timeout=_CALL_S)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def create(self, name: str, dim: int) -> tuple[int, bool]:
        """Make the collection unless it is there. Returns its number, which no later one has, and whether it is new.

        Raises RecmeshError when it is there with another dimension.
        """
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(_KEY, DataType.VARCHAR, is_primary=True, max_length=_MAX_ID_BYTES)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dim + 1)
        with self._errors(f"create {name}"):
            new = not self._client.has_collection(name, timeout=_CALL_S)
            if new:
                self._client.create_collection(name, schema=schema, timeout=_CALL_S)
            description = self._client.describe_collection(name, timeout=_CALL_S)
        found = next(field["params"]["dim"] for field in description["fields"] if field["name"] == VECTOR)
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
        rows = [{_KEY: sku_id, VECTOR: vector} for sku_id, vector in zip(sku_ids, stored, strict=True)]
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
                self._client.drop_index(name, VECTOR, timeout=_CALL_S)
            if self._index(name) is None:
                wanted = self._client.prepare_index_params()
                wanted.add_index(VECTOR, index_type=index.kind, metric_type="IP", params=dict(index.params))
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
                output_fields=[VECTOR],
                consistency_level="Strong",
                timeout=_CALL_S,
            )
        return {row[_KEY]: np.asarray(row[VECTOR], np.float32)[:-1] for row in rows}

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
        if VECTOR not in self._client.list_indexes(name, timeout=_CALL_S):
            return None
        return str(self._client.describe_index(name, VECTOR, timeout=_CALL_S)["index_type"])

    def _wait_until_served(self, name: str, index: Index) -> None:
        """Wait for the query node: that an index is built comes up to 12 s before its segments are served with it."""
        if self._lite or index.kind == "FLAT":
            return
        target, secure = target_of(self._uri)
        channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials()) if secure else grpc.insecure_channel(target)
        )
        with channel:
            segments = channel.unary_unary(
                f"{SERVICE}GetQuerySegmentInfo",
                request_serializer=milvus_pb2.GetQuerySegmentInfoRequest.SerializeToString,
                response_deserializer=milvus_pb2.GetQuerySegmentInfoResponse.FromString,
            )
            deadline = time.monotonic() + _BUILD_S
            while any(
                segment.num_rows >= _INDEXED_ROWS and not segment.index_name
                for segment in segments(
                    milvus_pb2.GetQuerySegmentInfoRequest(collectionName=name),
                    timeout=_CALL_S,
                    metadata=self._authorization,
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
