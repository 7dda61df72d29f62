"""Keys and JWTs of an issuer, for tests."""

import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://issuer.example", "recmesh"
NOW = 1_800_000_000.0


def set_time(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float]) -> None:
    """Let PyJWT take its time from a clock."""

    class Then(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Then":
            return cls.fromtimestamp(clock(), tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Then)


class Key:
    """A key pair of an issuer.

    Attributes:
        algorithm: It signs with.
        kid: Its id.
    """

    def __init__(self, algorithm: str, kid: str = "") -> None:
        """Make a key."""
        self.algorithm = algorithm
        self.kid = kid
        self.private: Any = _MAKE[algorithm]()

    def public(self, **more: object) -> dict[str, Any]:
        """The public key as a JWK."""
        kinds: dict[str, Any] = {"R": RSAAlgorithm, "P": RSAAlgorithm, "E": ECAlgorithm}
        kind = OKPAlgorithm if self.algorithm == "EdDSA" else kinds[self.algorithm[0]]
        jwk: dict[str, Any] = json.loads(kind.to_jwk(self.private.public_key()))
        return {**jwk, **({"kid": self.kid} if self.kid else {}), **more}

    def token(self, claims: Mapping[str, object] | None = None, **headers: object) -> str:
        """A JWT with the claims, and those that all need."""
        whole = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 300, "sub": "partner", **(claims or {})}
        content = {name: value for name, value in whole.items() if value is not None}
        named = {"kid": self.kid, **headers} if self.kid else headers
        return jwt.encode(content, self.private, self.algorithm, {k: v for k, v in named.items() if v is not None})


_MAKE: dict[str, Any] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256"), lambda: rsa.generate_private_key(65_537, 2_048)),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def jwks(*keys: Mapping[str, Any]) -> bytes:
    """A JWKS file."""
    return json.dumps({"keys": keys}).encode()
