"""How often users acted on what `as` showed them, as data: `hit_rates` computes it, services export it as metrics."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from recmesh.errors import ReleaseError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Rate(_Frozen):
    """A rate with its 95 % interval.

    Attributes:
        value: The rate.
        low: Lower end of the interval.
        high: Upper end.
        of: What the rate is a share of: a number of answers or items.
    """

    value: float
    low: float
    high: float
    of: int


class ReleaseRates(_Frozen):
    """The rates of one release.

    Attributes:
        release: Its id.
        answers: Number of evaluated answers.
        users: Number of their users.
        followed: Number of answers after which the user acted on any item in time.
        systems: Rates by metric name, of the `chain` and of each channel.
    """

    release: str
    answers: int
    users: int
    followed: int
    systems: dict[str, dict[str, Rate]]


class ShownRates(_Frozen):
    """The rates of all releases.

    Attributes:
        version: Of this format.
        evaluated: When, in seconds since 1970-01-01 UTC.
        clock: Which time of an answer its horizon begins at: that of the wall clock, or that of the data.
        days: Length of the horizon.
        releases: The releases, the one with the latest answer first.
        left_out: Number of answers that could not be evaluated, by reason.
    """

    version: Literal[1] = 1
    evaluated: float
    clock: Literal["wall", "data"]
    days: float
    releases: tuple[ReleaseRates, ...]
    left_out: dict[str, int]

    @classmethod
    def parse(cls, content: bytes, place: str) -> "ShownRates":
        """Parse JSON.

        Args:
            content: What `model_dump_json` returned.
            place: Named in the error message.

        Raises:
            ReleaseError: The content is something else.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError:
            raise ReleaseError(f"{place}: damaged; run `recmesh evaluate --answers ... --publish` again") from None
