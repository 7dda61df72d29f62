"""`python -m jobs.ingest`: load a data set into Redis and a release into Milvus, then activate the release."""

import enum
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jobs.command import run
from jobs.ingest.known_log import known_log
from jobs.ingest.new_items import new_items
from jobs.ingest.queries import user_vectors
from jobs.ingest.shard import Shard
from jobs.ingest.starter import serve_starter
from jobs.ingest.to_milvus import ReleaseCollection
from jobs.ingest.to_redis import is_complete, to_redis
from jobs.ingest.waiting import RetryWindow
from jobs.tracing import recorded
from recmesh import spans
from recmesh.contract import (
    DEFAULT_HOME,
    DEFAULT_MILVUS_URI,
    DEFAULT_MODEL_STORE,
    DEFAULT_REDIS_PREFIX,
    DEFAULT_REDIS_URL,
)
from recmesh.dataset import DataSet, read
from recmesh.dataset.merging import merged
from recmesh.errors import ReleaseError
from recmesh.progress import Reporter
from recmesh.releases import Manifest, ModelStore, beats_popularity, collection_name, loads, not_worse_than, rows_match
from recmesh.stores.credentials import Credentials
from recmesh.stores.keys import Keys
from recmesh.stores.milvus_users import ROOT_PASSWORD_FILE, ensure_users
from recmesh.stores.milvus_writer import MilvusWriter
from recmesh.stores.redis import RedisWriter


class Target(str, enum.Enum):
    """The one store to ingest into."""

    redis = "redis"
    milvus = "milvus"


def ingest(
    dataset: Annotated[Path, typer.Option(help="Folder of the data set.")],
    store: Annotated[
        str, typer.Option(envvar="RECMESH_MODEL_STORE", help="Model store: a folder or an fsspec URL.")
    ] = DEFAULT_MODEL_STORE,
    release: Annotated[
        str,
        typer.Option(help="Release to ingest and activate. Default: the newest, or the active one after a rollback."),
    ] = "",
    redis_url: Annotated[
        str,
        typer.Option(
            envvar="RECMESH_REDIS_URL", help="Redis. User and password: RECMESH_REDIS_USERNAME, RECMESH_REDIS_PASSWORD."
        ),
    ] = DEFAULT_REDIS_URL,
    redis_prefix: Annotated[
        str, typer.Option(envvar="RECMESH_REDIS_PREFIX", help="What the keys of recmesh in Redis begin with.")
    ] = DEFAULT_REDIS_PREFIX,
    milvus_uri: Annotated[
        str,
        typer.Option(
            envvar="RECMESH_MILVUS_URI",
            help="Milvus. User and password: RECMESH_MILVUS_USERNAME, RECMESH_MILVUS_PASSWORD.",
        ),
    ] = DEFAULT_MILVUS_URI,
    home: Annotated[Path, typer.Option(envvar="RECMESH_HOME", help="Folder for the cache of releases.")] = Path(
        DEFAULT_HOME
    ),
    archive: Annotated[
        str,
        typer.Option(
            envvar="RECMESH_ARCHIVE", help="Archive of the log of feed (jobs.archive): a folder or an fsspec URL."
        ),
    ] = "",
    only: Annotated[Target | None, typer.Option(help="Ingest into this store only.")] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="CSV file to write rejected rows to, each with its reason.")
    ] = None,
    activate: Annotated[bool, typer.Option(help="Activate the release once its collection is verified.")] = True,
    mark: Annotated[
        str, typer.Option(help="Ingest the release that `jobs.train --mark` recorded under this name.")
    ] = "",
    prune: Annotated[
        bool, typer.Option(help="Afterwards delete old releases, as `recmesh release prune` does.")
    ] = False,
    starter: Annotated[
        bool,
        typer.Option(
            help="Until there is a trained release, serve a starter: popular items and neighbours, counted in seconds."
        ),
    ] = False,
    restore: Annotated[
        bool,
        typer.Option(help="Ingest the release that was active last. If there was none, choose as without this option."),
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait until Redis, Milvus and the release are available.")] = 0,
) -> None:
    """Ingest a data set and a release. A repeated run only verifies; a run that was killed resumes."""
    reporter = Reporter(Console(highlight=False))
    shard, keys = Shard.from_environment(), Keys.of(redis_prefix)
    with spans.span("reading the data set"):
        files = read(dataset, rejects)
    retry_window = RetryWindow(wait, reporter)
    redis = RedisWriter(redis_url, keys=keys, credentials=Credentials.from_environment("REDIS"))
    retry_window.get("Redis", redis.ping)
    with spans.span("merging the archive"):
        data, _, in_log = merged(files, archive, known_log(archive, redis, shard))
    reporter.warn(data.report.warnings)
    if only is not Target.milvus:
        to_redis(data, redis, shard, reporter, in_log)
    if only is not Target.redis:
        models = ModelStore(store)
        if starter and activate and is_complete(redis):
            _serve_starter(models, data, home / "releases", retry_window, reporter)
        manifest = retry_window.get("the release", lambda: _chosen(models, release, mark, restore))
        credentials = Credentials.from_environment("MILVUS")
        _set_up_users(milvus_uri, credentials, retry_window, reporter)
        milvus = retry_window.get("Milvus", lambda: MilvusWriter(milvus_uri, credentials))
        if _to_milvus(models, manifest, data, redis, milvus, home / "releases", shard, activate, reporter) and prune:
            reporter.say(f"Releases deleted: {', '.join(models.prune()) or 'none'}")


def _serve_starter(
    models: ModelStore, data: DataSet, cache: Path, retry_window: RetryWindow, reporter: Reporter
) -> None:
    """Make and activate a starter if nothing trained is there. Without one, the ingestion goes on all the same."""

    def attempt() -> None:
        try:
            serve_starter(models, data, cache, reporter)
        except ReleaseError as error:
            reporter.say(f"No starter: {error}")

    retry_window.get("the model store", attempt)


def _set_up_users(milvus_uri: str, credentials: Credentials, retry_window: RetryWindow, reporter: Reporter) -> None:
    """Set the passwords of Milvus and what its users may do, if this process is given them."""
    if file := os.environ.get(ROOT_PASSWORD_FILE):
        changes = retry_window.get("Milvus", lambda: ensure_users(milvus_uri, Path(file), credentials.tls))
        reporter.say(f"Milvus: {', '.join(changes) or 'users are up to date'}")


def _to_milvus(
    models: ModelStore,
    manifest: Manifest,
    data: DataSet,
    redis: RedisWriter,
    milvus: MilvusWriter,
    cache: Path,
    shard: Shard,
    activate: bool,
    reporter: Reporter,
) -> bool:
    """Whether the collection is complete and the release is active now."""
    if manifest.fingerprint != data.fingerprint:
        reporter.say(
            f"Release {manifest.id} was trained on another state of the data set; its vectors are used as they are"
        )
    if data.product_vectors is not None and manifest.vectors != "product_vectors":
        reporter.say(f"product_vectors.txt is ignored: release {manifest.id} has vectors of its own item tower")
    folder = models.fetch(manifest.id, cache)
    collection = ReleaseCollection(folder, manifest, milvus, reporter)
    complete = collection.fill(
        redis, shard, lambda: user_vectors(folder, data), lambda index: models.set_index(manifest.id, index)
    )
    if not complete:
        return False
    _record_new_items(models, manifest, folder, data, reporter)
    if not activate:
        return False
    active = models.active_manifest()
    if active is None or active.id != manifest.id:
        # What was active last was compared with others then, or activated by force.
        again = active is None and models.was_active(manifest.id)
        better = () if again else (beats_popularity, not_worse_than(models.active_manifest))
        models.activate(manifest.id, (*better, rows_match(milvus.count), loads(lambda _: folder)))
        reporter.say(f"Release {manifest.id} is active{' again' if again else ''}")
    else:
        models.complete_activation()
    _drop_unused_collections(models, milvus, reporter)
    return True


def _record_new_items(models: ModelStore, manifest: Manifest, folder: Path, data: DataSet, reporter: Reporter) -> None:
    """Tell recall which items the release has not been trained with, and which items of the release are gone."""
    found = new_items(folder, data)
    models.set_new_items(manifest.id, found)
    if len(found.sku_ids):
        reporter.say(f"Release {manifest.id}: {len(found.sku_ids):,} items are new to it; recall offers them as new")
    if found.dropped:
        reporter.say(f"Release {manifest.id}: {len(found.dropped):,} of its items are gone; recall leaves them out")


def _chosen(models: ModelStore, release: str, mark: str, restore: bool) -> Manifest:
    if restore and (last := models.last_active_manifest()):
        return last
    if mark:
        return models.marked(mark)
    return models.manifest(release) if release else _release_to_ingest(models)


def _release_to_ingest(models: ModelStore) -> Manifest:
    """The newest trained release, or the active one if it was activated after that (a rollback).

    A release with imported models is never chosen: an operator has to name it. Nor is a starter.
    """
    releases = [manifest for manifest in models.list() if not (manifest.imported or manifest.starter)]
    active = models.active_record()
    if not releases:
        raise ReleaseError(
            f"model store {models.url}: there is no release to ingest; train first, or pass --only redis"
        )
    if active is not None and active.follows(releases[0]):
        rolled_back = models.manifest(active.id)
        if not rolled_back.starter:
            return rolled_back
    return releases[0]


def _drop_unused_collections(models: ModelStore, milvus: MilvusWriter, reporter: Reporter) -> None:
    kept = models.kept()
    unused = {collection_name(manifest.id) for manifest in models.list() if manifest.id not in kept}
    for name in sorted(unused & milvus.collections()):
        milvus.drop(name)
        reporter.say(f"Milvus {name}: dropped; its release is no longer in use")


def main() -> int:
    """Run the command. Errors become one line on standard error and an exit code."""
    return run("ingest", ingest, recorded)


if __name__ == "__main__":
    sys.exit(main())
