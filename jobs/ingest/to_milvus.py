"""Load the item vectors of a release into the collection of that release; index, measure and verify it.

Nothing searches the collection before its release is active, so it is filled in place. The last shard to finish builds
the index and verifies the collection.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jobs.ingest.marks import Marks
from jobs.ingest.shard import Shard
from recmesh.errors import RecmeshError, ReleaseError
from recmesh.features import Catalogue
from recmesh.progress import Meter, Reporter
from recmesh.releases import Index, Manifest
from recmesh.stores.ann import MIN_RECALL, Vectors, longest, smallest_ef
from recmesh.stores.milvus_writer import HNSW_PARAMS, MilvusWriter
from recmesh.stores.redis import RedisWriter

FLAT_ROWS = 10_000
"""Up to this many rows an exact scan costs no more than a graph search."""

_CHUNK = 4_000
_SAMPLE = 100
_PART = "vectors"


class ReleaseCollection:
    """The Milvus collection of one release, and the vectors that belong in it."""

    def __init__(self, folder: Path, manifest: Manifest, milvus: MilvusWriter, reporter: Reporter) -> None:
        """Open the vectors of the release in `folder`.

        Raises:
            ReleaseError: The vectors do not match the catalogue or the manifest, or there are none.
        """
        if manifest.starter:
            raise ReleaseError(f"release {manifest.id} is a starter, which has no vectors: use --starter")
        self.manifest = manifest
        self._name = manifest.collection
        self._milvus = milvus
        self._reporter = reporter
        self._sku_ids = Catalogue.load(folder / "features").sku_ids
        self._vectors: Vectors = np.load(folder / "item_vectors.npy", mmap_mode="r")
        if self._vectors.shape != (len(self._sku_ids), manifest.dim) or len(self._sku_ids) != manifest.items:
            raise ReleaseError(
                f"release {manifest.id}: item_vectors.npy is {self._vectors.shape}, the catalogue has "
                f"{len(self._sku_ids)} items, the manifest says {manifest.items} x {manifest.dim}; train again"
            )

    def fill(
        self, redis: RedisWriter, shard: Shard, queries: Callable[[], Vectors], note: Callable[[Index], object]
    ) -> bool:
        """Write this shard's rows; the last shard builds the index and verifies.

        Args:
            redis: Holds the marks of progress.
            shard: The share of this run.
            queries: Computes user vectors, float32 [queries, dim]. Called only if an index has to be measured.
            note: Records the index that was built.

        Returns:
            Whether the collection is complete.

        Raises:
            RecmeshError: The collection does not hold what was written.
        """
        number, new = self._milvus.create(self._name, self.manifest.dim)
        # A collection that was dropped and created again has a new number, and therefore no marks.
        owner = f"{number}:{self.manifest.files['item_vectors.npy'].sha256}"
        marks = Marks(redis, f"milvus:{self._name}", owner, shard)
        if marks.current:
            if not self._faults():
                self._say(f"current ({len(self._sku_ids):,} vectors)")
                return True
            self._say("contents are missing or changed; writing everything again")
            marks.restart()
        if marks.lost and not new and self._indexed() and not self._faults():
            # Redis has lost the marks. The collection may be in use, and need not be written again.
            marks.set_current()
            self._say(f"verified, {len(self._sku_ids):,} vectors; Redis had no marks of it")
            return True
        if new:
            marks.set_new()
        self._write(marks)
        if not marks.finish():
            self._say(f"shard {marks.shard} written; the last shard to finish builds the index")
            return False
        note(self._build(queries))
        if faults := self._faults():
            marks.restart()
            raise RecmeshError(
                f"Milvus: {self._name} does not hold what was written: {faults}; run the ingestion again"
            )
        marks.set_current()
        self._say(f"verified, {len(self._sku_ids):,} vectors of {self.manifest.dim} dimensions")
        return True

    def _write(self, marks: Marks) -> None:
        rows = marks.shard.rows(len(self._sku_ids))
        # After a crash or a loss of the marks, rows may exist that no mark records. A plain insert would duplicate
        # them.
        replace, written = marks.started(_PART) or not marks.new, marks.rows(_PART)
        radius = longest(self._vectors)
        marks.set_rows(_PART, written)
        with Meter(self._reporter, f"Milvus {self._name}", len(rows), done=written, outcome="written") as meter:
            while written < len(rows):
                chunk = rows[written : written + _CHUNK]
                ids, vectors = self._sku_ids[chunk.start : chunk.stop], self._vectors[chunk.start : chunk.stop]
                self._milvus.insert(self._name, ids, np.asarray(vectors), radius, replace)
                written += len(chunk)
                marks.set_rows(_PART, written)
                meter.advance(len(chunk))

    def _build(self, queries: Callable[[], Vectors]) -> Index:
        flat = Index(kind="FLAT")
        if self.manifest.index.kind == "FLAT" or len(self._sku_ids) <= FLAT_ROWS:
            self._say("building an exact index")
            self._milvus.build(self._name, flat)
            return flat
        graph = Index(kind="HNSW", params=dict(HNSW_PARAMS))
        self._say("building an HNSW index")
        self._milvus.build(self._name, graph)
        ef, measured = smallest_ef(
            lambda vectors, limit, width: self._milvus.search(self._name, vectors, limit, width),
            self._sku_ids,
            self._vectors,
            queries(),
        )
        self._say("recall of user queries by ef: " + ", ".join(f"{ef}: {share:.4f}" for ef, share in measured.items()))
        if ef is not None:
            return graph.model_copy(update={"ef": ef})
        self._say(f"no ef reaches a recall of {MIN_RECALL}; building an exact index instead")
        self._milvus.build(self._name, flat)
        return flat

    def _indexed(self) -> bool:
        """Whether the collection has the index of the release, without which it cannot be read."""
        return self._milvus.index_kind(self._name) == self.manifest.index.kind

    def _faults(self) -> str:
        """Differences between collection and release, by the number of rows and a sample of vectors; empty if none."""
        total = len(self._sku_ids)
        found = self._milvus.count(self._name)
        if found != total:
            return f"{found:,} of {total:,} rows"
        sample = range(0, total, max(1, total // _SAMPLE))
        stored = self._milvus.read(self._name, [self._sku_ids[row] for row in sample])
        different = [
            self._sku_ids[row]
            for row in sample
            if not np.array_equal(stored.get(self._sku_ids[row], ()), self._vectors[row])
        ]
        return (
            f"{len(different)} of {len(sample)} sampled vectors differ, for example {different[0]}" if different else ""
        )

    def _say(self, text: str) -> None:
        self._reporter.say(f"Milvus {self._name}: {text}")
