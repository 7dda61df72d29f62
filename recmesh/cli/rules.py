"""`recmesh rules`: check, apply and show the rules of a shop."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from recmesh.bearer import token_of
from recmesh.cli.options import STORE, AsJson, StoreUrl
from recmesh.errors import DataError, RecmeshError, ReleaseError, Unavailable
from recmesh.tls import TlsFiles

if TYPE_CHECKING:
    from recmesh.releases import ModelStore, RuleVersion
    from recmesh.rules import RuleSet

_MAX_TEXT = 200
_WAIT_SECONDS, _POLL_SECONDS = 10.0, 0.1
_ROWS = 20

app = typer.Typer(no_args_is_help=True, help="Rules of merchandisers: check, apply, show, list.")

RulesFile = Annotated[str, typer.Argument(metavar="FILE", help="A YAML file (docs/rules.md); - reads from stdin.")]
DataSet = Annotated[
    Path | None,
    typer.Option(
        "--dataset", metavar="FOLDER", help="Compare the fields with this data set instead of the active release."
    ),
]


def _line(text: str) -> str:
    if len(text) > _MAX_TEXT or not text.isprintable():
        raise typer.BadParameter(f"give one line of at most {_MAX_TEXT} characters")
    return text


@app.command()
def check(file: RulesFile, dataset: DataSet = None, store: StoreUrl = STORE) -> None:
    """Check a file of rules. Needs no mesh."""
    _, rules = _read(file)
    _warn(rules, dataset, store)
    Console().print(f"{file}: {_count(rules)}", markup=False, highlight=False)


@app.command()
def apply(
    file: RulesFile,
    author: Annotated[str, typer.Option(parser=_line, metavar="NAME", help="Who applies the rules.")] = "",
    comment: Annotated[str, typer.Option(parser=_line, metavar="TEXT", help="Why.")] = "",
    wait: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Wait until the process at this metrics port, such as 127.0.0.1:18930, applies the rules.",
        ),
    ] = None,
    dataset: DataSet = None,
    store: StoreUrl = STORE,
) -> None:
    """Check a file of rules and make it the active rules. `as` applies them within two seconds."""
    from recmesh.cli.top.scrape import named_targets
    from recmesh.releases import ModelStore

    text, rules = _read(file)
    targets = named_targets(wait or ())
    _warn(rules, dataset, store)
    version = ModelStore(store).apply_rules(text, author, comment)
    Console().print(f"version {version.number}: {_count(rules)}", highlight=False)
    if targets:
        _wait([target.address for target in targets], version.number)


@app.command()
def show(
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", min=1, help="By default the active one.")
    ] = None,
    store: StoreUrl = STORE,
) -> None:
    """Print the rules of a version as they were applied. `recmesh rules apply -` takes them again."""
    from recmesh.releases import ModelStore

    models = ModelStore(store)
    numbers = models.rule_numbers()
    if not numbers:
        raise ReleaseError(f"model store {models.url}: no rules; `recmesh rules apply FILE` makes some active")
    number = version or numbers[-1]
    found = models.rules(number)
    if found is None:
        raise ReleaseError(f"model store {models.url}: no version {number} of the rules; the newest is {numbers[-1]}")
    print(found.text, end="" if found.text.endswith("\n") else "\n")


@app.command()
def history(
    count: Annotated[int, typer.Option(min=1, metavar="N", help="How many versions.")] = _ROWS,
    store: StoreUrl = STORE,
    as_json: AsJson = False,
) -> None:
    """List the versions of the rules, newest first."""
    from recmesh.releases import ModelStore

    models = ModelStore(store)
    numbers = models.rule_numbers()[::-1]
    versions = list(_versions(models, numbers[:count]))
    if as_json:
        rows = [
            {"number": number, "damaged": True} if version is None else version.model_dump(mode="json")
            for number, version in versions
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table("", "version", "applied (UTC)", "author", "comment")
    for number, version in versions:
        cells = ("damaged", "", "") if version is None else (_time(version), version.author, version.comment)
        table.add_row("active" if number == numbers[0] else "", str(number), *cells)
    console = Console()
    console.print(table if versions else f"no rules in {models.url}", markup=False)
    if len(numbers) > count:
        console.print(f"{len(numbers) - count} older versions; --count shows more", highlight=False)


def _read(file: str) -> "tuple[str, RuleSet]":
    """The text of a file and its rules.

    Raises:
        DataError: The file cannot be read, or is invalid.
    """
    from recmesh.rules import MAX_RULES_BYTES, RuleSet

    name = "stdin" if file == "-" else file
    try:
        if file == "-":
            text = sys.stdin.buffer.read(MAX_RULES_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                text = opened.read(MAX_RULES_BYTES + 1)
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}") from error
    return text.decode(errors="replace"), RuleSet.parse(text, name)


def _warn(rules: "RuleSet", dataset: Path | None, store: str) -> None:
    """Print a line about each field that does not exist, if the fields are known."""
    console = Console(stderr=True)
    for line in _unknown_fields(rules, dataset, store):
        console.print(f"warning: {line}", markup=False, highlight=False, soft_wrap=True)


def _unknown_fields(rules: "RuleSet", dataset: Path | None, store: str) -> Sequence[str]:
    if dataset is not None:
        from recmesh.dataset import Schema

        schema = Schema.load(dataset)
        return rules.unknown_fields(schema.item.fields, schema.user.fields, str(dataset))
    from recmesh.releases import ModelStore

    try:
        models = ModelStore(store)
        release = models.active()
        spec = json.loads(models.read(release, "features/spec.json")) if release else None
        if spec is None:
            return ()
        items, users = ([field["name"] for field in spec[f"{side}_fields"]] for side in ("item", "user"))
    except (RecmeshError, ValueError, LookupError, TypeError):
        return ()  # without a readable release, the fields are unknown
    return rules.unknown_fields(items, users, f"release {release}")


def _wait(addresses: Sequence[str], version: int) -> None:
    """Wait until processes apply a version.

    Raises:
        Unavailable: One does not in time.
    """
    from recmesh.cli.top.scrape import Scraper, Target

    scraper = Scraper([Target(address) for address in addresses], TlsFiles.from_environment(), token_of())
    limit = time.monotonic() + _WAIT_SECONDS
    while True:
        late = list[str]()
        for scrape in scraper.scrape():
            found = scrape.page.samples.get("recmesh_rules_version", {}) if scrape.page else {}
            active = max(found.values(), default=0.0)
            if active < version:
                late.append(f"{scrape.target.address} {scrape.error or f'applies version {active:.0f}'}")
        if not late:
            Console().print(f"{', '.join(addresses)}: applied", highlight=False)
            return
        if time.monotonic() > limit:
            raise Unavailable(
                f"version {version} is active in the model store, but after {_WAIT_SECONDS:.0f} s {'; '.join(late)}"
            )
        time.sleep(_POLL_SECONDS)


def _versions(models: "ModelStore", numbers: Sequence[int]) -> "Iterator[tuple[int, RuleVersion | None]]":
    """The versions with these numbers; None for damaged ones."""
    for number in numbers:
        try:
            yield number, models.rules(number)
        except ReleaseError:
            yield number, None


def _time(version: "RuleVersion") -> str:
    from datetime import timezone

    return f"{version.time.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"


def _count(rules: "RuleSet") -> str:
    count = len(rules.rules)
    return "1 rule" if count == 1 else f"{count} rules"
