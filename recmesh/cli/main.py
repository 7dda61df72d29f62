"""The operator's command line: `recmesh release ...`, `recmesh evaluate`, `recmesh job ...`."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from recmesh.cli import job as _job
from recmesh.cli.evaluate import evaluate
from recmesh.cli.import_models import import_models
from recmesh.errors import RecmeshError
from recmesh.releases import (
    HEADLINE,
    Check,
    Manifest,
    ModelStore,
    beats_popularity,
    collection_name,
    not_worse_than,
    rows_match,
)
from recmesh.stores.milvus_writer import MilvusWriter

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Operate recmesh.")
release = typer.Typer(no_args_is_help=True, help="Releases: list, inspect, import, activate, roll back, prune.")
app.add_typer(release, name="release")
app.add_typer(_job.app, name="job")
app.command()(evaluate)
release.command("import")(import_models)

StoreUrl = Annotated[
    str, typer.Option("--store", envvar="RECMESH_MODEL_STORE", help="Model store: a folder or an fsspec URL.")
]
MilvusUri = Annotated[str, typer.Option("--milvus-uri", envvar="RECMESH_MILVUS_URI", help="Where the collections are.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Force = Annotated[bool, typer.Option("--force", help="Activate even what the checks refuse.")]

_STORE, _MILVUS = ".recmesh/store", "http://127.0.0.1:19530"


@release.command("list")
def list_releases(store: StoreUrl = _STORE, as_json: AsJson = False) -> None:
    """All releases, newest first; the active one is marked."""
    models = ModelStore(store)
    releases, active = models.list(), models.active()
    if as_json:
        _print_json([{**_summary(manifest), "active": manifest.id == active} for manifest in releases])
        return
    table = Table("", "id", "created (UTC)", "items", "index", f"{HEADLINE} (popularity)")
    for manifest in releases:
        table.add_row(
            "active" if manifest.id == active else "",
            manifest.id,
            f"{manifest.created:%Y-%m-%d %H:%M:%S}",
            f"{manifest.items:,}",
            _index(manifest),
            _headlines(manifest),
        )
    Console().print(table if releases else f"no releases in {store}")


@release.command()
def show(
    release_id: Annotated[str, typer.Argument(metavar="ID")], store: StoreUrl = _STORE, as_json: AsJson = False
) -> None:
    """One release: what it was made from, how good it is, what it is made of."""
    models = ModelStore(store)
    manifest = models.manifest(release_id)
    if as_json:
        _print_json({**manifest.model_dump(mode="json"), "active": models.active() == release_id})
        return
    console = Console()
    facts = Table(show_header=False)
    for name, value in (
        ("id", manifest.id + ("  (active)" if models.active() == release_id else "")),
        ("created", f"{manifest.created:%Y-%m-%d %H:%M:%S} UTC"),
        ("data", manifest.fingerprint),
        ("collection", f"{manifest.collection}, {manifest.items:,} x {manifest.dim}, {_index(manifest)}"),
        ("rankers", ", ".join(f"{segment}: {ranker}" for segment, ranker in manifest.rankers.items())),
        ("training version", manifest.code_version),
    ):
        facts.add_row(name, value)
    console.print(facts, _metrics(manifest), _files(manifest))


@release.command()
def activate(
    release_id: Annotated[str, typer.Argument(metavar="ID")],
    store: StoreUrl = _STORE,
    milvus_uri: MilvusUri = _MILVUS,
    force: Force = False,
) -> None:
    """Make a release the active one, if it beats popularity, is not worse than the active one and is whole."""
    models = ModelStore(store)
    checks = (beats_popularity, not_worse_than(models.active_manifest), _whole(milvus_uri))
    models.activate(release_id, () if force else checks)
    Console().print(f"{release_id} is active", highlight=False)


@release.command()
def rollback(store: StoreUrl = _STORE, milvus_uri: MilvusUri = _MILVUS, force: Force = False) -> None:
    """Make the release that was active before the active one again."""
    manifest = ModelStore(store).rollback(() if force else (_whole(milvus_uri),))
    Console().print(f"{manifest.id} is active again", highlight=False)


@release.command()
def prune(store: StoreUrl = _STORE, milvus_uri: MilvusUri = _MILVUS) -> None:
    """Delete the releases that are neither active, nor the one before, nor newer; and their collections."""
    models, milvus = ModelStore(store), MilvusWriter(milvus_uri)
    deleted = models.prune()
    for release_id in deleted:
        milvus.drop(collection_name(release_id))
    Console().print(f"deleted: {', '.join(deleted) or 'nothing'}", highlight=False)


def main() -> int:
    """Run the command line; an error becomes one line on stderr and an exit code by its kind."""
    try:
        app(prog_name="recmesh")
    except RecmeshError as error:
        print(f"recmesh: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _whole(milvus_uri: str) -> Check:
    return rows_match(lambda name: MilvusWriter(milvus_uri).count(name))


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _summary(manifest: Manifest) -> dict[str, object]:
    wanted = {"id", "created", "fingerprint", "items", "dim", "collection", "index", "metrics"}
    return manifest.model_dump(mode="json", include=wanted)


def _index(manifest: Manifest) -> str:
    return manifest.index.kind + (f", ef {manifest.index.ef}" if manifest.index.ef else "")


def _headlines(manifest: Manifest) -> str:
    return "  ".join(
        f"{name} {segment.chain.get(HEADLINE, float('nan')):.4f} ({segment.popularity.get(HEADLINE, float('nan')):.4f})"
        for name, segment in sorted(manifest.metrics.items())
    )


def _metrics(manifest: Manifest) -> Table:
    table = Table("segment", "users", "metric", "chain", "popularity", *_channels(manifest))
    for name, segment in sorted(manifest.metrics.items()):
        for metric, value in segment.chain.items():
            others = [segment.popularity, *(segment.channels.get(channel, {}) for channel in _channels(manifest))]
            cells = [f"{other[metric]:.4f}" if metric in other else "" for other in others]
            table.add_row(name, f"{segment.users:,}", metric, f"{value:.4f}", *cells)
    return table


def _channels(manifest: Manifest) -> list[str]:
    return sorted({channel for segment in manifest.metrics.values() for channel in segment.channels})


def _files(manifest: Manifest) -> Table:
    table = Table("file", "bytes", "sha256")
    for name, entry in sorted(manifest.files.items()):
        table.add_row(name, f"{entry.size:,}", entry.sha256[:16])
    return table
