"""The process of a pipeline."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc

from recmesh.contract import DIRECT
from recmesh.pb.pipeline_service_pb2 import Request, Response
from recmesh.serving.channels import as_recmesh_error
from services.rank.paddle_serving import wire
from services.rank.paddle_serving.plan import OP, Plan

_MAX_OUTPUT_CHARACTERS = 500
_CLOSE_GRACE_SECONDS = 1.0
_OPTIONS = [
    DIRECT,
    # A process that is starting is called every few milliseconds.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class PipelineProcess:
    """A process that runs one pipeline, and the channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: grpc.aio.Channel, output: Path) -> None:
        """Wrap a running process.

        Args:
            process: The process.
            channel: Connected to the process.
            output: The file with its stdout and stderr.
        """
        self._process = process
        self._output = output
        self._inference = wire.inference(channel)

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.returncode is not None

    async def wait(self) -> str:
        """Wait for the end of the process; its exit status and the end of its output."""
        code = await self._process.wait()
        lines = self._output.read_text(errors="replace").split("\n")
        output = " | ".join(line for line in lines if line.strip())[-_MAX_OUTPUT_CHARACTERS:]
        return f"it ended with {code}: {output}"

    async def infer(self, request: Request, timeout: float) -> Response:
        """Paddle Serving's answer, with any error number.

        Raises:
            RecmeshError: There was no answer within `timeout` seconds.
        """
        try:
            return await self._inference(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise as_recmesh_error("pipeline", error) from error


@asynccontextmanager
async def running(plan: Plan, folder: Path) -> AsyncIterator[PipelineProcess]:
    """Run a pipeline for the duration of a block, in a process group that is killed at the end.

    Args:
        plan: Of the pipeline.
        folder: For its files.
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
        # The process holds nothing that needs an orderly shutdown.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        # Within the grace period, calls in flight fail because the connection breaks. Without it they would be
        # cancelled, and so would their callers, who would get no answer.
        await channel.close(_CLOSE_GRACE_SECONDS)


def _environment(plan: Plan, folder: Path) -> dict[str, str]:
    threads = plan.server["op"][OP]["local_service_conf"]["thread_num"]
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        # Paddle Serving writes files here in any case.
        "SERVING_HOME": str(folder),
        "SERVING_LOG_PATH": str(folder),
        "GLOG_minloglevel": "2",
    }
