"""Closed-loop load against a running mesh, and its raw parts measured beside it: `python -m benchmarks.run`."""

import os

# Read by gRPC when it is imported: its notes about forks and closed connections are not for the terminal.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
