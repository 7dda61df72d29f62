#!/usr/bin/env python3
"""The command-line client: `python client.py as 8888`; `python client.py --help` lists the commands."""

import os
import sys

# gRPC logs dropped connections itself; the errors that client.py prints say enough.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

try:
    from recmesh.cli.client import main
except ModuleNotFoundError as missing:
    print(
        f"client.py: this Python has no {missing.name}; use .venv/bin/python client.py (`make up` makes .venv)",
        file=sys.stderr,
    )
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
