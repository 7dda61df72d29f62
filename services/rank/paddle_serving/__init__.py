"""Paddle Serving as a backend of rank: a gateway that keeps pipelines of the active release running and healthy.

The gateway (`python -m services.rank.paddle_serving`) speaks Paddle Serving's own protocol on one port, with
grpc.health.v1 beside it. Behind it each pipeline is a process that runs Paddle Serving 0.9.0 on a unix socket.

    rank ─► gateway ─┬─► pipeline 0 of the active release     app.py, gateway.py
                     ├─► pipeline 1                            releases.py, fleet.py, process.py
                     └─► ... of the one before it, for a while  in each process: pipeline.py, op.py

This package runs in an environment of its own (the extra paddle-serving); only `pipeline` imports Paddle.
"""
