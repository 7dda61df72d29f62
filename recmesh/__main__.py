"""`python -m recmesh`: the operator's command line."""

import sys

from recmesh.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
