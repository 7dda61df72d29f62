"""Closed-loop load against a running mesh, and its raw parts measured beside it: `python -m benchmarks.run`."""
