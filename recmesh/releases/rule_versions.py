"""The versions of a shop's rules, as the model store keeps them."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from recmesh.errors import ReleaseError


class RuleVersion(BaseModel):
    """Rules that were applied.

    Attributes:
        number: From 1 up. The largest number of a store is that of the active rules.
        time: When they were applied.
        author: Who applied them; may be empty.
        comment: Why; may be empty.
        text: The file, as it was applied.
    """

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    time: AwareDatetime
    author: str = ""
    comment: str = ""
    text: str

    @classmethod
    def load(cls, content: bytes, number: int, place: str) -> "RuleVersion":
        """Parse a stored version.

        Args:
            content: JSON.
            number: The number that it must have.
            place: Named in the error message.

        Raises:
            ReleaseError: It is damaged.
        """
        try:
            version = cls.model_validate_json(content)
        except ValidationError:
            version = None
        if version is None or version.number != number:
            raise ReleaseError(f"{place}: version {number} of the rules is damaged; apply the rules again")
        return version
