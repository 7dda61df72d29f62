"""What deserves attention in a data set, with what to do about it."""

from collections.abc import Iterator

from recmesh.dataset import DataSet
from recmesh.dataset.needs import lacking
from recmesh.profiling.model import Finding, Level, Profile, Repeats, Times

LONG_GAP_SHARE = 0.1
"""A gap that takes more of the time span than this is worth a warning: little can be learnt across it."""

MANY_MISSING = 0.95
MANY_ANONYMOUS = 0.5
MANY_INACTIVE = 0.5
SOME_REPEATS = 0.05
MANY_UNORDERED = 0.5


def findings(data: DataSet, profile: Profile) -> Iterator[Finding]:
    """Yield what deserves attention, in the order of a reader's questions: size, rows, times, fields, meaning."""
    yield from (Finding(level="error", text=text, fix=f"add {what}") for what, text in lacking(data))
    yield from _rows(data)
    yield from (Finding(level="warning", text=warning) for warning in data.report.warnings)
    yield from (Finding(level="note", text=notice) for notice in data.report.notices)
    if profile.times:
        yield from _times(profile.times)
    yield from _joins(profile)
    yield from _fields(profile)
    if profile.times:
        yield from _repeats(profile.repeats)


def _rows(data: DataSet) -> Iterator[Finding]:
    for tally in data.report.tallies:
        if tally.anonymous:
            level: Level = "warning" if tally.anonymous > MANY_ANONYMOUS * tally.read else "note"
            text = f"{tally.kind}: {tally.anonymous:,} of {tally.read:,} rows have no user; they train nothing"
            yield Finding(level=level, text=text)
        if tally.duplicates:
            rule = "identical actions count once" if tally.kind == "actions" else "the last row of an id counts"
            text = f"{tally.kind}: {tally.duplicates:,} of {tally.read:,} rows are duplicates; {rule}"
            yield Finding(level="note", text=text)


def _times(times: Times) -> Iterator[Finding]:
    if times.future:
        text = f"{times.future:,} actions are in the future, to {times.last}"
        yield Finding(level="warning", text=text, fix="correct or remove them: clocks that were wrong, or test data")
    for gap in times.gaps:
        level: Level = "warning" if gap.days > LONG_GAP_SHARE * times.days else "note"
        text = f"no actions for {gap.days:,} days between {gap.after} and {gap.before}"
        yield Finding(level=level, text=text, fix="is a file missing?")
    if times.days == 1 and times.resolution == "day":
        yield Finding(level="note", text="all actions have the same time, so the order of a user's actions is unknown")
    elif times.unordered > MANY_UNORDERED:
        text = f"{times.unordered:.0%} of the actions have the same time as another action of the user"
        yield Finding(level="note", text=f"{text}: their order is unknown")


def _joins(profile: Profile) -> Iterator[Finding]:
    for join in profile.joins:
        inactive = join.listed - join.active
        if inactive > MANY_INACTIVE * join.listed:
            text = f"{inactive:,} of {join.listed:,} {join.side} have no actions"
            yield Finding(
                level="note", text=text, fix=f"check that the ids of {join.side} and of actions have one form"
            )


def _fields(profile: Profile) -> Iterator[Finding]:
    for field in profile.fields:
        name = f'field "{field.name}" of {field.side}s'
        if not field.values:
            fix = f"check {field.side}.fields.{field.name} in schema.yaml, and `missing:`; or remove the field"
            yield Finding(level="warning", text=f"{name}: all values are missing", fix=fix)
        elif field.missing > MANY_MISSING:
            yield Finding(level="warning", text=f"{name}: {field.missing:.1%} of the values are missing")
        elif field.values == 1 and not field.model_input:
            yield Finding(level="note", text=f"{name}: {field.why}, so it tells models nothing")


def _repeats(repeats: Repeats) -> Iterator[Finding]:
    share = f"{repeats.repeated:.1%} of the pairs of a user and an item have actions at several times"
    if repeats.allowed and not repeats.repeated:
        text = "no user acted on an item at several times, but items that a user acted on may be recommended again"
        yield Finding(
            level="note", text=text, fix="set `repeats: false` in schema.yaml, unless users do want them again"
        )
    if not repeats.allowed and repeats.repeated > SOME_REPEATS:
        text = f"{share}, but items that a user acted on are never recommended again"
        yield Finding(level="note", text=text, fix="set `repeats: true` in schema.yaml if users want them again")
