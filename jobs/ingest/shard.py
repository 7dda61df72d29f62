"""The part of the work that one of several parallel pods does."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from recmesh.errors import SettingsError


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` equal ones."""

    index: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Shard":
        """From JOB_COMPLETION_INDEX (set by an Indexed Job) and JOB_COMPLETIONS; the whole where neither is set.

        Raises SettingsError when they do not fit each other.
        """
        index, count = environment.get("JOB_COMPLETION_INDEX", ""), environment.get("JOB_COMPLETIONS", "")
        if not index and not count:
            return cls()
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise SettingsError(
                f"JOB_COMPLETION_INDEX={index!r} and JOB_COMPLETIONS={count!r}: set both, or neither, "
                "the index from 0 to completions - 1"
            )
        return cls(int(index), int(count))

    def rows(self, total: int) -> range:
        """The rows of this shard among `total`; those of all shards are all rows, each once."""
        return range(total * self.index // self.count, total * (self.index + 1) // self.count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
