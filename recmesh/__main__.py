"""`recmesh` and `python -m recmesh`: the operator's command line."""

import sys

# What `recmesh --help` prints where the commands themselves are not installed.
_CORE_HELP = """\
Usage: recmesh COMMAND [OPTIONS]

Commands:
  evaluate  Show how good a release is on held-out data, or what users did with logged answers.
  replay    Ask logged requests again and name the differences.
  explore   Show how the running mesh answers, as web pages.
  top       Show rates, times, failures and the release of the running mesh.
  verify    Check from outside that the running mesh keeps its contract.
  dataset   Check a data set, fetch one by name, generate one.
  release   List, inspect, import, activate, roll back and prune releases.
  rules     Check, apply, show and list rules of merchandisers.
  policy    Check a policy: who may call which method.
  feed      Load files of actions, users and items into a running mesh.
  job       Run, follow and list jobs in Kubernetes.

This installation has only the client library, recmesh.client. The commands need the extra "cli":
  pip install 'recmesh[cli]'
"""


def main() -> int:
    """Run the command line and return its exit code.

    If a package that a command needs is missing, one line says which extra contains it. `--help` always works.
    """
    try:
        from recmesh.cli.main import main as run
    except ModuleNotFoundError as error:
        if (error.name or "recmesh").partition(".")[0] == "recmesh":
            raise
        if sys.argv[1:] in ([], ["--help"]):
            print(_CORE_HELP, end="")
            return 0
        print("recmesh: this command needs the extra \"cli\": pip install 'recmesh[cli]'", file=sys.stderr)
        return 2
    return run()


if __name__ == "__main__":
    sys.exit(main())
