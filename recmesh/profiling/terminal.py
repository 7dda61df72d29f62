"""The check of a data set as text for a terminal."""

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from recmesh.profiling.distributions import short
from recmesh.profiling.model import Check, Distribution, Profile
from recmesh.profiling.page import duration, memory

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
_VERDICTS = {
    "fine": ("bold green", "fine"),
    "warnings": ("bold yellow", "usable, with warnings"),
    "unusable": ("bold red", "unusable"),
}


def shown(check: Check) -> RenderableType:
    """Return a check as tables and lines."""
    parts: list[RenderableType] = []
    if check.rows:
        parts.append(_rows(check))
    if check.unused:
        parts.append(_unused(check))
    if check.profile:
        parts += [_fields(check.profile)] if check.profile.fields else []
        parts += [_facts(check.profile)]
    for finding in check.findings:
        line = Text.assemble((f"{finding.level}: ", _STYLES[finding.level]), finding.text)
        parts.append(line.append(f"; {finding.fix}", "dim") if finding.fix else line)
    style, verdict = _VERDICTS[check.verdict]
    return Group(*parts, Text.assemble("verdict: ", (verdict, style)))


def _rows(check: Check) -> Table:
    names = ("read", "used", "duplicates", "anonymous", "unlisted", "rejected")
    table = _table("Rows", ("", "files"), names)
    for row in check.rows:
        table.add_row(row.kind, str(len(row.files)), *(f"{getattr(row, name):,}" for name in names))
    return table


def _unused(check: Check) -> Table:
    table = _table("Not used", ("", "reason", "first"), ("rows",))
    for unused in check.unused:
        reason = Text(unused.reason + (f"; {unused.fix}" if unused.fix else ""))
        table.add_row(unused.kind, reason, Text(unused.first), f"{unused.rows:,}")
    return table


def _fields(profile: Profile) -> Table:
    table = _table("Fields", ("", "field", "kind"), ("values", "missing"))
    table.add_column("most frequent")
    for field in profile.fields:
        top = ", ".join(value.label for value in field.top[:3])
        values = _range(field.numbers) if field.numbers else top
        table.add_row(
            field.side, Text(field.name), field.kind, f"{field.values:,}", f"{field.missing:.1%}", Text(values)
        )
    return table


def _facts(profile: Profile) -> Table:
    table = _table("What the data can carry", ("", ""), ())
    table.show_header = False
    times, new, cost = profile.times, profile.newcomers, profile.cost
    types = ", ".join(f"{kind.name} {kind.actions:,} (weight {short(kind.weight)})" for kind in profile.types)
    channels = ", ".join(channel.name for channel in profile.channels if channel.exists)
    lines = {
        "times": f"{times.usual_first} to {times.usual_last} UTC, on {times.active_days:,} of {times.days:,} days"
        if times
        else "",
        "types": types,
        "actions of a user": _range(profile.per_user),
        "actions on an item": _range(profile.per_item),
        "channels": channels,
        "evaluation": f"split by {'date' if profile.split.exists else 'position'}: {profile.split.why}",
        "per week": f"{short(new.users_per_week)} new users, {short(new.items_per_week)} new items" if new else "",
        "training": f"about {memory(cost.memory_mib)} and {duration(cost.seconds)} on two cores (estimate)",
    }
    for name, text in lines.items():
        if text:
            table.add_row(name, Text(text))
    return table


def _range(numbers: Distribution) -> str:
    quantiles = numbers.quantiles
    return f"{short(quantiles['0'])} to {short(quantiles['1'])}, median {short(quantiles['0.5'])}"


def _table(title: str, texts: Iterable[str], numbers: Iterable[str]) -> Table:
    table = Table(*texts, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in numbers:
        table.add_column(name, justify="right")
    return table
