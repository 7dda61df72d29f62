"""`recmesh dataset`: check a data set, draft its schema, fetch one by name, or generate one."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recmesh.cli.options import AsJson
from recmesh.progress import Reporter, reading

_File = Path | None

app = typer.Typer(no_args_is_help=True, help="Data sets: check, draft a schema, fetch by name, generate.")


def _form(text: str) -> str:
    if text in ("v0", "seed"):  # its name in version 0.1
        return "v0"
    if text != "csv":
        raise typer.BadParameter(f'"{text}" is not one of csv, v0')
    return "csv"


@app.command("check")
def check_command(
    folder: Annotated[Path, typer.Argument(help="The data set.")],
    rejects: Annotated[_File, typer.Option(help="Write the rows that are not used to this CSV file.")] = None,
    html: Annotated[_File, typer.Option(metavar="FILE", help="Write the result with charts, one HTML page.")] = None,
    as_json: AsJson = False,
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
    """Read a data set as training and ingestion do, and say what became of every row and what the data can carry.

    The exit code is 0 if all is fine, 1 if the data set is usable with warnings, and 2 if it is unusable.
    """
    from recmesh.profiling import check, page, shown

    with reading(Reporter()) as progress:
        result = check(folder, rejects, progress, max_rejected, max_damaged, max_unlisted)
    if html:
        html.write_text(page(result), encoding="utf-8")
    if as_json:
        print(result.model_dump_json(indent=2))
    else:
        console = Console(highlight=False)
        console.print(shown(result))
        fingerprint = result.profile and result.profile.fingerprint
        for what, value in (("fingerprint", fingerprint), ("rows that are not used", rejects), ("page", html)):
            if value:
                console.print(f"{what}: {value}", markup=False, soft_wrap=True)
    raise typer.Exit(result.exit_code)


@app.command("init")
def init_command(
    folder: Annotated[Path, typer.Argument(help="The folder with the files.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a schema.yaml that is there.")] = False,
) -> None:
    """Write a first schema.yaml from the files of a folder: each guess with its reason, and what is left to decide."""
    from recmesh.drafting import write

    made = write(folder, force)
    print(folder / "schema.yaml")
    for old, new in made.renamed:
        print(f"rename {old} to {new}")
    for line, key in made.questions:
        print(f"decide line {line}: {key}")


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
