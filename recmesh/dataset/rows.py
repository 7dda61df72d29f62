"""What all steps of reading a data set share: its rows, where the unusable ones go, and how far reading is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recmesh.dataset.rejects import Rejects, Tally
from recmesh.dataset.report import Report
from recmesh.dataset.schema import Schema
from recmesh.dataset.tables import Advance, Batch, Wanted, parts

#: Called with what is being read, the bytes done and the bytes in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RowSource:
    """One run over the folder of a data set. `batches` and `check` raise DataError (see tables.py and rejects.py)."""

    folder: Path
    schema: Schema
    rejects: Rejects
    progress: Progress | None
    max_rejected: float
    report: Report = field(default_factory=Report)

    def tally(self, kind: str) -> Tally:
        """A new tally in the report."""
        tally = Tally(kind)
        self.report.tallies.append(tally)
        return tally

    def advance(self, what: str, paths: list[Path]) -> Advance:
        """Tells `progress` how many bytes of these files were read."""
        total, done = sum(p.stat().st_size for p in paths), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if self.progress:
                self.progress(what, done, total)

        return advance

    def batches(
        self, tally: Tally, paths: list[Path], wanted: list[Wanted], seed_columns: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, Batch]]:
        """Batches of all files of one kind, each with the name of its file; what is no row is rejected on the way."""
        advance = self.advance(tally.kind, paths)
        for path in paths:
            name = path.relative_to(self.folder).as_posix()
            tally.files.append(name)
            for part in parts(path, wanted, seed_columns, self.schema.encoding, advance):
                if isinstance(part, Batch):
                    yield name, part
                else:
                    self.rejects.broken(tally, name, part)

    def check(self, tally: Tally) -> None:
        """Fail when too many rows of one kind were rejected."""
        self.rejects.check(tally, self.max_rejected)
