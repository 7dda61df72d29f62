"""Benchmarks of a running mesh: closed-loop load, raw parts and faults."""

import os

# gRPC reads this when it is imported. Its messages about forks and closed connections would clutter the output.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
