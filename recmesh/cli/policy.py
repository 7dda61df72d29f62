"""`recmesh policy`: check who may call what."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from recmesh.errors import DataError

if TYPE_CHECKING:
    from recmesh.callers import Policy

app = typer.Typer(no_args_is_help=True, help="The policy: who may call which method (docs/callers.md).")

_UNNAMED = "every other caller"


@app.callback()
def _commands() -> None:
    """Keep the name of the only command."""


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file (docs/callers.md).")]) -> None:
    """Check a policy, and print who may call what. Needs no mesh."""
    policy = _read(file)
    if unknown := policy.unknown_methods():
        Console(stderr=True).print(
            f"{file}: no method of this version is meant by {', '.join(unknown)}", markup=False, highlight=False
        )
    table = Table(*(Column(name, overflow="fold") for name in ("caller", "shown by", "calls a second", "may call")))
    for caller in policy.callers:
        shown = (
            *caller.certificates,
            *(f"token {token}" for token in caller.tokens),
            *([f"jwt {', '.join(f'{name}={value}' for name, value in caller.jwt.items())}"] if caller.jwt else []),
        )
        rate = f"{caller.rate.per_second:g}, {caller.rate.most:g} at once" if caller.rate else ""
        table.add_row(caller.name, "\n".join(shown), rate, "\n".join(_allowed(policy, caller.name)))
    table.add_row(_UNNAMED, "", "", "\n".join(_allowed(policy, "")))
    Console().print(table, markup=False)


def _allowed(policy: "Policy", caller: str) -> list[str]:
    """What a caller may call."""
    from recmesh.callers import METHODS

    lines: list[str] = []
    for service, of_service in groupby(METHODS, key=lambda method: method.partition("/")[0]):
        methods = list(of_service)
        allowed = [method for method in methods if policy.allows(caller, method)]
        lines += [f"{service}/*"] if len(methods) > 1 and allowed == methods else allowed
    return lines or ["nothing"]


def _read(file: Path) -> "Policy":
    """The policy in a file.

    Raises:
        DataError: The file cannot be read, or is invalid.
    """
    from recmesh.callers import MAX_POLICY_BYTES, Policy

    try:
        with file.open("rb") as opened:
            return Policy.parse(opened.read(MAX_POLICY_BYTES + 1), str(file))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
