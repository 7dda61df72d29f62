"""`recmesh release`: list, inspect, import, activate, roll back and prune releases."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from recmesh.cli.import_models import import_models
from recmesh.cli.options import MILVUS, STORE, AsJson, MilvusUri, StoreUrl
from recmesh.contract import without_credentials

if TYPE_CHECKING:
    from recmesh.releases import Check, Manifest, ModelStore
    from recmesh.stores.milvus_writer import MilvusWriter

app = typer.Typer(no_args_is_help=True, help="Releases: list, inspect, import, activate, roll back, prune.")
app.command("import")(import_models)

ReleaseId = Annotated[str, typer.Argument(metavar="ID")]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Activate the release even if its data set, its quality or its collection is refused."
    ),
]


@app.command("list")
def list_releases(store: StoreUrl = STORE, as_json: AsJson = False) -> None:
    """List all releases, newest first; the active one is marked."""
    from recmesh.releases import HEADLINE, ModelStore

    models = ModelStore(store)
    releases, active = models.list(), models.active()
    if as_json:
        _print_json([{**_summary(manifest), "active": manifest.id == active} for manifest in releases])
        return
    table = Table(
        "",
        Column("id", no_wrap=True),
        Column("kind", no_wrap=True),
        "created (UTC)",
        "items",
        "index",
        f"{HEADLINE} (popularity)",
    )
    for manifest in releases:
        table.add_row(
            "active" if manifest.id == active else "",
            manifest.id,
            _kind(manifest),
            f"{manifest.created:%Y-%m-%d %H:%M:%S}",
            f"{manifest.items:,}",
            _index(manifest),
            _headlines(manifest),
        )
    Console().print(table if releases else f"no releases in {without_credentials(store)}")


@app.command()
def show(release_id: ReleaseId, store: StoreUrl = STORE, as_json: AsJson = False) -> None:
    """Show a release: its origin, its metrics and its files."""
    from recmesh.releases import ModelStore

    models = ModelStore(store)
    manifest = models.manifest(release_id)
    if as_json:
        _print_json({**manifest.model_dump(mode="json"), "active": models.active() == release_id})
        return
    console = Console()
    facts = Table(show_header=False)
    for name, value in (
        ("id", manifest.id + ("  (active)" if models.active() == release_id else "")),
        ("kind", _kind(manifest)),
        ("created", f"{manifest.created:%Y-%m-%d %H:%M:%S} UTC"),
        ("data", manifest.fingerprint),
        ("collection", f"{manifest.collection}, {manifest.items:,} x {manifest.dim}, {_index(manifest)}"),
        ("rankers", ", ".join(f"{segment}: {ranker}" for segment, ranker in manifest.rankers.items())),
        ("training version", manifest.code_version),
    ):
        facts.add_row(name, value)
    console.print(facts, _metrics(manifest), _files(manifest))


@app.command()
def activate(
    release_id: ReleaseId,
    store: StoreUrl = STORE,
    milvus_uri: MilvusUri = MILVUS,
    force: Force = False,
) -> None:
    """Activate a release if it beats popularity, is not worse than the active one, and its collection is complete."""
    from recmesh.releases import ModelStore, beats_popularity, not_worse_than, same_data_as

    models = ModelStore(store)
    active = models.active_manifest
    checks = (same_data_as(active), beats_popularity, not_worse_than(active), _collection_is_complete(milvus_uri))
    with _trial(models) as trial:
        models.activate(release_id, trial if force else (*checks, *trial))
    Console().print(f"{release_id} is active", highlight=False)


@app.command()
def rollback(store: StoreUrl = STORE, milvus_uri: MilvusUri = MILVUS, force: Force = False) -> None:
    """Activate the previously active release again."""
    from recmesh.releases import ModelStore, same_data_as

    models = ModelStore(store)
    checks = (same_data_as(models.active_manifest), _collection_is_complete(milvus_uri))
    with _trial(models) as trial:
        manifest = models.rollback(trial if force else (*checks, *trial))
    Console().print(f"{manifest.id} is active again", highlight=False)


@app.command()
def prune(store: StoreUrl = STORE, milvus_uri: MilvusUri = MILVUS) -> None:
    """Delete all releases but the active one, the previously active one and newer ones, with their collections."""
    from recmesh.releases import ModelStore, collection_name

    models, milvus = ModelStore(store), _milvus(milvus_uri)
    deleted = models.prune()
    for release_id in deleted:
        milvus.drop(collection_name(release_id))
    Console().print(f"deleted: {', '.join(deleted) or 'nothing'}", highlight=False)


@contextmanager
def _trial(models: "ModelStore") -> Iterator[Sequence["Check"]]:
    """The check that a release loads, or nothing without the packages that load one.

    No option skips it: no service could use such a release.
    """
    from recmesh.releases import loads

    try:
        import onnxruntime  # noqa: F401

        import recmesh.features  # noqa: F401
    except ImportError as error:
        Console(stderr=True).print(f"the release is activated without a trial: {error}", markup=False, highlight=False)
        yield ()
        return
    with TemporaryDirectory(prefix="recmesh-") as folder:
        yield (loads(lambda manifest: models.fetch(manifest.id, Path(folder))),)


def _collection_is_complete(milvus_uri: str) -> "Check":
    from recmesh.releases import rows_match

    return rows_match(lambda name: _milvus(milvus_uri).count(name))


def _milvus(uri: str) -> "MilvusWriter":
    from recmesh.stores.credentials import Credentials
    from recmesh.stores.milvus_writer import MilvusWriter

    return MilvusWriter(uri, Credentials.from_environment("MILVUS"))


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))


def _summary(manifest: "Manifest") -> dict[str, object]:
    wanted = {"id", "kind", "created", "fingerprint", "items", "dim", "collection", "index", "metrics"}
    return manifest.model_dump(mode="json", include=wanted)


def _kind(manifest: "Manifest") -> str:
    return "imported" if manifest.imported else manifest.kind


def _index(manifest: "Manifest") -> str:
    return manifest.index.kind + (f", ef {manifest.index.ef}" if manifest.index.ef else "")


def _headlines(manifest: "Manifest") -> str:
    from recmesh.releases import HEADLINE

    return "  ".join(
        f"{name} {segment.chain.get(HEADLINE, float('nan')):.4f} ({segment.popularity.get(HEADLINE, float('nan')):.4f})"
        for name, segment in sorted(manifest.metrics.items())
    )


def _metrics(manifest: "Manifest") -> Table:
    table = Table("segment", "users", "metric", "chain", "popularity", *_channels(manifest))
    for name, segment in sorted(manifest.metrics.items()):
        for metric, value in segment.chain.items():
            others = [segment.popularity, *(segment.channels.get(channel, {}) for channel in _channels(manifest))]
            cells = [f"{other[metric]:.4f}" if metric in other else "" for other in others]
            table.add_row(name, f"{segment.users:,}", metric, f"{value:.4f}", *cells)
    return table


def _channels(manifest: "Manifest") -> list[str]:
    return sorted({channel for segment in manifest.metrics.values() for channel in segment.channels})


def _files(manifest: "Manifest") -> Table:
    table = Table("file", "bytes", "sha256")
    for name, entry in sorted(manifest.files.items()):
        table.add_row(name, f"{entry.size:,}", entry.sha256[:16])
    return table
