"""`python -m recmesh`: the operator's command line."""

import sys

from recmesh.client.cli import main

if __name__ == "__main__":
    sys.exit(main())
