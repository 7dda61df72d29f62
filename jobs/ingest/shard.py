"""The share of the work of one of several parallel pods."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from recmesh.errors import SettingsError


@dataclass(frozen=True)
class Shard:
    """Share `index` of `count` equal shares."""

    index: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Shard":
        """Read the share from JOB_COMPLETION_INDEX, which an Indexed Job sets, and JOB_COMPLETIONS.

        Returns:
            The share; all rows if neither variable is set.

        Raises:
            SettingsError: One variable is missing, or the index is out of range.
        """
        index, count = environment.get("JOB_COMPLETION_INDEX", ""), environment.get("JOB_COMPLETIONS", "")
        if not index and not count:
            return cls()
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise SettingsError(
                f"JOB_COMPLETION_INDEX={index!r} and JOB_COMPLETIONS={count!r}: set both or neither; "
                "the index must be between 0 and completions - 1"
            )
        return cls(int(index), int(count))

    def rows(self, total: int) -> range:
        """The rows of this share out of `total`. Together the shares cover every row exactly once."""
        return range(total * self.index // self.count, total * (self.index + 1) // self.count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
