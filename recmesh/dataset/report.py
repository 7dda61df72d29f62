"""The report on a data set: what became of its rows, as data and as text."""

from dataclasses import dataclass, field

import polars as pl
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from recmesh.dataset.cells import to_number
from recmesh.dataset.inputs import notices
from recmesh.dataset.rejects import Tally, shortened, warnings_of
from recmesh.dataset.schema import Schema, Side
from recmesh.dataset.values import ValueSummary, value_summary


@dataclass(frozen=True)
class FieldSummary:
    """A declared field: the number of distinct values, and the share of users or items without a value."""

    side: str
    name: str
    kind: str
    values: int
    missing: float


@dataclass
class Report:
    """Counts of the rows, fields and action types of a data set.

    Attributes:
        tallies: What became of the rows of each kind of file.
        fields: The declared fields.
        warnings: Sentences about what is probably wrong with the files or the schema. Commands print them.
        notices: Sentences about anything else that deserves attention.
        first_time: Of all actions, in milliseconds since 1970-01-01 UTC; None if there are no actions or no times.
        last_time: The same for the last action.
        types: Number of actions by type.
        values: What the values of the actions mean; None if the schema declares none.
    """

    tallies: list[Tally] = field(default_factory=list)
    fields: list[FieldSummary] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    first_time: int | None = None
    last_time: int | None = None
    types: dict[str, int] = field(default_factory=dict)
    values: ValueSummary | None = None

    def tally(self, kind: str) -> Tally:
        """Return the counts of one kind of file: users, products, actions or product_vectors."""
        return next(tally for tally in self.tallies if tally.kind == kind)

    def summarise(self, schema: Schema, users: pl.DataFrame, items: pl.DataFrame, actions: pl.DataFrame) -> None:
        """Fill in what is known only after reading everything."""
        self.warnings = [*(said for tally in self.tallies for said in warnings_of(tally)), *self.warnings]
        self.fields = [*_fields("user", schema.user, users), *_fields("item", schema.item, items)]
        if actions.height and schema.action.time:
            self.first_time, self.last_time = actions["time"][0], actions["time"][-1]
        counts = actions["type"].value_counts()
        self.types = dict(sorted(zip(counts["type"].cast(pl.String), counts["count"], strict=True)))
        self.notices += [*notices("user", schema.user, users), *notices("item", schema.item, items)]
        self.values = value_summary(schema, actions)
        self.notices += self.values.sentences() if self.values else []
        weights = schema.action.weights
        unweighted = [name for name in self.types if weights and name not in weights]
        self.notices += [f'action type "{name}" has no weight in schema.yaml: its weight is 1' for name in unweighted]
        unused = [name for name in weights if name not in self.types]
        self.notices += [f'schema.yaml has a weight for action type "{name}", but no action has it' for name in unused]

    def table(self) -> RenderableType:
        """Return the report as tables for a terminal."""
        lines = [_span(self.first_time, self.last_time)] if self.first_time is not None else []
        types = ", ".join(f"{name} {count:,}" for name, count in self.types.items())
        lines += [f"types: {types}"] if types else []
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"note: {notice}" for notice in self.notices]
        shown: list[RenderableType] = [self._rows()]
        shown += [self._reasons()] if any(tally.causes for tally in self.tallies) else []
        shown += [self._fields()] if self.fields else []
        return Group(*shown, *(Text(line) for line in lines))

    def __str__(self) -> str:
        console = Console(width=120, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self.table())
        return capture.get().rstrip()

    def _rows(self) -> Table:
        table = Table("", "files", title="Rows", title_justify="left")
        names = ("read", "used", "duplicates", "anonymous", "unlisted", "rejected")
        for name in names:
            table.add_column(name, justify="right")
        for tally in self.tallies:
            counts = (getattr(tally, name) for name in names)
            table.add_row(tally.kind, str(len(tally.files)), *(f"{count:,}" for count in counts))
        return table

    def _reasons(self) -> Table:
        table = Table("", "reason", title="Not used", title_justify="left")
        table.add_column("rows", justify="right")
        table.add_column("first")
        table.add_column("cell")
        for tally in self.tallies:
            for reason, cause in sorted(tally.causes.items(), key=lambda pair: -pair[1].rows):
                cell = "" if cause.cell is None else shortened(cause.cell)
                table.add_row(tally.kind, Text(reason), f"{cause.rows:,}", Text(cause.first), Text(cell))
        return table

    def _fields(self) -> Table:
        table = Table("", "field", "kind", title="Fields", title_justify="left")
        table.add_column("values", justify="right")
        table.add_column("missing", justify="right")
        for summary in self.fields:
            table.add_row(
                summary.side, Text(summary.name), summary.kind, f"{summary.values:,}", f"{summary.missing:.1%}"
            )
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
    times = pl.from_epoch(pl.Series([first, last]), time_unit="ms").dt.strftime("%Y-%m-%d %H:%M:%S")
    return f"times: {times[0]} to {times[1]} UTC"
