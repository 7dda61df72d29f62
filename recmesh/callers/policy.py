"""The policy: which callers there are, and which methods each may call (docs/callers.md)."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from recmesh.contract import METHOD_PATHS, PORTS
from recmesh.spelling import did_you_mean
from recmesh.yaml_text import Document, echo, reason

MAX_POLICY_BYTES = 64 << 10
MAX_CALLERS = 200
MAX_RULES = 200
MAX_ENTRIES = 100
MAX_RATE = 1_000_000

ANY = "*"
"""In a rule, every caller that has shown who it is."""

PLAIN = "plain"
"""Callers without TLS, while a server accepts them (`RECMESH_TLS_ACCEPT_PLAIN`)."""

OTHER = "other"
"""In metrics, callers that the policy does not name."""

METRICS, REFLECTION = "metrics", "reflection"
"""What is called besides methods: the metrics port, and gRPC's reflection."""

METHODS: tuple[str, ...] = (
    *(f"{name if name in PORTS else 'feed'}/{path.rpartition('/')[2]}" for name, path in METHOD_PATHS.items()),
    "paddle-serving/inference",
    METRICS,
    REFLECTION,
)
"""All methods, as rules name them."""

_SERVICES = tuple(dict.fromkeys(method.partition("/")[0] for method in METHODS if "/" in method))
_PUBLIC = "as/*"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATTERN = re.compile(r"[A-Za-z0-9_*./-]{1,200}")
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[^\s*]+(/\*)?")
_DNS = re.compile(r"dns:(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_MAX_CERTIFICATE = 1_000


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _name(value: object) -> object:
    if not (isinstance(value, str) and _NAME.fullmatch(value)):
        raise ValueError(f"must be a name of 1 to 64 letters, digits and ._-, not {echo(value)}")
    if value in (PLAIN, OTHER):
        raise ValueError(f'"{value}" has a meaning of its own: choose another name')
    return value


def _certificate(value: object) -> object:
    valid = (
        isinstance(value, str) and len(value) <= _MAX_CERTIFICATE and (_URI.fullmatch(value) or _DNS.fullmatch(value))
    )
    if not valid:
        raise ValueError(f"must be a URI such as spiffe://cluster.local/ns/shop/*, or dns:NAME, not {echo(value)}")
    return value


def _pattern(value: object) -> object:
    if not (isinstance(value, str) and _PATTERN.fullmatch(value)):
        raise ValueError(f"must be a method such as um/um_call or um/*, not {echo(value)}")
    service, slash, _ = value.partition("/")
    known = _SERVICES if slash else METHODS
    if not any(fnmatchcase(name, service) for name in known):
        kind = "service" if slash else "method"
        raise ValueError(f'"{value}": no {kind} is called "{service}"{did_you_mean(service, known)}')
    return value


_Name = Annotated[str, BeforeValidator(_name)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=_MAX_CERTIFICATE)]
_Certificates = Annotated[
    tuple[Annotated[str, BeforeValidator(_certificate)], ...], Field(max_length=MAX_ENTRIES), BeforeValidator(_listed)
]
_Names = Annotated[tuple[_Name, ...], Field(max_length=MAX_ENTRIES), BeforeValidator(_listed)]
_Callers = Annotated[
    tuple[Annotated[str, BeforeValidator(lambda value: value if value == ANY else _name(value))], ...],
    Field(min_length=1, max_length=MAX_CALLERS),
    BeforeValidator(_listed),
]
_Methods = Annotated[
    tuple[Annotated[str, BeforeValidator(_pattern)], ...],
    Field(min_length=1, max_length=MAX_ENTRIES),
    BeforeValidator(_listed),
]
_Claims = Annotated[dict[_Text, _Text], Field(max_length=MAX_ENTRIES)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(_Part):
    """How much a caller may call.

    Attributes:
        per_second: Calls per second, of each process.
        burst: Calls at once, after a pause; by default those of one second.
    """

    per_second: Annotated[float, Field(gt=0, le=MAX_RATE, allow_inf_nan=False)]
    burst: Annotated[int, Field(ge=1, le=MAX_RATE)] | None = None

    @property
    def most(self) -> float:
        """The calls that may come at once."""
        return float(self.burst) if self.burst else max(1.0, self.per_second)


class NamedCaller(_Part):
    """A caller, by what it shows.

    Attributes:
        name: In rules, metrics and audit lines.
        certificates: Names in its certificate: URIs, whose last part may be `*`, and `dns:NAME`, whose first label may
            be `*`.
        tokens: Names in the file of tokens.
        jwt: Claims that its JWT has, all of them. A claim that is a list must contain the value.
        rate: None for no limit.
    """

    name: _Name
    certificates: _Certificates = ()
    tokens: _Names = ()
    jwt: _Claims = {}
    rate: Rate | None = None

    @model_validator(mode="after")
    def _can_be_shown(self) -> "NamedCaller":
        if not (self.certificates or self.tokens or self.jwt):
            raise ValueError(f'caller "{self.name}" needs certificates, tokens or jwt')
        return self

    def has_certificate(self, dns: Sequence[str], uris: Sequence[str]) -> bool:
        """Whether a certificate with these names is the caller's."""
        return any(
            _dns_matches(wanted.removeprefix("dns:"), dns) if wanted.startswith("dns:") else _uri_matches(wanted, uris)
            for wanted in self.certificates
        )

    def has_claims(self, claims: Mapping[str, Any]) -> bool:
        """Whether a JWT with these claims is the caller's."""
        return bool(self.jwt) and all(_claims(claims.get(name), value) for name, value in self.jwt.items())


class Rule(_Part):
    """Lets callers call methods.

    Attributes:
        callers: Their names; `*` is every caller that has shown who it is.
        methods: `service/method`, `metrics` or `reflection`; `*` stands for any characters.
    """

    callers: _Callers
    methods: _Methods

    def covers(self, method: str) -> bool:
        """Whether the rule names a method."""
        return any(fnmatchcase(method, pattern) for pattern in self.methods)


class Policy(_Part):
    """The content of a policy file.

    Attributes:
        callers: No two have the same name. The first one that fits is the caller.
        allow: What no rule allows is denied, except the methods of `as` that no rule names.
    """

    callers: Annotated[tuple[NamedCaller, ...], Field(max_length=MAX_CALLERS)] = ()
    allow: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)] = ()

    @classmethod
    def parse(cls, text: bytes, name: str) -> "Policy":
        """Parse a policy file.

        Args:
            text: YAML.
            name: The file that error messages name.

        Raises:
            DataError: The policy is invalid. The message is one line, and names the line and column of the first error,
                the key, and what is allowed.
        """
        document = Document(text, name, MAX_POLICY_BYTES)
        if not isinstance(document.content, dict):
            raise document.error((), "must be a mapping with the keys callers and allow")
        try:
            policy = cls.model_validate(document.content)
        except ValidationError as error:
            raise document.invalid(error.errors(), _say) from None
        names = [caller.name for caller in policy.callers]
        document.check_names("callers", names, "caller")
        for position, rule in enumerate(policy.allow):
            for number, caller_name in enumerate(rule.callers):
                if caller_name not in (ANY, *names):
                    text_of = f'callers: no caller is called "{caller_name}"{did_you_mean(caller_name, names)}'
                    raise document.error(("allow", position, "callers", number), text_of)
        return policy

    def with_certificate(self, dns: Sequence[str], uris: Sequence[str]) -> NamedCaller | None:
        """The caller whose certificate has these names; None if the policy names none."""
        return next((caller for caller in self.callers if caller.has_certificate(dns, uris)), None)

    def with_token(self, token: str) -> NamedCaller | None:
        """The caller with a token of this name; None if the policy names none."""
        return next((caller for caller in self.callers if token in caller.tokens), None)

    def with_claims(self, claims: Mapping[str, Any]) -> NamedCaller | None:
        """The caller whose JWT has these claims; None if the policy names none."""
        return next((caller for caller in self.callers if caller.has_claims(claims)), None)

    def allows(self, caller: str, method: str) -> bool:
        """Whether a caller may call a method.

        Args:
            caller: Its name in the policy; another text for a caller that the policy does not name.
            method: `service/method`, `metrics` or `reflection`.
        """
        naming = [rule for rule in self.allow if rule.covers(method)]
        if not naming and fnmatchcase(method, _PUBLIC):
            return True
        return any(ANY in rule.callers or caller in rule.callers for rule in naming)

    def unknown_methods(self) -> list[str]:
        """The patterns that no method of this version of recmesh has."""
        patterns = dict.fromkeys(pattern for rule in self.allow for pattern in rule.methods)
        return [pattern for pattern in patterns if not any(fnmatchcase(method, pattern) for method in METHODS)]


DEFAULT_POLICY = Policy()
"""Without a policy file, for callers with a token: `as` only."""


def _dns_matches(wanted: str, names: Sequence[str]) -> bool:
    wanted = wanted.lower()
    lower = [name.lower() for name in names]
    if wanted.startswith("*."):
        return any(name.partition(".")[2] == wanted[2:] for name in lower)
    return wanted in lower


def _uri_matches(wanted: str, uris: Sequence[str]) -> bool:
    if wanted.endswith("/*"):
        return any(uri.startswith(wanted[:-1]) and len(uri) >= len(wanted) for uri in uris)
    return wanted in uris


def _claims(claim: object, value: str) -> bool:
    return value in claim if isinstance(claim, list) else claim == value


def _say(error: Any) -> str:
    """An error of pydantic as `key: what is wrong, and what is allowed`."""
    path = [str(part) for part in error["loc"] if not isinstance(part, int)]
    if error["type"] in ("model_type", "model_attributes_type"):
        return f"{'.'.join(path)}: must be a mapping with the keys {', '.join(_keys(path))}, not {echo(error['input'])}"
    if error["type"] in ("extra_forbidden", "missing"):
        return reason(error, _keys(path[:-1]))
    return f"{'.'.join(path)}: {reason(error, ())}"


def _keys(path: Sequence[str]) -> list[str]:
    """The keys of the mapping at a path, of which the positions in lists were left out."""
    parts: dict[tuple[str, ...], type[_Part]] = {
        (): Policy,
        ("callers",): NamedCaller,
        ("callers", "rate"): Rate,
        ("allow",): Rule,
    }
    return list(parts.get(tuple(path), Policy).model_fields)
