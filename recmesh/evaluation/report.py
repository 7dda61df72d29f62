"""The report of a release, as data: `metrics.json`. Training writes it, and `recmesh evaluate` reads it."""

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recmesh.errors import ReleaseError

METRICS_FILE, PAGE_FILE = "metrics.json", "report.html"
"""The files of a release with its report, as data and as a page."""

CHAIN, POPULARITY = "chain", "popularity"
"""Names of systems in the report."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Figure(_Frozen):
    """A mean over users and its standard error."""

    mean: float
    error: float


Figures = dict[str, Figure]
"""Figures by metric name, such as `recall@10`."""


class System(_Frozen):
    """A way to make the lists: the chain, or a baseline.

    `gain` is the mean over the same users of the chain's figure minus this system's.
    """

    name: str
    about: str
    figures: Figures
    gain: Figures = Field(default_factory=dict)


class Kind(_Frozen):
    """Figures of the chain and of popularity for one kind of user."""

    name: str
    users: int
    chain: Figures
    popularity: Figures


class ChannelPart(_Frozen):
    """The contribution of a channel.

    `weight` and `depth` are its quota in the merge. `found` is the share of the wanted items among its candidates, and
    `found_alone` the share that no other channel has.
    """

    name: str
    weight: float
    depth: int
    found: float
    found_alone: float


class Exposure(_Frozen):
    """The items at the first ten ranks, over all users.

    `coverage` is the share of the catalogue that appears in any list. `novelty` is the mean self-information of the
    items, in bits. `gini` is the Gini coefficient of how often each item appears. `head` is the share of ranks with
    the most popular 1 % of the items.
    """

    name: str
    coverage: float
    novelty: float
    gini: float
    head: float


class Bin(_Frozen):
    """Candidates with similar predicted probability.

    `predicted` is the mean prediction, `observed` the share that was wanted, with its 95 % interval.
    """

    candidates: int
    predicted: float
    observed: float
    low: float
    high: float


class Calibration(_Frozen):
    """The probability that a candidate is wanted within the window: 1 / (1 + exp(-(slope * score + intercept))).

    It is fitted on half of the held-out users. `bins` and `error` are measured on the other half; `error` is the mean
    absolute difference of predicted and observed, weighted by candidates (expected calibration error).
    """

    slope: float
    intercept: float
    error: float
    users: int
    bins: tuple[Bin, ...]


class FeatureGroup(_Frozen):
    """The gain from a group of the ranker's inputs.

    It is the mean over the same users of the wide part's figure minus that of a wide part fitted without the group.
    """

    name: str
    inputs: int
    gain: Figures


class Decision(_Frozen):
    """A choice made on held-out data: the options with their figures, and the rule in words."""

    what: str
    chosen: str
    tried: dict[str, float] = Field(default_factory=dict)
    rule: str = ""


class Past(_Frozen):
    """An action in a history."""

    sku_id: str
    about: str
    when: str
    kind: str


class Shown(_Frozen):
    """An item in a list.

    `reasons` are the inputs that raise it most above the user's other candidates, with their contribution to the score.
    """

    sku_id: str
    about: str
    probability: float
    channels: tuple[str, ...]
    reasons: dict[str, float]
    wanted: bool


class Example(_Frozen):
    """A held-out user: profile, newest actions, list, and the numbers of items that were wanted and found."""

    title: str
    user_id: str
    profile: dict[str, str]
    actions: int
    history: tuple[Past, ...]
    shown: tuple[Shown, ...]
    wanted: int
    found: int


class SegmentReport(_Frozen):
    """The report on one segment, measured on its held-out window."""

    window: str
    users: int
    systems: tuple[System, ...]
    compared: System | None = None
    compared_users: int = 0
    kinds: tuple[Kind, ...]
    channels: tuple[ChannelPart, ...]
    exposure: tuple[Exposure, ...]
    calibration: Calibration | None
    groups: tuple[FeatureGroup, ...]
    decisions: tuple[Decision, ...]
    examples: tuple[Example, ...]


class NewItemsReport(_Frozen):
    """Lists of new items alone, for users of the held-out window who acted on some.

    `items` is the number of new items. The first of the systems is the channel `new`, and the `gain` of the others is
    what this channel gains.
    """

    window: str
    users: int
    items: int
    systems: tuple[System, ...]


class Gain(_Frozen):
    """The mean difference of two systems on the same cases, with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class ScenarioSystem(_Frozen):
    """A way to make the lists of a scenario; `gain` is what the served lists gain over it, by metric."""

    name: str
    figures: dict[str, float]
    gain: dict[str, Gain] = Field(default_factory=dict)


class ScenarioReport(_Frozen):
    """The lists of a scenario on held-out cases, one for each of some users.

    `signal` says in words what is predicted. The first system is the served lists, the second the baseline. `replaced`
    says that the choice was worse than the baseline beyond noise, so the release has the lists of the baseline.
    """

    window: str
    cases: int
    signal: str
    systems: tuple[ScenarioSystem, ...]
    decisions: tuple[Decision, ...]
    replaced: bool = False


class WindowFacts(_Frozen):
    """A window: until when actions are known, the dates of its labels, its users with labels, and its purpose."""

    name: str
    known_until: str
    labels: str
    users: int
    used_for: str


class ActiveFacts(_Frozen):
    """The release that was active during training, and whether both can be compared fairly."""

    release: str
    compared: bool
    reason: str


class Cost(_Frozen):
    """Wall-clock seconds of the training including the report, of the report alone, and peak resident memory in MiB."""

    seconds: float
    report_seconds: float
    peak_mib: float


class Report(_Frozen):
    """The complete report. `facts` about the data and the training are text, in the order of presentation."""

    version: int = 1
    release: str
    facts: dict[str, str]
    windows: tuple[WindowFacts, ...]
    active: ActiveFacts | None
    cost: Cost
    segments: dict[str, SegmentReport]
    new_items: NewItemsReport | None = None
    scenarios: dict[str, ScenarioReport] = Field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes, place: str) -> "Report":
        """Parse metrics.json.

        Args:
            content: JSON.
            place: Named in the error message.

        Raises:
            ReleaseError: The content is not a report, for example in a release that is older than this model.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ReleaseError(
                f"{place}: not a report that this version can read ({where}: {first['msg']}); train again"
            ) from None
