"""Tests. They fork to start servers; gRPC's fork support is off, because its threads sometimes abort the child."""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
