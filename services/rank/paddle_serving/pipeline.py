"""One pipeline: Paddle Serving 0.9.0 in a process of its own.

    python -m services.rank.paddle_serving.pipeline PLAN GATEWAY_PID

It is started and stopped by the gateway, and ends with it. Of Paddle Serving's own start-up two things are left out:
the HTTP front, a child process that keeps the port when its parent dies, and listening on all interfaces.
"""

import ctypes
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc  # before Paddle: the other way round the process aborts

from services.rank.paddle_serving import compat
from services.rank.paddle_serving.plan import Plan

_PR_SET_PDEATHSIG = 1
_LARGEST_MESSAGE = 4 << 20


def main(plan: Plan) -> None:
    """Serve until the process is ended."""
    compat.install()
    from paddle_serving_server.pipeline import PipelineServer
    from paddle_serving_server.pipeline.pipeline_server import PipelineServicer, ServerYamlConfChecker
    from paddle_serving_server.pipeline.proto.pipeline_service_pb2_grpc import add_PipelineServiceServicer_to_server

    from services.rank.paddle_serving.op import response_op

    _be_quiet()
    _without_onednn()
    configuration = ServerYamlConfChecker.load_server_yaml_conf(yml_dict=plan.server)
    last = response_op(plan)
    pipeline = PipelineServer(plan.release)
    pipeline.set_response_op(last)
    pipeline._init_ops(configuration["op"])
    server = grpc.server(
        ThreadPoolExecutor(configuration["worker_num"]),
        options=[("grpc.max_receive_message_length", _LARGEST_MESSAGE), ("grpc.so_reuseport", 0)],
    )
    add_PipelineServiceServicer_to_server(PipelineServicer(plan.release, last, configuration), server)
    server.add_insecure_port(plan.address)
    server.start()
    server.wait_for_termination()


def _end_with(gateway: int) -> None:
    """Have the kernel end this process when the gateway, its parent, is gone, however that came."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != gateway:
        sys.exit("the gateway is gone")


def _be_quiet() -> None:
    """Paddle Serving logs several lines a request into files of its own; what failed is in the answers anyway."""
    logging.getLogger().handlers = [logging.StreamHandler()]
    logging.disable(logging.ERROR)


def _without_onednn() -> None:
    """Paddle 2.6 uses oneDNN unless it is told not to, which `use_mkldnn: false` of Paddle Serving does not do; with it
    this ranker takes half as long again."""
    from paddle import inference

    make = inference.Config

    def config(*files: str) -> inference.Config:
        made = make(*files)
        made.disable_mkldnn()
        made.disable_glog_info()
        return made

    inference.Config = config


if __name__ == "__main__":
    _end_with(gateway=int(sys.argv[2]))
    main(Plan.model_validate_json(Path(sys.argv[1]).read_text()))
