"""Cursors: the rest of a list, as text that the caller sends back for the next page.

The list travels with the caller, so every process can continue it, and nothing has to be stored or found again
(docs/adr/040-cursors.md).
"""

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from recmesh.conditions import Condition
from recmesh.contract import MAX_CANDIDATES, MAX_FILTER_VALUES, MAX_ID_BYTES
from recmesh.errors import InvalidRequest
from recmesh.filters import to_conditions, to_message
from recmesh.pb import cursor_pb2

# The ids with their scores, tags and lengths; the values of the filter; and the facts about the first answer.
_MAX_BYTES = (MAX_CANDIDATES + MAX_FILTER_VALUES) * (MAX_ID_BYTES + 8) + (1 << 14)
_NOT_OURS = "cursor is invalid: send next_cursor of the previous answer, unchanged"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The rest of a list.

    Attributes:
        ids: The items that follow, best first.
        scores: One for each id.
        release: The release that gave the list.
        degraded: What was missing when the list was made.
        unknown_user: Whether the list was made for a user who is not stored.
        conditions: What the items must meet, also if their fields change.
        separators: See `recmesh.serving.stages.CandidateList`.
        missing: See there.
    """

    ids: Sequence[str]
    scores: Sequence[float]
    release: str
    degraded: Sequence[str] = ()
    unknown_user: bool = False
    conditions: Sequence[Condition] = ()
    separators: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ("",)

    def encode(self) -> str:
        """The text for `next_cursor`; empty if nothing follows."""
        if not self.ids:
            return ""
        message = cursor_pb2.Cursor(
            release=self.release,
            degraded=self.degraded,
            unknown_user=self.unknown_user,
            ids=self.ids,
            scores=self.scores,
            filter=to_message(self.conditions),
            separators=self.separators,
            missing=self.missing,
        )
        return base64.urlsafe_b64encode(zlib.compress(message.SerializeToString(), level=1)).decode()

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Read what `encode` wrote.

        Raises:
            InvalidRequest: The text is something else.
        """
        try:
            unpacking = zlib.decompressobj()
            data = unpacking.decompress(base64.urlsafe_b64decode(text.encode()), _MAX_BYTES)
            message = cursor_pb2.Cursor.FromString(data)
        except (binascii.Error, ValueError, zlib.error, DecodeError) as error:
            raise InvalidRequest(_NOT_OURS) from error
        counts = len(message.ids), len(message.scores)
        if not unpacking.eof or counts[0] != counts[1] or not 0 < counts[0] <= MAX_CANDIDATES:
            raise InvalidRequest(_NOT_OURS)
        return cls(
            ids=list(message.ids),
            scores=list(message.scores),
            release=message.release,
            degraded=list(message.degraded),
            unknown_user=message.unknown_user,
            conditions=to_conditions(message.filter),
            separators=dict(message.separators),
            missing=list(message.missing),
        )
