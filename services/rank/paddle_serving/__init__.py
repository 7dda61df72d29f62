"""Paddle Serving as a backend of rank: a gateway that keeps pipelines of the active release running.

The gateway (`python -m services.rank.paddle_serving`) speaks Paddle Serving's protocol and grpc.health.v1 on one port.
Behind it, each pipeline is a process that runs Paddle Serving 0.9.0 on a Unix socket.

    rank ─► gateway ─┬─► pipeline 0 of the active release          app.py, gateway.py
                     ├─► pipeline 1                                releases.py, fleet.py, supervisor.py, process.py
                     └─► pipelines of the previous release,        in each process: pipeline.py, op.py
                         until its last requests have ended

This package runs in an environment of its own (the extra `paddle-serving`). Only `pipeline` and `op` import Paddle.
"""
