"""One pipeline: Paddle Serving 0.9.0 in a process of its own.

    python -m services.rank.paddle_serving.pipeline PLAN GATEWAY_PID

The gateway starts and stops it, and it ends with the gateway. Two parts of Paddle Serving's start-up are left out: the
HTTP front end, a child process that keeps its port when its parent dies, and listening on all network interfaces.
"""

import ctypes
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc  # Before Paddle: in the other order, the process aborts.

from services.rank.paddle_serving import compat
from services.rank.paddle_serving.plan import Plan

_PR_SET_PDEATHSIG = 1
_MAX_MESSAGE_BYTES = 4 << 20


def main(plan: Plan) -> None:
    """Serve until the process is killed."""
    compat.install()
    from paddle_serving_server.pipeline import PipelineServer
    from paddle_serving_server.pipeline.pipeline_server import PipelineServicer, ServerYamlConfChecker
    from paddle_serving_server.pipeline.proto.pipeline_service_pb2_grpc import add_PipelineServiceServicer_to_server

    from services.rank.paddle_serving.op import response_op

    _disable_logging()
    _disable_onednn()
    configuration = ServerYamlConfChecker.load_server_yaml_conf(yml_dict=plan.server)
    last = response_op(plan)
    pipeline = PipelineServer(plan.release)
    pipeline.set_response_op(last)
    pipeline._init_ops(configuration["op"])
    server = grpc.server(
        ThreadPoolExecutor(configuration["worker_num"]),
        options=[("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)],
    )
    add_PipelineServiceServicer_to_server(PipelineServicer(plan.release, last, configuration), server)
    server.add_insecure_port(plan.address)
    server.start()
    server.wait_for_termination()


def _end_with(gateway: int) -> None:
    """Have the kernel kill this process when its parent, the gateway, ends for any reason."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != gateway:
        sys.exit("the gateway has ended")


def _disable_logging() -> None:
    """Stop Paddle Serving from writing several lines per request to files. Errors are in the answers anyway."""
    logging.getLogger().handlers = [logging.StreamHandler()]
    logging.disable(logging.ERROR)


def _disable_onednn() -> None:
    """Disable oneDNN, with which this ranker takes 1.5 times as long.

    Paddle 2.6 uses oneDNN by default, and Paddle Serving's `use_mkldnn: false` does not change that.
    """
    from paddle import inference

    create = inference.Config

    def config(*files: str) -> inference.Config:
        created = create(*files)
        created.disable_mkldnn()
        created.disable_glog_info()
        return created

    inference.Config = config


if __name__ == "__main__":
    _end_with(gateway=int(sys.argv[2]))
    main(Plan.model_validate_json(Path(sys.argv[1]).read_text()))
