"""A guess about a key of the schema: its value and the reason, or the question that the files leave open."""

import json
import re
from dataclasses import dataclass

from recmesh.dataset.schema import UNDECIDED

_PLAIN = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True)
class Guess:
    """A value of a key, as YAML, and the reason; UNDECIDED and the choices if the files leave it open."""

    value: str
    why: str

    @classmethod
    def open(cls, choices: str) -> "Guess":
        """Return a question."""
        return cls(UNDECIDED, choices)


def scalar(text: str) -> str:
    """Return a text as YAML, quoted if necessary."""
    return text if _PLAIN.fullmatch(text) and text != UNDECIDED else quoted(text)


def quoted(text: str) -> str:
    """Return a text as YAML in quotes."""
    return json.dumps(text, ensure_ascii=False)
