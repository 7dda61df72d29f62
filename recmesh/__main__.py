"""`recmesh` and `python -m recmesh`: the operator's command line."""

import sys


def main() -> int:
    """Run the command line and return its exit code.

    Where a package that it needs is missing, it says in one line which extra has it.
    """
    try:
        from recmesh.cli.main import main as run
    except ModuleNotFoundError as error:
        if (error.name or "recmesh").partition(".")[0] == "recmesh":
            raise
        print("recmesh: this command needs the extra \"cli\": pip install 'recmesh[cli]'", file=sys.stderr)
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
