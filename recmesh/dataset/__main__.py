"""`python -m recmesh.dataset`: check a data set, fetch one by name, or generate one."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recmesh.dataset import NAMES, fetch, read, synthetic
from recmesh.dataset.synthetic import Form
from recmesh.errors import RecmeshError
from recmesh.progress import Reporter, reading

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The data set.")],
    rejects: Annotated[Path | None, typer.Option(help="Write the rows that cannot be used to this CSV file.")] = None,
    max_rejected: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of unusable rows to accept [RECMESH_MAX_REJECTED, default 0.2]"),
    ] = None,
) -> None:
    """Read a data set as training and ingestion do, and say what became of every row."""
    with reading(Reporter()) as progress:
        data = read(folder, rejects, progress, max_rejected)
    console = Console()
    console.print(data.report.table())
    console.print(f"fingerprint: {data.fingerprint}", soft_wrap=True)
    if rejects and any(t.rejected or t.nobody for t in data.report.tallies):
        console.print(f"rejected rows: {rejects}", soft_wrap=True)


@app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}.")],
    into: Annotated[Path, typer.Argument(help="The folder to make.")],
    cache: Annotated[Path | None, typer.Option(help="Where downloads are kept [RECMESH_HOME/cache]")] = None,
) -> None:
    """Make a known data set as a folder in the ordinary form."""
    print(fetch(name, into, cache))


@app.command("synthetic")
def synthetic_command(
    into: Annotated[Path, typer.Argument(help="The folder to make.")],
    users: Annotated[int, typer.Option(help="How many users.")] = 5000,
    products: Annotated[int, typer.Option(help="How many items.")] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 7,
    form: Annotated[Form, typer.Option(help="seed: users.dat and products.dat.")] = "csv",
) -> None:
    """Generate a shop with known preferences."""
    print(synthetic(into, users, products, seed, form))


def main() -> None:
    """Run the command line; errors are one line on stderr, with an exit code by their kind."""
    try:
        app()
    except RecmeshError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
