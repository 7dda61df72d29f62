"""`recmesh dataset`: check a data set, fetch one by name, or generate one."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recmesh.progress import Reporter, reading

app = typer.Typer(no_args_is_help=True, help="Data sets: check, fetch by name, generate.")


def _form(text: str) -> str:
    if text in ("v0", "seed"):  # its name in version 0.1
        return "v0"
    if text != "csv":
        raise typer.BadParameter(f'"{text}" is not one of csv, v0')
    return "csv"


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The data set.")],
    rejects: Annotated[Path | None, typer.Option(help="Write the rows that are not used to this CSV file.")] = None,
    max_rejected: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of invalid rows to accept [RECMESH_MAX_REJECTED, default 0.2]"),
    ] = None,
    max_damaged: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of damaged rows to accept [RECMESH_MAX_DAMAGED, default 0.001]"),
    ] = None,
    max_unlisted: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of unknown users or items to accept [RECMESH_MAX_UNLISTED, default 0.95]"
        ),
    ] = None,
) -> None:
    """Read a data set as training and ingestion do, and report what became of every row."""
    from recmesh.dataset import read

    with reading(Reporter()) as progress:
        data = read(folder, rejects, progress, max_rejected, max_damaged, max_unlisted)
    console = Console()
    console.print(data.report.table())
    console.print(f"fingerprint: {data.fingerprint}", soft_wrap=True)
    if rejects and any(tally.causes for tally in data.report.tallies):
        console.print(f"rows that are not used: {rejects}", soft_wrap=True)


@app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="A name from docs/datasets.md, such as ta_feng.")],
    into: Annotated[Path, typer.Argument(help="The folder to create.")],
    cache: Annotated[Path | None, typer.Option(help="Where downloads are kept [RECMESH_HOME/cache]")] = None,
) -> None:
    """Create the folder of a well-known data set."""
    from recmesh.dataset import fetch

    print(fetch(name, into, cache))


@app.command("synthetic")
def synthetic_command(
    into: Annotated[Path, typer.Argument(help="The folder to create.")],
    users: Annotated[int, typer.Option(help="Number of users.")] = 5000,
    products: Annotated[int, typer.Option(help="Number of items.")] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 7,
    form: Annotated[
        str,
        typer.Option(parser=_form, metavar="csv|v0", help="v0: users.dat and products.dat, as in the v0 contract."),
    ] = "csv",
) -> None:
    """Generate a shop whose users have known preferences."""
    from recmesh.dataset import synthetic

    print(synthetic(into, users, products, seed, "v0" if form == "v0" else "csv"))
