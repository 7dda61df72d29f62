"""An empty gRPC service, for measuring the cost of a call. It prints its port and ends with its parent."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import uvloop

PATH = "/benchmarks.Hop/call"


async def _answer(request: bytes, _context: object) -> bytes:
    return request


async def _serve() -> None:
    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmarks.Hop", {"call": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    # stdin closes when the parent ends, for whatever reason
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[str, int]]:
    """Run the service in a separate process.

    Yields:
        Its target and process id.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.hop", stdin=pipe, stdout=pipe)
    assert process.stdout is not None and process.stdin is not None
    try:
        port = (await process.stdout.readline()).decode().strip()
        yield f"127.0.0.1:{port}", process.pid
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    uvloop.run(_serve())
