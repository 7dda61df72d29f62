"""Who calls, and whether they may: certificates, tokens and JWTs against the policy (docs/callers.md).

The files are read again every second. A file that cannot be used changes nothing: what was read before stays.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from recmesh.callers import (
    DEFAULT_POLICY,
    MAX_POLICY_BYTES,
    MAX_TOKENS_BYTES,
    OTHER,
    PLAIN,
    Bucket,
    NamedCaller,
    Policy,
    StaticTokens,
)
from recmesh.errors import PermissionDenied, RecmeshError, SettingsError, Unauthenticated
from recmesh.serving import logs
from recmesh.serving.encryption import Encryption
from recmesh.serving.load import Refused
from recmesh.serving.peer import Peer
from recmesh.serving.settings import ServerSettings

if TYPE_CHECKING:
    from recmesh.callers.web_tokens import WebTokens

T = TypeVar("T")

_POLL_SECONDS = 1.0
_MAX_KEPT = 4_096

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Caller:
    """A caller that is known.

    Attributes:
        name: In audit lines: its name in the policy, or else what it has shown.
        label: In metrics: its name in the policy, `plain` or `other`.
        everything: Whether it may call everything: there is no policy.
        bucket: How many calls it may make now; None for no limit.
        allowed: Whether it may call a method, of the methods that it has called.
    """

    name: str
    label: str = OTHER
    everything: bool = False
    bucket: Bucket | None = None
    allowed: dict[str, bool] = field(default_factory=dict)


ANONYMOUS = Caller("anonymous", everything=True)
"""Every caller of a server without TLS, tokens and policy."""


@dataclass(slots=True)
class _State:
    """What the files say, and the callers that were found by it.

    Attributes:
        policy: None without a policy file.
        tokens: None without a file of tokens.
        web_tokens: None without a JWKS file.
        by_peer: Callers by their certificates.
        by_token: Callers by the hashes of their JWTs, and until when they hold, in seconds since 1970.
    """

    policy: Policy | None
    tokens: StaticTokens | None
    web_tokens: "WebTokens | None"
    by_peer: dict[Peer, Caller] = field(default_factory=dict)
    by_token: dict[bytes, tuple[Caller, float]] = field(default_factory=dict)


class _File(Generic[T]):
    """A file that is read again when it changes."""

    def __init__(self, setting: str, path: Path, max_bytes: int, parse: Callable[[bytes, str], T]) -> None:
        """Read the file.

        Raises:
            RecmeshError: It cannot be read, or is invalid.
        """
        self._setting = setting
        self._path = path
        self._max_bytes = max_bytes
        self._parse = parse
        self._content = self._read()
        self._fault = ""
        self.value = parse(self._content, str(path))

    def refresh(self) -> bool:
        """Whether the file has changed and could be used."""
        try:
            content = self._read()
            if content == self._content:
                return False
            # A file that is invalid stays so.
            self._content = content
            self.value = self._parse(content, str(self._path))
        except RecmeshError as error:
            if str(error) != self._fault:
                self._fault = str(error)
                log.warning("file not used; what it held before stays", reason=logs.reason(error))
            return False
        self._fault = ""
        log.info("file read", reason=f"{self._setting} {self._path} has changed")
        return True

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(self._max_bytes + 1)
        except OSError as error:
            place = f"{self._setting} {self._path}"
            raise SettingsError(f"{place} cannot be read: {error.strerror}; mount the file, or unset it") from None


class Callers:
    """Tells who calls, and refuses those who may not.

    Attributes:
        by_token_only: Whether callers can be told by their tokens alone, before anything but the metadata has arrived.
    """

    def __init__(
        self,
        settings: ServerSettings,
        encryption: Encryption | None = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the files.

        Args:
            settings: Name the files.
            encryption: None without TLS.
            clock: Seconds since 1970, for the expiry of JWTs.
            monotonic: Seconds, for rates.

        Raises:
            RecmeshError: A file cannot be read or is invalid, or settings are missing.
        """
        self._certificates = encryption is not None and encryption.client_auth
        self._plain = encryption is not None and encryption.accept_plain
        self._clock = clock
        self._monotonic = monotonic
        self._policy = _file("RECMESH_POLICY_FILE", settings.policy_file, MAX_POLICY_BYTES, Policy.parse)
        self._tokens = _file("RECMESH_TOKENS_FILE", settings.tokens_file, MAX_TOKENS_BYTES, StaticTokens.parse)
        self._web_tokens = _web_tokens(settings)
        if not (self._certificates or self._tokens or self._web_tokens):
            raise SettingsError(
                "callers cannot show who they are: set RECMESH_TOKENS_FILE, RECMESH_JWKS_FILE, or "
                "RECMESH_TLS_CERTIFICATE with RECMESH_TLS_CLIENT_AUTH=require"
            )
        self.by_token_only = not (self._certificates or self._plain)
        self._buckets: dict[str, Bucket] = {}
        self._plain_caller = Caller(PLAIN, PLAIN, everything=True)
        self._state = self._current()

    @classmethod
    def of(cls, settings: ServerSettings, encryption: Encryption | None) -> "Callers | None":
        """The callers of a process; None if it lets everybody call everything.

        Raises:
            RecmeshError: See `Callers`.
        """
        files = (settings.policy_file, settings.tokens_file, settings.jwks_file)
        return cls(settings, encryption) if encryption is not None or any(files) else None

    def identify(self, peer: Peer) -> Caller:
        """Who calls.

        Raises:
            Unauthenticated: Nobody who is known.
        """
        state = self._state
        if self._plain and not peer.encrypted:
            return self._plain_caller
        if peer.token:
            if state.tokens or state.web_tokens:
                return self._by_token(state, peer.token)
            peer = peer._replace(token="")
        known = state.by_peer.get(peer)
        if known is None:
            if not peer.certified:
                shown = "a client certificate or a bearer token" if self._certificates else "a bearer token"
                raise Unauthenticated(f"callers must show {shown} (docs/callers.md)")
            known = self._by_certificate(state, peer)
            _keep(state.by_peer, peer, known)
        return known

    def admit(self, peer: Peer, method: str) -> Caller:
        """Who calls a method, if they may.

        Args:
            peer: Where the call comes from.
            method: As rules name it: `um/um_call`, `metrics`, `reflection`.

        Raises:
            Unauthenticated: The caller is not known.
            PermissionDenied: No rule of the policy allows the call.
            Refused: The caller calls too often.
        """
        caller = self.check(peer, method)
        if caller.bucket is not None and not caller.bucket.take():
            rate = caller.bucket.rate
            raise Refused("rate", f"{caller.name} calls more than {rate.per_second:g} times a second: call less often")
        return caller

    async def follow(self) -> None:
        """Read the files again whenever they change, until cancelled."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read the files that have changed."""
        files = [file for file in (self._policy, self._tokens, self._web_tokens) if file is not None]
        changed = [file for file in files if file.refresh()]
        if changed:
            self._state = self._current()

    def check(self, peer: Peer, method: str) -> Caller:
        """Who calls a method, if they may, however often they do. See `admit`."""
        caller = self.identify(peer)
        if not caller.everything:
            allowed = caller.allowed.get(method)
            if allowed is None:
                policy = self._state.policy or DEFAULT_POLICY
                allowed = caller.allowed[method] = policy.allows(caller.label, method)
            if not allowed:
                name = logs.shortened(caller.name, 100)
                raise PermissionDenied(f"{name} may not call {method}: a rule of the policy must allow it")
        return caller

    def _current(self) -> _State:
        policy = self._policy.value if self._policy else None
        if policy is not None:
            if unknown := policy.unknown_methods():
                log.warning("the policy names methods that do not exist", reason=", ".join(unknown[:10]))
            self._buckets = {
                caller.name: self._bucket(caller.name, caller) for caller in policy.callers if caller.rate is not None
            }
        tokens = self._tokens.value if self._tokens else None
        return _State(policy, tokens, self._web_tokens.value if self._web_tokens else None)

    def _bucket(self, name: str, caller: NamedCaller) -> Bucket:
        assert caller.rate is not None
        kept = self._buckets.get(name)
        return kept if kept is not None and kept.rate == caller.rate else Bucket(caller.rate, self._monotonic)

    def _by_token(self, state: _State, token: str) -> Caller:
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known, until = state.by_token.get(digest, (None, 0.0))
        if known is not None and self._clock() < until:
            return known
        policy = state.policy or DEFAULT_POLICY
        name = state.tokens.name_of(digest) if state.tokens else None
        if name is not None:
            caller = self._caller(policy.with_token(name), f"token {name}")
            _keep(state.by_token, digest, (caller, float("inf")))
            return caller
        if state.web_tokens is None or token.count(".") != 2:
            raise Unauthenticated("the bearer token is not known: it is wrong, or was withdrawn")
        claims = state.web_tokens.check(token)
        caller = self._caller(policy.with_claims(claims.values), f"jwt {claims.values.get('sub', '')}")
        _keep(state.by_token, digest, (caller, claims.until))
        return caller

    def _by_certificate(self, state: _State, peer: Peer) -> Caller:
        shown = (*peer.uris, *peer.dns, "a certificate without names")[0]
        if state.policy is None:
            return Caller(shown, everything=True)
        return self._caller(state.policy.with_certificate(peer.dns, peer.uris), shown)

    def _caller(self, named: NamedCaller | None, shown: str) -> Caller:
        if named is None:
            return Caller(shown)
        return Caller(named.name, named.name, bucket=self._buckets.get(named.name))


K = TypeVar("K")


def _keep(kept: dict[K, T], key: K, value: T) -> None:
    if len(kept) >= _MAX_KEPT:
        kept.clear()
    kept[key] = value


def _file(setting: str, path: Path | None, max_bytes: int, parse: Callable[[bytes, str], T]) -> _File[T] | None:
    return _File(setting, path, max_bytes, parse) if path else None


def _web_tokens(settings: ServerSettings) -> "_File[WebTokens] | None":
    path, issuer, audience = settings.jwks_file, settings.jwt_issuer, settings.jwt_audience
    if path is None:
        return None
    if not (issuer and audience):
        raise SettingsError("RECMESH_JWKS_FILE needs RECMESH_JWT_ISSUER and RECMESH_JWT_AUDIENCE: set all three")
    # PyJWT and cryptography take 50 ms to import.
    from recmesh.callers.web_tokens import MAX_JWKS_BYTES, WebTokens

    def parse(content: bytes, name: str) -> "WebTokens":
        return WebTokens.parse(content, name, issuer, audience)

    return _File("RECMESH_JWKS_FILE", path, MAX_JWKS_BYTES, parse)
