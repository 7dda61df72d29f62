"""Why a check is not ok."""

from recmesh.errors import RecmeshError


class Violation(RecmeshError):
    """A service does not keep its contract. The message says what it did."""


class Unmet(RecmeshError):
    """A check could not be made, because another service did not give what it needs."""
