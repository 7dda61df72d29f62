"""What the ingested data set allows in entries of the log. Ingestion writes it to Redis; feed reads it."""

import math
import unicodedata
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from recmesh.contract import MAX_ID_BYTES, NO_USER_IDS
from recmesh.errors import InvalidRequest
from recmesh.numbers import parse_number
from recmesh.pb.feed_pb2 import Action

MAX_VALUE_BYTES = 16_384
"""The longest value of a field."""

MAX_AHEAD_MS = 86_400_000
"""How far the time of an action may lie in the future: clocks differ."""

_NUMERIC = "numeric"


class Rules(BaseModel):
    """The rules of a data set.

    Attributes:
        user_fields: The kind of each field of users.
        item_fields: The kind of each field of items.
        action_types: The types of actions, the one with the greatest weight first.
        missing: Values that mean "unknown".
        resolution: Of the times, in milliseconds: a day if the data set has dates only.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    user_fields: Mapping[str, str]
    item_fields: Mapping[str, str]
    action_types: tuple[str, ...]
    missing: tuple[str, ...] = ("",)
    resolution: int = 1

    def action(self, given: Action, now: int) -> Action:
        """Return an action with time, type and value, as the data set would have it.

        Args:
            given: The action of a request.
            now: The time of arrival in milliseconds.

        Raises:
            InvalidRequest: The action breaks a rule.
        """
        check_user_id(given.user_id)
        check_sku_id(given.sku_id)
        _check_text("event_id", given.event_id)
        kind = given.type or self.action_types[0]
        if kind not in self.action_types:
            raise InvalidRequest(f"type {kind!r} is not one of {', '.join(self.action_types)}")
        value = given.value if given.HasField("value") else 1.0
        if not math.isfinite(value):
            raise InvalidRequest("value is not a finite number")
        time = given.time or now
        if not 0 < time <= now + MAX_AHEAD_MS:
            raise InvalidRequest(f"time {time} is not between 1970 and a day from now, in milliseconds since 1970")
        time -= time % self.resolution
        return Action(
            user_id=given.user_id, sku_id=given.sku_id, time=time, type=kind, value=value, event_id=given.event_id
        )

    def check_user(self, user_id: str, fields: Mapping[str, str]) -> None:
        """Check new values of a user's fields.

        Raises:
            InvalidRequest: They break a rule.
        """
        check_user_id(user_id)
        self._check_fields(fields, self.user_fields, "user")

    def check_item(self, sku_id: str, fields: Mapping[str, str]) -> None:
        """Check new values of an item's fields.

        Raises:
            InvalidRequest: They break a rule.
        """
        check_sku_id(sku_id)
        self._check_fields(fields, self.item_fields, "item")

    def _check_fields(self, fields: Mapping[str, str], kinds: Mapping[str, str], side: str) -> None:
        for name, value in fields.items():
            if name not in kinds:
                known = ", ".join(kinds) or "none"
                raise InvalidRequest(f"{side} field {name!r} is not in the schema, which has: {known}")
            if (size := len(value.encode())) > MAX_VALUE_BYTES:
                raise InvalidRequest(f"{side} field {name} has {size:,} bytes: at most {MAX_VALUE_BYTES:,}")
            if kinds[name] == _NUMERIC and value not in self.missing and math.isnan(parse_number(value)):
                raise InvalidRequest(f"{side} field {name} is numeric, but {value[:40]!r} is no number")


def check_user_id(user_id: str) -> None:
    """Check the id of a user. Raises InvalidRequest."""
    if user_id in NO_USER_IDS:
        raise InvalidRequest('user_id is empty or "-1", which means an anonymous user')
    _check_text("user_id", user_id)


def check_sku_id(sku_id: str) -> None:
    """Check the id of an item. Raises InvalidRequest."""
    if not sku_id:
        raise InvalidRequest("sku_id is empty")
    _check_text("sku_id", sku_id)


def _check_text(name: str, text: str) -> None:
    if (size := len(text.encode())) > MAX_ID_BYTES:
        raise InvalidRequest(f"{name} has {size:,} bytes: at most {MAX_ID_BYTES}")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise InvalidRequest(f"{name} contains a control character")
