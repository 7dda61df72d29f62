"""`python -m recmesh.dataset`: another name for `recmesh dataset`."""

import runpy
import sys


def main() -> None:
    """Run `recmesh dataset` with the arguments of this process."""
    sys.argv[1:1] = ["dataset"]
    # By name, because this package is below the command line.
    runpy.run_module("recmesh", run_name="__main__")


if __name__ == "__main__":
    main()
