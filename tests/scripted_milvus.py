"""A Milvus whose state a test sets: what a real one goes through while it loads a collection, too fast to be seen."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.message import Message

from recmesh.pb import milvus_pb2 as pb
from recmesh.stores.milvus import SERVICE

FLUSHED, GROWING = 4, 2


@dataclass
class ScriptedMilvus:
    """A Milvus with any collection.

    Attributes:
        uri: Its address.
        failure: Why searches fail; empty if they find nothing.
        stored: Stored segments, as id, rows and state.
        indexed: Segments that are loaded with their index.
        scanned: Segments that are loaded without it.
        calls: The methods that were called, in order.
    """

    uri: str = ""
    failure: str = "collection not loaded"
    stored: list[tuple[int, int, int]] = field(default_factory=list)
    indexed: list[int] = field(default_factory=list)
    scanned: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def answer(self, method: str) -> Message:
        """The answer of a method."""
        self.calls.append(method)
        if method == "GetPersistentSegmentInfo":
            stored = [pb.PersistentSegmentInfo(segment_id=i, num_rows=n, state=state) for i, n, state in self.stored]
            return pb.GetPersistentSegmentInfoResponse(infos=stored)
        if method == "GetQuerySegmentInfo":
            loaded = [pb.QuerySegmentInfo(segment_id=segment, index_name="vector") for segment in self.indexed]
            loaded += [pb.QuerySegmentInfo(segment_id=segment) for segment in self.scanned]
            return pb.GetQuerySegmentInfoResponse(infos=loaded)
        status = pb.Status(code=101 if self.failure else 0, reason=self.failure)
        return pb.SearchResults(status=status, results=pb.SearchResultData(topks=[0]))


@contextmanager
def scripted_milvus() -> Iterator[ScriptedMilvus]:
    """Serve a scripted Milvus during the block."""
    state = ScriptedMilvus()
    server = grpc.server(ThreadPoolExecutor(2))

    def handler(method: str) -> Callable[[bytes, grpc.ServicerContext], Message]:
        return lambda _request, _context: state.answer(method)

    methods: dict[str, grpc.RpcMethodHandler[bytes, Message]] = {
        method: grpc.unary_unary_rpc_method_handler(
            handler(method), response_serializer=lambda answer: answer.SerializeToString()
        )
        for method in ("GetPersistentSegmentInfo", "GetQuerySegmentInfo", "Search")
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.strip("/"), methods),))
    state.uri = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield state
    finally:
        server.stop(None).wait()
