#!/usr/bin/env python3
"""The command-line client: `python client.py as 8888`; `python client.py --help` lists the commands."""

import os
import sys

# gRPC's own log lines (a connection that a killed service dropped) are not for a terminal.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

try:
    import grpc  # noqa: F401 - only to say what is wrong where it is missing
except ModuleNotFoundError:
    print("client.py: this Python has no grpc; use .venv/bin/python client.py (`make up` makes .venv)", file=sys.stderr)
    sys.exit(2)

from recmesh.cli.client import main

if __name__ == "__main__":
    sys.exit(main())
