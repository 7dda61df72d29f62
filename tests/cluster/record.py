"""Runs in a pod: records actions through feed at a steady rate until SIGTERM. Prints a line of JSON for each action.

python record.py TARGET RATE USER...

Every action has an item and an event id of its own, and is sent until feed has acknowledged it. At the end, each user
gets an action with the item `end`, so that everything before it has been applied once it is in the history.
"""

import asyncio
import json
import signal
import sys
import time

import grpc

from recmesh.channels import ChannelPolicy, open_channel
from recmesh.pb.feed_pb2 import Action, FeedResponse, RecordActionsRequest
from recmesh.tls import TlsFiles

METHOD = "/feed.FeedService/record_actions"
POLICY = ChannelPolicy(keepalive_ms=30_000, keepalive_timeout_ms=5_000, resolution_interval_ms=1_000)
TIMEOUT, PAUSE = 5.0, 0.1


async def record(channel: grpc.aio.Channel, user_id: str, sku_id: str) -> None:
    """Record an action until it is acknowledged, and print what became of it."""
    call = channel.unary_unary(
        METHOD,
        request_serializer=RecordActionsRequest.SerializeToString,
        response_deserializer=FeedResponse.FromString,
    )
    request = RecordActionsRequest(actions=[Action(user_id=user_id, sku_id=sku_id, event_id=sku_id)])
    began, errors, answer = time.time(), list[str](), FeedResponse()
    while not answer.accepted:
        try:
            answer = await call(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            errors.append(error.code().name)
            await asyncio.sleep(PAUSE)
    line = {"user": user_id, "item": sku_id, "errors": errors, "repeated": answer.repeated_entries}
    print(json.dumps({**line, "began": began, "seconds": time.time() - began}), flush=True)


async def main(target: str, rate: float, users: list[str]) -> None:
    """Open loop: an action every 1/rate seconds, whether or not earlier ones have been acknowledged."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_channel(target, POLICY, tls=TlsFiles.from_environment()) as channel:
        began, calls = time.monotonic(), list[asyncio.Task[None]]()
        while not stop.is_set():
            await asyncio.sleep(max(0.0, began + len(calls) / rate - time.monotonic()))
            user = users[len(calls) % len(users)]
            calls.append(asyncio.create_task(record(channel, user, f"recorded-{len(calls)}")))
        await asyncio.gather(*calls)
        await asyncio.gather(*(record(channel, user, "end") for user in users))


asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3:]))
