"""JSON Web Tokens, checked against the keys of a JWKS file.

Imported only if there is such a file, as are PyJWT and cryptography.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from recmesh.errors import DataError, Unauthenticated

MAX_JWKS_BYTES = 256 << 10
MAX_KEYS = 100

_RSA = ("RS256", "RS384", "RS512")
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA", "Ed448": "EdDSA"}
_MIN_RSA_BITS = 2048
# Between the clocks of the issuer and this machine.
_LEEWAY_SECONDS = 10


@dataclass(frozen=True)
class _Key:
    """A public key.

    Attributes:
        kid: Its id; empty for none.
        algorithms: Those that may sign with it.
        key: As cryptography has it.
    """

    kid: str
    algorithms: Sequence[str]
    key: Any

    def may_have_signed(self, algorithm: object, kid: object) -> bool:
        """Whether a token with this header can be checked with the key."""
        return algorithm in self.algorithms and (kid == self.kid or not (kid and self.kid))


@dataclass(frozen=True)
class Claims:
    """The claims of a token that was checked.

    Attributes:
        values: The claims.
        until: When the token expires, in seconds since 1970.
    """

    values: Mapping[str, Any]
    until: float


class WebTokens:
    """Checks JWTs of one issuer for one audience."""

    def __init__(self, keys: Sequence[_Key], issuer: str, audience: str) -> None:
        """Use keys that `parse` has read."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    @classmethod
    def parse(cls, text: bytes, name: str, issuer: str, audience: str) -> "WebTokens":
        """Read a JWKS file.

        Args:
            text: JSON (RFC 7517). Keys that are not for signatures are skipped.
            name: The file that error messages name.
            issuer: The `iss` of tokens.
            audience: What the `aud` of tokens contains.

        Raises:
            DataError: The file is invalid, has a secret key, or has no public key for signatures.
        """
        if len(text) > MAX_JWKS_BYTES:
            raise DataError(f"{name}: has more than {MAX_JWKS_BYTES:,} bytes")
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}: invalid JSON: {error}") from None
        entries = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(entries, list) or len(entries) > MAX_KEYS:
            raise DataError(f'{name}: must be a JSON object with "keys", a list of up to {MAX_KEYS} keys')
        keys = [
            _read(entry, f"{name}: key {number}")
            for number, entry in enumerate(entries, 1)
            if not (isinstance(entry, dict) and entry.get("use", "sig") != "sig")
        ]
        if not keys:
            raise DataError(f"{name}: has no key for signatures")
        return cls(keys, issuer, audience)

    def check(self, token: str) -> Claims:
        """Check a token: its signature, `exp`, `nbf`, `iss` and `aud`.

        Raises:
            Unauthenticated: The token is not accepted. The message says why, and has no part of the token.
        """
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid", "")
            keys = [
                key for key in self._keys if algorithm in key.algorithms and not (kid and key.kid and kid != key.kid)
            ]
            if not keys:
                raise jwt.InvalidKeyError("no key of the JWKS has its kid and alg")
            return self._checked(token, str(algorithm), keys)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise Unauthenticated(f"JWT not accepted: {_text(error)}") from None

    def _checked(self, token: str, algorithm: str, keys: Sequence[_Key]) -> Claims:
        """Try the keys in turn: there are several only if the token does not name one."""
        for number, key in enumerate(keys, 1):
            try:
                claims = jwt.decode(
                    token,
                    key.key,
                    algorithms=[algorithm],
                    audience=self._audience,
                    issuer=self._issuer,
                    leeway=_LEEWAY_SECONDS,
                    options={"require": ["exp", "iss", "aud"]},
                )
            except jwt.InvalidSignatureError:
                if number == len(keys):
                    raise
            else:
                return Claims(claims, float(claims["exp"]) + _LEEWAY_SECONDS)
        raise AssertionError


def _read(entry: object, place: str) -> _Key:
    if not isinstance(entry, dict):
        raise DataError(f"{place}: must be a JSON object")
    kind, curve = entry.get("kty"), entry.get("crv")
    of_curve = _CURVES.get(str(curve)) if kind in ("EC", "OKP") else None
    algorithms = _RSA if kind == "RSA" else (of_curve,) if of_curve else ()
    if not algorithms:
        raise DataError(f"{place}: kty {kind!r} with crv {curve!r} is not supported: use RSA, EC or Ed25519")
    if "d" in entry:
        raise DataError(f"{place}: is a private key: give the public one only")
    stated = entry.get("alg")
    if stated is not None and stated not in algorithms:
        raise DataError(f"{place}: alg {stated!r} does not fit the key: {' or '.join(algorithms)}")
    try:
        read = jwt.PyJWK(entry, algorithm=stated or algorithms[0])
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{place}: cannot be read: {_text(error)}") from None
    if kind == "RSA" and read.key.key_size < _MIN_RSA_BITS:
        raise DataError(f"{place}: has {read.key.key_size} bits: at least {_MIN_RSA_BITS}")
    kid = entry.get("kid", "")
    if not isinstance(kid, str):
        raise DataError(f"{place}: kid must be a text")
    return _Key(kid, (str(stated),) if stated else algorithms, read.key)


def _text(error: Exception) -> str:
    """The text of an error of PyJWT in one line; other errors may quote the token."""
    text = " ".join(str(error).split()) if isinstance(error, jwt.PyJWTError) else "it is malformed"
    return text or type(error).__name__
