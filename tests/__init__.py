"""Tests. Servers start by fork and exec, which must not wake gRPC's threads in the child: they abort it at times."""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
