"""One life of a pipeline process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc

from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.serving.channels import as_recmesh_error
from services.rank.paddle_serving import wire
from services.rank.paddle_serving.plan import OP, Plan

_LAST_WORDS = 500
_CLOSE_SECONDS = 1.0
_OPTIONS = [
    # One that starts is asked again and again.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class PipelineProcess:
    """A process that runs one pipeline, and the channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: grpc.aio.Channel, output: Path) -> None:
        self._process = process
        self._output = output
        self._inference = wire.inference(channel)

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

    async def wait(self) -> str:
        """How it ended, once it has."""
        code = await self._process.wait()
        said = self._output.read_text(errors="replace").split("\n")
        return f"it ended with {code}: {' | '.join(line for line in said if line.strip())[-_LAST_WORDS:]}"

    async def infer(self, request: Request, timeout: float) -> Response:
        """Paddle Serving's answer, whatever its error number. Raises RecmeshError where none comes in time."""
        try:
            response: Response = await self._inference(request, timeout=timeout)
            return response
        except grpc.aio.AioRpcError as error:
            raise as_recmesh_error("pipeline", error) from error


@asynccontextmanager
async def running(plan: Plan, folder: Path) -> AsyncIterator[PipelineProcess]:
    """A pipeline process for the length of a block, in a process group of its own that ends with it, whole.

    folder: for its files.
    """
    path = folder / "plan.json"
    path.write_text(plan.model_dump_json())
    command = [sys.executable, "-m", "services.rank.paddle_serving.pipeline", str(path), str(os.getpid())]
    output = folder / "output"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=_environment(plan, folder),
            start_new_session=True,
        )
    channel = grpc.aio.insecure_channel(plan.address, options=_OPTIONS)
    try:
        yield PipelineProcess(process, channel, output)
    finally:
        # It holds nothing that would need an orderly end.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        # Calls in flight fail by the broken connection; closed at once, they would be cancelled, and their callers with
        # them, without an answer.
        await channel.close(_CLOSE_SECONDS)


def _environment(plan: Plan, folder: Path) -> dict[str, str]:
    threads = plan.server["op"][OP]["local_service_conf"]["thread_num"]
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        # Where Paddle Serving puts what it always writes.
        "SERVING_HOME": str(folder),
        "SERVING_LOG_PATH": str(folder),
        "GLOG_minloglevel": "2",
    }
