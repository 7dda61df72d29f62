"""What became of the rows of a data set, as text and as a table."""

from dataclasses import dataclass, field

import polars as pl
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from recmesh.dataset.cells import to_number
from recmesh.dataset.rejects import Tally
from recmesh.dataset.schema import Schema, Side


@dataclass(frozen=True)
class FieldSummary:
    """One declared field: how many different values it has, and the share of users or items that have none."""

    side: str
    name: str
    kind: str
    values: int
    missing: float


@dataclass
class Report:
    """Counts of a data set that was read. Times are milliseconds UTC; None without actions."""

    tallies: list[Tally] = field(default_factory=list)
    fields: list[FieldSummary] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    first_time: int | None = None
    last_time: int | None = None
    types: dict[str, int] = field(default_factory=dict)

    def tally(self, kind: str) -> Tally:
        """The counts of one kind of file: users, products, actions or product_vectors."""
        return next(t for t in self.tallies if t.kind == kind)

    def summarise(self, schema: Schema, users: pl.DataFrame, items: pl.DataFrame, actions: pl.DataFrame) -> None:
        """Fill in what can be said once everything is read."""
        self.fields = [*_fields("user", schema.user, users), *_fields("item", schema.item, items)]
        if actions.height:
            self.first_time, self.last_time = actions["time"][0], actions["time"][-1]
        counts = actions["type"].value_counts()
        self.types = dict(sorted(zip(counts["type"].cast(pl.String), counts["count"], strict=True)))
        unweighted = [t for t in self.types if schema.action.weights and t not in schema.action.weights]
        self.notices += [f'action type "{t}" has no weight in schema.yaml: it counts 1' for t in unweighted]
        self.notices += [
            f'no action has the type "{t}" that weights name' for t in schema.action.weights if t not in self.types
        ]

    def table(self) -> RenderableType:
        """The report for a terminal."""
        lines = [_span(self.first_time, self.last_time)] if self.first_time is not None else []
        lines += ["types: " + ", ".join(f"{t} {n:,}" for t, n in self.types.items())] if self.types else []
        lines += [f"note: {n}" for n in self.notices]
        shown: list[RenderableType] = [self._rows()]
        shown += [self._reasons()] if any(t.reasons for t in self.tallies) else []
        shown += [self._fields()] if self.fields else []
        return Group(*shown, *(Text(line) for line in lines))

    def __str__(self) -> str:
        console = Console(width=120, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self.table())
        return capture.get().rstrip()

    def _rows(self) -> Table:
        table = Table("", "files", title="Rows", title_justify="left")
        for name in ("read", "used", "duplicates", "nobody", "rejected"):
            table.add_column(name, justify="right")
        for t in self.tallies:
            counts = (t.read, t.used, t.duplicates, t.nobody, t.rejected)
            table.add_row(t.kind, str(len(t.files)), *(f"{n:,}" for n in counts))
        return table

    def _reasons(self) -> Table:
        table = Table("", "reason", title="Rejected", title_justify="left")
        table.add_column("rows", justify="right")
        table.add_column("first at")
        for t in self.tallies:
            for reason, count in t.reasons.most_common():
                table.add_row(t.kind, Text(reason), f"{count:,}", Text(t.first[reason]))
        return table

    def _fields(self) -> Table:
        table = Table("", "field", "kind", title="Fields", title_justify="left")
        table.add_column("values", justify="right")
        table.add_column("missing", justify="right")
        for f in self.fields:
            table.add_row(f.side, Text(f.name), f.kind, f"{f.values:,}", f"{f.missing:.1%}")
        return table


def _fields(name: str, side: Side, frame: pl.DataFrame) -> list[FieldSummary]:
    summaries = []
    for field_name, declared in side.fields.items():
        column = frame[field_name]
        values = column.drop_nulls()
        if declared.kind == "multi":
            values = values.str.split(declared.separator or "").explode()
        elif declared.kind == "numeric":
            values = to_number(values)
        missing = column.null_count() / max(frame.height, 1)
        summaries.append(FieldSummary(name, field_name, declared.kind, values.n_unique(), missing))
    return summaries


def _span(first: int | None, last: int | None) -> str:
    moments = pl.from_epoch(pl.Series([first, last]), time_unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S")
    return f"times: {moments[0]} to {moments[1]} UTC"
