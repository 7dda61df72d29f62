"""What a check finds out about a data set, as data: the JSON of `recmesh dataset check --json`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["error", "warning", "note"]
Verdict = Literal["fine", "warnings", "unusable"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """Something that deserves attention, and what to do about it (empty if nothing needs to be done).

    An error makes the data set unusable. A warning says that rows or meaning are lost, a note explains.
    """

    level: Level
    text: str
    fix: str = ""


class Unused(_Frozen):
    """The rows of one kind of file that are not used for one reason.

    Attributes:
        kind: users, products, actions or product_vectors.
        fate: damaged (its text), invalid (one of its cells), unlisted (its user or item is in no table) or anonymous.
        reason: Why they are not used.
        rows: How many they are.
        first: The file and line of the first one.
        example: Its text, or as much of it as is useful.
        cell: The cell that explains the reason, if a single one does.
        fix: What would make them usable, if that is known.
    """

    kind: str
    fate: str
    reason: str
    rows: int
    first: str
    example: str
    cell: str | None
    fix: str


class Rows(_Frozen):
    """What became of the rows of one kind of file: read = used + duplicates + anonymous + unlisted + rejected."""

    kind: str
    files: tuple[str, ...]
    read: int
    used: int
    duplicates: int
    anonymous: int
    unlisted: int
    rejected: int


class Join(_Frozen):
    """How actions fit the users or the items.

    Attributes:
        side: users or items.
        listed: Number of users or items in the data set.
        active: Those with actions.
    """

    side: str
    listed: int
    active: int


class Bin(_Frozen):
    """A column of a histogram. `start` is its left end, if `label` is a range."""

    label: str
    count: int
    start: str = ""


class Distribution(_Frozen):
    """Numbers: how many, their mean, their quantiles (of 0, 0.1, 0.5, 0.9, 0.99 and 1), and a histogram."""

    count: int
    mean: float
    quantiles: dict[str, float]
    bins: tuple[Bin, ...]


class Gap(_Frozen):
    """A time without actions: the last day before it, the first day after it, and the days in between."""

    after: str
    before: str
    days: int


class Times(_Frozen):
    """When the actions happened. All times are UTC.

    Attributes:
        first: Of all actions.
        last: Of all actions.
        usual_first: Of the actions that are not outlying.
        usual_last: Of the actions that are not outlying.
        days: Days from `usual_first` to `usual_last`, both included.
        active_days: Days with actions among them.
        resolution: day, hour, minute, second or millisecond: the coarsest unit that all times are multiples of.
        unordered: Share of the actions at the same time as another action of the same user.
        outlying: Actions long before or after all others that reading keeps.
        future: Actions later than the time of the check.
        unit: Width of the columns of `series`: hour, day, week or month.
        series: Number of actions in each unit from `usual_first` to `usual_last`.
        gaps: The longest times without actions.
    """

    first: str
    last: str
    usual_first: str
    usual_last: str
    days: int
    active_days: int
    resolution: str
    unordered: float
    outlying: int
    future: int
    unit: str
    series: tuple[Bin, ...]
    gaps: tuple[Gap, ...]


class ActionType(_Frozen):
    """An action type: its actions, its weight, and whether the schema names the weight."""

    name: str
    actions: int
    weight: float
    declared: bool


class FieldProfile(_Frozen):
    """A declared field.

    Attributes:
        side: user or item.
        name: In the schema.
        kind: As declared.
        values: Number of distinct values.
        missing: Share of users or items without a value.
        top: The most frequent values.
        numbers: Their distribution, if the kind is numeric.
        model_input: Whether the field tells users or items apart in a model.
        why: The reason, if it does not.
    """

    side: str
    name: str
    kind: str
    values: int
    missing: float
    top: tuple[Bin, ...]
    numbers: Distribution | None
    model_input: bool
    why: str


class Repeats(_Frozen):
    """Repeated actions of a user on an item.

    Attributes:
        allowed: What the schema says.
        pairs: Pairs of a user and an item.
        repeated: Share of the pairs that have several actions at different times.
    """

    allowed: bool
    pairs: int
    repeated: float


class Newcomers(_Frozen):
    """Users and items that appear for the first time, per week, in the second half of the time span."""

    users_per_week: float
    items_per_week: float


class Ability(_Frozen):
    """A part of the recommender: whether the data set can carry it, and why."""

    name: str
    exists: bool
    why: str


class Cost(_Frozen):
    """An estimate of what training needs, on two cores."""

    memory_mib: int
    seconds: int


class Profile(_Frozen):
    """The facts about a data set that can be read."""

    fingerprint: str
    joins: tuple[Join, ...]
    times: Times | None
    types: tuple[ActionType, ...]
    per_user: Distribution
    per_item: Distribution
    values: Distribution | None
    fields: tuple[FieldProfile, ...]
    repeats: Repeats
    newcomers: Newcomers | None
    split: Ability
    channels: tuple[Ability, ...]
    cost: Cost


class Check(_Frozen):
    """The result of a check.

    Attributes:
        version: Of this format.
        folder: The data set.
        verdict: unusable if there is an error, warnings if there is a warning, else fine.
        findings: The most severe first.
        rows: What became of the rows of each kind of file; empty if reading did not get that far.
        unused: The rows that are not used by kind and reason, the most frequent first.
        profile: None if the data set cannot be read.
    """

    version: int = 1
    folder: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    rows: tuple[Rows, ...]
    unused: tuple[Unused, ...]
    profile: Profile | None

    @property
    def exit_code(self) -> int:
        """0 fine, 1 usable with warnings, 2 unusable."""
        return {"fine": 0, "warnings": 1, "unusable": 2}[self.verdict]
