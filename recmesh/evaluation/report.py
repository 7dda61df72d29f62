"""`metrics.json` of a release: all that its report says. Training writes it, `recmesh evaluate` reads it."""

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recmesh.errors import ReleaseError

METRICS_FILE, PAGE_FILE = "metrics.json", "report.html"
CHAIN, POPULARITY = "chain", "popularity"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Figure(_Frozen):
    """A mean over users and its standard error."""

    mean: float
    error: float


Figures = dict[str, Figure]
"""By metric name (`recall@10`)."""


class System(_Frozen):
    """One way to make the lists. `gain`: what the chain has more, as the mean of the differences of the same users."""

    name: str
    about: str
    figures: Figures
    gain: Figures = Field(default_factory=dict)


class Kind(_Frozen):
    """One kind of user, as the chain and popularity serve it."""

    name: str
    users: int
    chain: Figures
    popularity: Figures


class ChannelPart(_Frozen):
    """A channel's part: quota in the merge, share of the wanted items that it found, and that it alone found."""

    name: str
    weight: float
    depth: int
    found: float
    found_alone: float


class Exposure(_Frozen):
    """What the first ten places show, over all users.

    `coverage`: share of the catalogue that is shown to anyone. `novelty`: mean self-information of what is shown, in
    bits. `gini`: of how often each item is shown. `head`: share of places that the most popular 1 % of items take.
    """

    name: str
    coverage: float
    novelty: float
    gini: float
    head: float


class Bin(_Frozen):
    """Candidates of similar probability: their number, the mean prediction, the share that was wanted with its 95 %
    interval."""

    candidates: int
    predicted: float
    observed: float
    low: float
    high: float


class Calibration(_Frozen):
    """Probability that a candidate is wanted within the window: 1 / (1 + exp(-(slope * score + intercept))).

    Fitted on one half of the held-out users; `bins` and `error` (mean distance of predicted and observed, weighted by
    candidates) are of the other half.
    """

    slope: float
    intercept: float
    error: float
    users: int
    bins: tuple[Bin, ...]


class FeatureGroup(_Frozen):
    """What a group of the ranker's inputs adds: the wide part with it less one fitted without it, on the same users."""

    name: str
    inputs: int
    gain: Figures


class Decision(_Frozen):
    """Something that was chosen on held-out data: the options with their figure, and the rule in words."""

    what: str
    chosen: str
    tried: dict[str, float] = Field(default_factory=dict)
    rule: str = ""


class Past(_Frozen):
    """One action of a history."""

    sku_id: str
    about: str
    when: str
    kind: str


class Shown(_Frozen):
    """One place of a list. `reasons`: the inputs that lift it most above the user's other candidates, with how much of
    the score they are."""

    sku_id: str
    about: str
    probability: float
    channels: tuple[str, ...]
    reasons: dict[str, float]
    wanted: bool


class Example(_Frozen):
    """A held-out user: profile, newest actions, the list, and how many items were wanted and found."""

    title: str
    user_id: str
    profile: dict[str, str]
    actions: int
    history: tuple[Past, ...]
    shown: tuple[Shown, ...]
    wanted: int
    found: int


class SegmentReport(_Frozen):
    """All about one segment, measured on its held-out window."""

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


class WindowFacts(_Frozen):
    """One window: what was known, which labels, how many users with labels, and what it was used for."""

    name: str
    known_until: str
    labels: str
    users: int
    used_for: str


class ActiveFacts(_Frozen):
    """The release that was active when this one was trained, and whether a comparison with it is honest."""

    release: str
    compared: bool
    reason: str


class Cost(_Frozen):
    """Wall-clock seconds of the training, those of the report among them, and the peak of resident memory in MiB."""

    seconds: float
    report_seconds: float
    peak_mib: float


class Report(_Frozen):
    """The whole document. `facts`: of the data and the training, in words, in the order in which they are shown."""

    version: int = 1
    release: str
    facts: dict[str, str]
    windows: tuple[WindowFacts, ...]
    active: ActiveFacts | None
    cost: Cost
    segments: dict[str, SegmentReport]

    @classmethod
    def parse(cls, content: bytes, place: str) -> "Report":
        """Raises ReleaseError, naming `place`, when it is not such a document (releases before it was made)."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ReleaseError(f"{place}: no report of this version ({where}: {first['msg']}); train again") from None
