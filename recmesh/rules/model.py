"""`rules.yaml`: the kinds of rules, and errors that name the line."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from recmesh.conditions import SKU_ID, Condition
from recmesh.contract import HOME, MAX_CONDITIONS, MAX_ID_BYTES, MAX_RECOMMENDATIONS, SCENARIOS
from recmesh.spelling import did_you_mean
from recmesh.yaml_text import Document, echo, reason

RULES_FILE = "rules.yaml"
MAX_RULES_BYTES = 64 << 10
MAX_RULES = 200
MAX_PINNED = 50
MAX_NAME = 64
MAX_FACTOR = 1_000.0

Scenario: TypeAlias = Literal["home", "related", "basket", "repeat", "trending"]
"""One of `SCENARIOS`."""

_TIME = "write an ISO 8601 time with a zone, such as 2026-12-24T18:00:00+01:00"
_DATE_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", re.DOTALL)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _condition(value: object) -> Condition:
    if not isinstance(value, str):
        raise ValueError("must be a condition, such as cate=12,13 or price<=9")
    return Condition.parse(value)


def _time(value: object) -> object:
    # pydantic takes a number for seconds since 1970, also that of a year.
    if not (isinstance(value, str) and _DATE_AND_TIME.fullmatch(value)):
        raise ValueError(_TIME)
    return value


def _name(value: object) -> object:
    if not (isinstance(value, str) and value.strip() == value and value.isprintable() and 0 < len(value) <= MAX_NAME):
        raise ValueError(f"must be a text of 1 to {MAX_NAME} printable characters")
    return value


def _sku_id(value: object) -> object:
    if not (isinstance(value, str) and value and len(value.encode(errors="replace")) <= MAX_ID_BYTES):
        raise ValueError(f"must be the id of an item, of 1 to {MAX_ID_BYTES} bytes")
    return value


_Condition = Annotated[Condition, BeforeValidator(_condition)]
_Conditions = Annotated[tuple[_Condition, ...], Field(max_length=MAX_CONDITIONS), BeforeValidator(_listed)]
_Time = Annotated[AwareDatetime, BeforeValidator(_time)]
_Name = Annotated[str, BeforeValidator(_name)]
_SkuId = Annotated[str, BeforeValidator(_sku_id)]
_Place = Annotated[int, Field(ge=1, le=MAX_RECOMMENDATIONS)]
_Factor = Annotated[float, Field(ge=1, le=MAX_FACTOR, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_FieldName = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Rule(_Part):
    """What all kinds have.

    Attributes:
        name: Appears in explained answers.
        scenario: The scenarios that it is for; empty for all.
        since: From when on it applies (`from` in files).
        until: Up to when, without that time itself.
        users: Conditions on the profile of the user.
    """

    name: _Name
    scenario: Annotated[tuple[Scenario, ...], BeforeValidator(_listed)] = ()
    since: _Time | None = Field(None, alias="from")
    until: _Time | None = None
    users: _Conditions = ()

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> "_Rule":
        if self.since and self.until and self.until <= self.since:
            raise ValueError(f"never applies: until {self.until.isoformat()} is not after from")
        return self

    def applies(self, scenario: str, now: datetime, profile: Mapping[str, Sequence[str]]) -> bool:
        """Return whether the rule is for a request.

        Args:
            scenario: Of the request; empty means home.
            now: The time of the request.
            profile: The values of each field of the user.
        """
        return (
            not (self.scenario and (scenario or HOME) not in self.scenario)
            and not (self.since and now < self.since)
            and not (self.until and now >= self.until)
            and all(condition.met_by(profile) for condition in self.users)
        )

    @property
    def fields(self) -> frozenset[str]:
        """The fields of items that the rule reads."""
        return frozenset()


class _ItemRule(_Rule):
    when: Annotated[tuple[_Condition, ...], Field(min_length=1, max_length=MAX_CONDITIONS), BeforeValidator(_listed)]

    @property
    def fields(self) -> frozenset[str]:
        """See `_Rule.fields`."""
        return frozenset(condition.field for condition in self.when) - {SKU_ID}


class Pin(_Rule):
    """Shows items at fixed positions: the first one at `position` (from 1 up), the others after it."""

    kind: Literal["pin"]
    items: Annotated[tuple[_SkuId, ...], Field(min_length=1, max_length=MAX_PINNED), BeforeValidator(_listed)]
    position: _Place


class Boost(_ItemRule):
    """Divides the places of items by a factor."""

    kind: Literal["boost"]
    factor: _Factor


class Bury(_ItemRule):
    """Multiplies the places of items by a factor."""

    kind: Literal["bury"]
    factor: _Factor


class Exclude(_ItemRule):
    """Leaves items out."""

    kind: Literal["exclude"]


class Limit(_Rule):
    """Limits how many of the `first` items have the same value of a field."""

    kind: Literal["at_most"]
    count: _Place
    field: _FieldName
    first: _Place = MAX_RECOMMENDATIONS

    @property
    def fields(self) -> frozenset[str]:
        """See `_Rule.fields`."""
        return frozenset((self.field,)) - {SKU_ID}


class Diversity(_Rule):
    """Prefers items that differ from those above them: 0 changes nothing, 1 ignores the ranking."""

    kind: Literal["diversity"]
    strength: _Share
    first: _Place = MAX_RECOMMENDATIONS


class Freshness(_Rule):
    """Keeps a share of the `first` items for those whose time `field` is at most `days` ago."""

    kind: Literal["freshness"]
    share: _Share
    field: _FieldName
    days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]
    first: _Place = MAX_RECOMMENDATIONS

    @property
    def fields(self) -> frozenset[str]:
        """See `_Rule.fields`."""
        return frozenset((self.field,)) - {SKU_ID}


Rule: TypeAlias = Pin | Boost | Bury | Exclude | Limit | Diversity | Freshness

KINDS: Mapping[str, type[_Rule]] = {
    "pin": Pin,
    "boost": Boost,
    "bury": Bury,
    "exclude": Exclude,
    "at_most": Limit,
    "diversity": Diversity,
    "freshness": Freshness,
}
"""The kinds by their names."""


class RuleSet(_Part):
    """The content of rules.yaml.

    Attributes:
        rules: In the order of the file; no two have the same name.
    """

    rules: Annotated[tuple[Annotated[Rule, Field(discriminator="kind")], ...], Field(max_length=MAX_RULES)] = ()

    @classmethod
    def parse(cls, text: bytes, name: str = RULES_FILE) -> "RuleSet":
        """Parse a file of rules.

        Args:
            text: YAML.
            name: The file that error messages name.

        Raises:
            DataError: The rules are invalid. The message is one line, and names the line and column of the first error,
                the key, and what is allowed.
        """
        document = Document(text, name, MAX_RULES_BYTES)
        content = document.content
        if not isinstance(content, dict) or "rules" not in content:
            raise document.error((), "must be a mapping with the key rules, such as rules: []")
        try:
            found = cls.model_validate(content)
        except ValidationError as error:
            raise document.invalid(error.errors(), lambda detail: _say(detail, content)) from None
        document.check_names("rules", (rule.name for rule in found.rules), "rule")
        return found

    def applying(self, scenario: str, now: datetime, profile: Mapping[str, Sequence[str]]) -> list[Rule]:
        """Return the rules for a request; see `_Rule.applies`."""
        return [rule for rule in self.rules if rule.applies(scenario, now, profile)]

    def unknown_fields(self, items: Collection[str], users: Collection[str], source: str) -> list[str]:
        """Return a line about each field that a rule reads and a source does not have.

        Args:
            items: The item fields of the source.
            users: The user fields of the source.
            source: A data set or a release, as the lines name it.
        """
        reads: Iterable[tuple[Rule, str, str, Collection[str]]] = (
            (rule, side, field, known)
            for rule in self.rules
            for side, fields, known in (
                ("item", rule.fields, items),
                ("user", {condition.field for condition in rule.users}, users),
            )
            for field in sorted(fields)
        )
        return [
            f'rule "{rule.name}": {source} has no {side} field "{field}"{did_you_mean(field, known)}'
            for rule, side, field, known in reads
            if field not in known
        ]


def _say(error: Any, content: object) -> str:
    """An error of pydantic as `rule "name": key: what is wrong, and what is allowed`."""
    path = [part for part in error["loc"][2:] if not isinstance(part, int)]
    kind = path.pop(0) if path and path[0] in KINDS else ""
    keys = [str(part) for part in path]
    allowed = _keys(KINDS[str(kind)]) if kind else ("rules",)
    message = _reason(error, allowed)
    key = f"{'.'.join(keys)}: " if keys and error["type"] not in ("extra_forbidden", "missing") else ""
    return f"{_rule_of(error['loc'], content)}{key}{message}"


def _reason(error: Any, allowed: Sequence[str]) -> str:
    kind, given = str(error["type"]), echo(error["input"])
    if kind == "union_tag_not_found":
        return f"the key kind is missing: one of {', '.join(KINDS)}"
    if kind == "union_tag_invalid":
        tag = str(error["ctx"]["tag"])
        return f'kind: "{tag}" is not one of {", ".join(KINDS)}{did_you_mean(tag, KINDS)}'
    if kind == "literal_error":
        return f"{given} is not one of {', '.join(SCENARIOS)}{did_you_mean(str(error['input']), SCENARIOS)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"a rule must be a mapping with the keys name and kind, not {given}"
    if kind == "timezone_aware" or kind.startswith("datetime"):
        return f"{_TIME}, not {given}"
    return reason(error, allowed)


def _keys(kind: type[_Rule]) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items()]


def _rule_of(path: Sequence[int | str], content: Any) -> str:
    """The name of the rule that an error is about, if it has one."""
    try:
        name = content["rules"][path[1]]["name"]
    except (LookupError, TypeError):
        return ""
    return f'rule "{name[:MAX_NAME]}": ' if isinstance(name, str) and name else ""
