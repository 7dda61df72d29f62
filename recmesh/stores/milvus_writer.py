"""Writing item vectors to Milvus with pymilvus, for jobs and operators. `milvus` is the module for the services."""

import asyncio
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import grpc
import numpy as np
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from recmesh.contract import MAX_ID_BYTES, without_credentials
from recmesh.errors import DeadlineExceeded, RecmeshError, Unavailable
from recmesh.releases import Index
from recmesh.stores.ann import Vectors, extended, extended_queries
from recmesh.stores.credentials import NO_CREDENTIALS, Credentials
from recmesh.stores.milvus import VECTOR, MilvusReader, Token, is_file, reason, target_of
from recmesh.tls import TlsFiles

# pymilvus logs every error that it raises, with a traceback.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

HNSW_PARAMS: Mapping[str, int] = {"M": 16, "efConstruction": 200}
_PREFIX = "recmesh_"
_NO_PROXY = "no_grpc_proxy"
_KEY = "sku_id"
_CALL_SECONDS, _BUILD_SECONDS, _POLL_SECONDS = 30.0, 1_800.0, 0.2


def _bypass_proxy(target: str) -> None:
    """Let gRPC use no proxy for Milvus. pymilvus has no setting; gRPC reads this variable as it opens a channel."""
    others = os.environ.get(_NO_PROXY) or os.environ.get("no_proxy", "")
    hosts = dict.fromkeys([*filter(None, others.split(",")), "127.0.0.1", "localhost", target.rpartition(":")[0]])
    os.environ[_NO_PROXY] = ",".join(filter(None, hosts))


def _tls_options(tls: TlsFiles | None) -> dict[str, str]:
    """What pymilvus takes for TLS. Without authorities of its own, gRPC uses those of the system."""
    if tls is None:
        return {}
    if tls.certificate is None or tls.key is None:
        return {"server_pem_path": str(tls.ca)}
    certificate, key = str(tls.certificate), str(tls.key)
    return {"ca_pem_path": str(tls.ca), "client_pem_path": certificate, "client_key_path": key}


class MilvusWriter:
    """Synchronous access for the jobs. All methods raise Unavailable if Milvus fails or does not answer."""

    def __init__(self, uri: str, credentials: Credentials = NO_CREDENTIALS) -> None:
        """Connect to a server, or start milvus-lite.

        Args:
            uri: `http://host:port`, or the path of a `.db` file.
            credentials: User and password; by default those in the URI.

        Raises:
            SettingsError: If the URI is invalid, or has credentials although others are given.
        """
        self._uri = without_credentials(uri)
        self._place = uri, credentials
        self._client = connect(uri, credentials)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def create(self, name: str, dim: int) -> tuple[int, bool]:
        """Create a collection unless it exists.

        Returns:
            The number of the collection, which no other collection ever gets, and whether it is new.

        Raises:
            RecmeshError: If the collection exists with another dimension.
        """
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(_KEY, DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dim + 1)
        with self._errors(f"create {name}"):
            new = not self._client.has_collection(name, timeout=_CALL_SECONDS)
            if new:
                self._client.create_collection(name, schema=schema, timeout=_CALL_SECONDS)
            description = self._client.describe_collection(name, timeout=_CALL_SECONDS)
        found = next(field["params"]["dim"] for field in description["fields"] if field["name"] == VECTOR)
        if int(found) != dim + 1:
            raise RecmeshError(
                f"Milvus {self._uri}: collection {name} has {int(found) - 1} dimensions, not {dim}; drop it first"
            )
        return int(description["collection_id"]), new

    def drop(self, name: str) -> None:
        """Drop a collection if it exists."""
        with self._errors(f"drop {name}"):
            self._client.drop_collection(name, timeout=_CALL_SECONDS)

    def collections(self) -> set[str]:
        """Return the names of all collections of releases."""
        with self._errors("list collections"):
            names = self._client.list_collections(timeout=_CALL_SECONDS)
        return {name for name in names if name.startswith(_PREFIX)}

    def insert(
        self, name: str, sku_ids: Sequence[str], vectors: Vectors, radius: float = 0.0, replace: bool = False
    ) -> None:
        """Insert rows.

        Args:
            name: The name of the collection.
            sku_ids: The ids of the items.
            vectors: float32 [rows, dim].
            radius: `ann.longest` of all vectors of the collection. 0 is sufficient for a FLAT index.
            replace: Whether the collection may already have some of the rows. This is slower.
        """
        stored = extended(vectors, radius)
        rows = [{_KEY: sku_id, VECTOR: vector} for sku_id, vector in zip(sku_ids, stored, strict=True)]
        send = self._client.upsert if replace else self._client.insert
        with self._errors(f"write to {name}"):
            send(name, rows, timeout=_CALL_SECONDS)

    def build(self, name: str, index: Index) -> None:
        """Flush, index and load a collection, and wait until searches use the index.

        An index of another kind is replaced. Meanwhile the collection cannot be searched.
        """
        with self._errors(f"flush {name}"):
            self._client.flush(name, timeout=_BUILD_SECONDS)
        with self._errors(f"index {name}"):
            if self._index(name) not in (None, index.kind):
                self._client.release_collection(name, timeout=_CALL_SECONDS)
                self._client.drop_index(name, VECTOR, timeout=_CALL_SECONDS)
            if self._index(name) is None:
                wanted = self._client.prepare_index_params()
                wanted.add_index(VECTOR, index_type=index.kind, metric_type="IP", params=dict(index.params))
                self._client.create_index(name, wanted, timeout=_BUILD_SECONDS)
        with self._errors(f"load {name}"):
            self._client.load_collection(name, timeout=_BUILD_SECONDS)
            if index.kind == "HNSW":
                asyncio.run(self._wait_for_index(name))

    def index_kind(self, name: str) -> str | None:
        """Return the type of a collection's index; None without one."""
        with self._errors(f"describe the index of {name}"):
            return self._index(name)

    def count(self, name: str) -> int:
        """Return the exact number of rows, without deleted rows; 0 if there is no such collection."""
        with self._errors(f"count {name}"):
            if not self._client.has_collection(name, timeout=_CALL_SECONDS):
                return 0
            self._client.load_collection(name, timeout=_BUILD_SECONDS)
            rows = self._client.query(
                name, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=_CALL_SECONDS
            )
        return int(rows[0]["count(*)"])

    def read(self, name: str, sku_ids: Sequence[str]) -> dict[str, Vectors]:
        """Return the vectors of items by id. Items that the collection does not have are omitted."""
        # get() of pymilvus does not escape quotes in ids.
        among = json.dumps(list(sku_ids), ensure_ascii=False)
        with self._errors(f"read {name}"):
            rows = self._client.query(
                name,
                filter=f"{_KEY} in {among}",
                output_fields=[VECTOR],
                consistency_level="Strong",
                timeout=_CALL_SECONDS,
            )
        return {row[_KEY]: np.asarray(row[VECTOR], np.float32)[:-1] for row in rows}

    def search(self, name: str, vectors: Vectors, limit: int, ef: int | None) -> list[list[str]]:
        """Search for measurements. Return the ids of each query, best first; `ef` is the search width of HNSW."""
        with self._errors(f"search {name}"):
            found = self._client.search(
                name,
                list(extended_queries(vectors)),
                limit=limit,
                search_params={"metric_type": "IP", "params": {"ef": ef} if ef else {}},
                consistency_level="Eventually",
                timeout=_CALL_SECONDS,
            )
        return [[hit.id for hit in hits] for hits in found]

    def _index(self, name: str) -> str | None:
        if VECTOR not in self._client.list_indexes(name, timeout=_CALL_SECONDS):
            return None
        return str(self._client.describe_index(name, VECTOR, timeout=_CALL_SECONDS)["index_type"])

    async def _wait_for_index(self, name: str) -> None:
        deadline = time.monotonic() + _BUILD_SECONDS
        uri, credentials = self._place
        reader = MilvusReader(uri, credentials=credentials)
        try:
            while not await reader.uses_index(name, _CALL_SECONDS):
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"Milvus {self._uri}: searches of {name} do not use its index after {_BUILD_SECONDS:.0f} s"
                    )
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            await reader.close()

    def _errors(self, action: str) -> AbstractContextManager[None]:
        return errors(self._uri, action)


def connect(uri: str, credentials: Credentials) -> MilvusClient:
    """Return a client of pymilvus that is connected.

    Raises:
        SettingsError: See `MilvusWriter`.
        Unavailable: If Milvus does not answer or does not accept the credentials.
    """
    token = Token(uri, credentials).current()
    _bypass_proxy("" if is_file(uri) else target_of(uri)[0])
    scheme, separator, rest = uri.partition("://")
    options = _tls_options(credentials.tls) if scheme == "https" else {}
    with errors(without_credentials(uri), "connect"):
        # pymilvus takes user and password as a token only.
        address = f"{scheme}{separator}{rest.rpartition('@')[2]}"
        # A connection of its own: by default, pymilvus would share one with others, whatever their certificates are.
        return MilvusClient(uri=address, token=token, timeout=_CALL_SECONDS, dedicated=True, **options)


@contextmanager
def errors(uri: str, action: str) -> Iterator[None]:
    """Raise Unavailable if Milvus fails during the block. `uri` has no credentials."""
    secure = uri.startswith("https:")
    try:
        yield
    except MilvusException as error:
        # pymilvus hides why it cannot connect.
        cause = error.__cause__
        why = reason(cause, secure) if isinstance(cause, grpc.RpcError) else error.message
        raise Unavailable(f"Milvus {uri}: cannot {action}: {why}") from error
    except grpc.RpcError as error:  # what pymilvus does not wrap
        raise Unavailable(f"Milvus {uri}: cannot {action}: {reason(error, secure)}") from error
    except DeadlineExceeded as error:
        raise Unavailable(f"{error}: cannot {action}") from error
