"""The operator's command line: `recmesh dataset`, `release`, `rules`, `feed`, `evaluate`, `top`, `verify` and others.

Commands import what they need when they run, so that `recmesh --help` works with typer and rich alone.
"""

import sys

import typer

from recmesh.cli import dataset, feed, job, policy, release, rules
from recmesh.cli.evaluate import evaluate
from recmesh.cli.explore import explore
from recmesh.cli.home import adopt_settings
from recmesh.cli.replay import replay
from recmesh.cli.top.command import top
from recmesh.cli.verify.command import verify
from recmesh.errors import RecmeshError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Operate recmesh.")
app.add_typer(dataset.app, name="dataset")
app.add_typer(release.app, name="release")
app.add_typer(rules.app, name="rules")
app.add_typer(policy.app, name="policy")
app.add_typer(feed.app, name="feed")
app.add_typer(job.app, name="job")
app.command()(evaluate)
app.command()(replay)
app.command()(explore)
app.command()(top)
app.command()(verify)


def main() -> int:
    """Run the command line of this process.

    Returns:
        The exit code. An error becomes one line on stderr and the exit code of its kind.
    """
    try:
        adopt_settings()
        app(prog_name="recmesh")
    except RecmeshError as error:
        print(f"recmesh: {error}", file=sys.stderr)
        return error.exit_code
    return 0
