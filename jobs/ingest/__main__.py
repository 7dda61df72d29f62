"""`python -m jobs.ingest`: a data set into Redis, a release into Milvus, and its activation."""

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jobs.command import run
from jobs.ingest.queries import user_vectors
from jobs.ingest.shard import Shard
from jobs.ingest.to_milvus import CollectionOfRelease
from jobs.ingest.to_redis import to_redis
from jobs.ingest.waiting import RetryWindow
from recmesh.dataset import DataSet, read
from recmesh.errors import ReleaseError
from recmesh.releases import Manifest, ModelStore, beats_popularity, collection_name, not_worse_than, rows_match
from recmesh.stores.milvus_writer import MilvusWriter
from recmesh.stores.redis import RedisWriter


class Target(str, enum.Enum):
    """What to ingest into, where not both."""

    redis = "redis"
    milvus = "milvus"


def ingest(
    dataset: Annotated[Path, typer.Option(help="Folder of the data set.")],
    store: Annotated[
        str, typer.Option(envvar="RECMESH_MODEL_STORE", help="Model store: a folder or an fsspec URL.")
    ] = ".recmesh/store",
    release: Annotated[
        str, typer.Option(help="Release to ingest and activate; default: the newest, unless rolled back from it.")
    ] = "",
    redis_url: Annotated[str, typer.Option(envvar="RECMESH_REDIS_URL")] = "redis://127.0.0.1:6389/0",
    milvus_uri: Annotated[str, typer.Option(envvar="RECMESH_MILVUS_URI")] = "http://127.0.0.1:19530",
    home: Annotated[Path, typer.Option(envvar="RECMESH_HOME", help="Releases are cached here.")] = Path(".recmesh"),
    only: Annotated[Target | None, typer.Option(help="Ingest into this one only.")] = None,
    rejects: Annotated[Path | None, typer.Option(help="File for the rows of the data set that cannot be used.")] = None,
    activate: Annotated[bool, typer.Option(help="Activate the release when its collection is verified.")] = True,
    mark: Annotated[str, typer.Option(help="Ingest the release that `jobs.train --mark` noted under this name.")] = "",
    prune: Annotated[bool, typer.Option(help="Then delete releases as `recmesh release prune` does.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for Redis, Milvus and the release.")] = 0,
) -> None:
    """Ingest a data set and a release. Run again, it verifies and ends; killed, it goes on where it was."""
    console = Console(soft_wrap=True, highlight=False)
    shard = Shard.from_environment()
    data = read(dataset, rejects)
    retry_window = RetryWindow(wait, console)
    redis = RedisWriter(redis_url)
    retry_window.get("Redis", redis.ping)
    if only is not Target.milvus:
        to_redis(data, redis, shard, console)
    if only is not Target.redis:
        models = ModelStore(store)
        manifest = retry_window.get("the release", lambda: _chosen(models, release, mark))
        milvus = retry_window.get("Milvus", lambda: MilvusWriter(milvus_uri))
        if _to_milvus(models, manifest, data, redis, milvus, home / "releases", shard, activate, console) and prune:
            console.print(f"Releases deleted: {', '.join(models.prune()) or 'none'}")


def _to_milvus(
    models: ModelStore,
    manifest: Manifest,
    data: DataSet,
    redis: RedisWriter,
    milvus: MilvusWriter,
    cache: Path,
    shard: Shard,
    activate: bool,
    console: Console,
) -> bool:
    """Whether it was the last part, and the release is active now."""
    if manifest.fingerprint != data.fingerprint:
        console.print(f"Release {manifest.id} was trained on another state of the data; its vectors are used")
    if data.product_vectors is not None and manifest.vectors != "product_vectors":
        console.print(f"product_vectors.txt is not used: release {manifest.id} was made with an item tower of its own")
    folder = models.fetch(manifest.id, cache)
    collection = CollectionOfRelease(folder, manifest, milvus, console)
    whole = collection.fill(
        redis, shard, lambda: user_vectors(folder, data), lambda index: models.set_index(manifest.id, index)
    )
    if not whole or not activate:
        return False
    if models.active() != manifest.id:
        checks = (beats_popularity, not_worse_than(models.active_manifest), rows_match(milvus.count))
        models.activate(manifest.id, checks)
        console.print(f"Release {manifest.id} is active")
    _drop_unused_collections(models, milvus, console)
    return True


def _chosen(models: ModelStore, release: str, mark: str) -> Manifest:
    if mark:
        return models.marked(mark)
    return models.manifest(release) if release else _release_to_ingest(models)


def _release_to_ingest(models: ModelStore) -> Manifest:
    """The newest release that was trained; the active one where that is newer as the active one, as after a rollback.

    One with models from elsewhere is chosen by name only: an operator has to vouch for it.
    """
    releases, active = [one for one in models.list() if not one.imported], models.active_record()
    if not releases:
        raise ReleaseError(f"model store {models.url}: no release to ingest; train first, or give --only redis")
    if active is not None and releases[0].created < active.since:
        return models.manifest(active.id)
    return releases[0]


def _drop_unused_collections(models: ModelStore, milvus: MilvusWriter, console: Console) -> None:
    kept = models.kept()
    unused = {collection_name(other.id) for other in models.list() if other.id not in kept}
    for name in sorted(unused & milvus.collections()):
        milvus.drop(name)
        console.print(f"Milvus {name}: dropped, its release is no longer in use")


def main() -> int:
    """Run the command; errors become one line and an exit code."""
    return run("ingest", ingest)


if __name__ == "__main__":
    sys.exit(main())
