"""JWTs: which ones are accepted, and by which keys."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from recmesh.callers.web_tokens import MAX_JWKS_BYTES, WebTokens
from recmesh.errors import DataError, Unauthenticated
from tests.web_keys import AUDIENCE, ISSUER, NOW, Key, jwks, set_time

KEY = Key("ES256", "k1")


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of PyJWT is NOW."""
    set_time(monkeypatch, lambda: NOW)


def web_tokens(*keys: Mapping[str, Any]) -> WebTokens:
    return WebTokens.parse(jwks(*keys), "jwks.json", ISSUER, AUDIENCE)


def refused(tokens: WebTokens, token: str) -> str:
    with pytest.raises(Unauthenticated) as error:
        tokens.check(token)
    text = str(error.value)
    assert text.startswith("JWT not accepted: ")
    assert "\n" not in text
    return text.removeprefix("JWT not accepted: ")


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"])
def test_a_good_token_gives_its_claims_until_it_expires(algorithm: str) -> None:
    key = Key(algorithm, "k")
    claims = web_tokens(key.public()).check(key.token({"groups": ["a"]}))
    assert claims.values == {
        **{"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 300, "sub": "partner"},
        "groups": ["a"],
    }
    assert claims.until == NOW + 310  # The clocks may differ by 10 seconds.


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": NOW - 11}, "Signature has expired"),
        ({"exp": None}, 'Token is missing the "exp" claim'),
        ({"exp": "soon"}, "Expiration Time claim (exp) must be an integer."),
        ({"exp": 1e400}, ""),
        ({"nbf": NOW + 11}, "The token is not yet valid (nbf)"),
        ({"iat": NOW + 11}, "The token is not yet valid (iat)"),
        ({"aud": "another"}, "Audience doesn't match"),
        ({"aud": None}, 'Token is missing the "aud" claim'),
        ({"iss": "https://issuer.example.evil"}, "Invalid issuer"),
        ({"iss": None}, 'Token is missing the "iss" claim'),
        ({"sub": 5}, "Subject must be a string"),
    ],
)
def test_wrong_claims_are_refused(claims: dict[str, object], message: str) -> None:
    assert message in refused(web_tokens(KEY.public()), KEY.token(claims))


@pytest.mark.parametrize("claims", [{"exp": NOW - 9}, {"nbf": NOW + 9}, {"aud": ["x", AUDIENCE]}])
def test_clocks_may_differ_and_there_may_be_several_audiences(claims: dict[str, object]) -> None:
    assert web_tokens(KEY.public()).check(KEY.token(claims)).values["sub"] == "partner"


def test_a_signature_of_another_key_is_refused() -> None:
    assert refused(web_tokens(KEY.public()), Key("ES256", "k1").token()) == "Signature verification failed"
    unknown = "no key of the JWKS has its kid and alg"
    assert refused(web_tokens(KEY.public()), Key("ES256", "k2").token()) == unknown
    assert refused(web_tokens(KEY.public()), Key("RS256", "k1").token()) == unknown


def test_a_changed_token_is_refused() -> None:
    header, payload, signature = KEY.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "admin"}).encode()).rstrip(b"=").decode()
    assert refused(web_tokens(KEY.public()), f"{header}.{forged}.{signature}") == "Signature verification failed"
    assert refused(web_tokens(KEY.public()), f"{header}.{payload}.") == "Signature verification failed"


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "PS256", "ES384", "", None, 5, ["ES256"]])
def test_other_algorithms_are_refused_whatever_the_key(algorithm: object) -> None:
    public = KEY.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _, payload, signature = KEY.token().split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": "k1", "typ": "JWT"}).encode())
    token = f"{header.rstrip(b'=').decode()}.{payload}.{signature}"
    assert refused(web_tokens(KEY.public()), token)
    # The public key as the secret of an HMAC: what libraries have accepted.
    if algorithm in ("HS256", "HS512"):
        import hashlib
        import hmac

        signed = f"{header.rstrip(b'=').decode()}.{payload}"
        mac = hmac.new(public, signed.encode(), getattr(hashlib, f"sha{str(algorithm)[2:]}")).digest()
        forged = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert refused(web_tokens(KEY.public()), forged) == "no key of the JWKS has its kid and alg"


def test_a_rsa_pss_signature_is_refused() -> None:
    key = Key("PS256", "k1")
    assert refused(web_tokens(key.public()), key.token()) == "no key of the JWKS has its kid and alg"


def test_keys_of_a_token_without_kid_are_tried_in_turn() -> None:
    first, second = Key("ES256", "a"), Key("ES256", "b")
    tokens = web_tokens(first.public(), second.public())
    assert tokens.check(second.token(kid=None)).values["sub"] == "partner"
    assert refused(tokens, KEY.token(kid=None)) == "Signature verification failed"
    # A key without a kid fits every token.
    nameless = web_tokens(Key("ES256").public(), {**second.public(), "kid": ""})
    assert nameless.check(second.token()).values["sub"] == "partner"


def test_the_alg_of_a_key_binds() -> None:
    key = Key("RS512", "k")
    assert web_tokens(key.public(alg="RS512")).check(key.token())
    assert refused(web_tokens(key.public(alg="RS256")), key.token()) == "no key of the JWKS has its kid and alg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "jwks.json: invalid JSON: "),
        (b"[" * 100_000, "jwks.json: invalid JSON: "),
        (b"[]", 'jwks.json: must be a JSON object with "keys", a list of up to 100 keys'),
        (b'{"keys": {}}', 'jwks.json: must be a JSON object with "keys"'),
        (jwks(*[KEY.public()] * 101), 'jwks.json: must be a JSON object with "keys"'),
        (jwks(), "jwks.json: has no key for signatures"),
        (jwks(KEY.public(use="enc")), "jwks.json: has no key for signatures"),
        (b'{"keys": [5]}', "jwks.json: key 1: must be a JSON object"),
        (jwks(KEY.public(), {"kty": "oct", "k": "c2VjcmV0"}), "jwks.json: key 2: kty 'oct' with crv None is not"),
        (jwks(KEY.public(crv="secp256k1")), "jwks.json: key 1: kty 'EC' with crv 'secp256k1' is not supported"),
        (jwks(KEY.public(alg="HS256")), "jwks.json: key 1: alg 'HS256' does not fit the key: ES256"),
        (jwks(KEY.public(x="")), "jwks.json: key 1: cannot be read: "),
        (jwks(KEY.public(kid=5)), "jwks.json: key 1: kid must be a text"),
        (jwks(KEY.public(d=KEY.public()["x"])), "jwks.json: key 1: is a private key: give the public one only"),
        (b" " * (MAX_JWKS_BYTES + 1), "jwks.json: has more than 262,144 bytes"),
    ],
)
def test_a_bad_file_says_what_is_wrong(content: bytes, message: str) -> None:
    with pytest.raises(DataError) as error:
        WebTokens.parse(content, "jwks.json", ISSUER, AUDIENCE)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_short_rsa_key_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = Key("RS256", "k")
    key.private = rsa.generate_private_key(65_537, 1_024)
    with pytest.raises(DataError, match=r"key 1: has 1024 bits: at least 2048"):
        web_tokens(key.public())


def test_keys_that_are_not_for_signatures_are_skipped() -> None:
    assert web_tokens({"kty": "oct", "use": "enc"}, KEY.public()).check(KEY.token())


_PARTS = st.one_of(st.sampled_from(KEY.token().split(".")), st.text(max_size=30), st.just("W1tb" * 1_500))


@settings(max_examples=300, deadline=None)
@given(st.lists(_PARTS, max_size=4).map(".".join))
def test_any_text_is_a_good_token_or_refused_in_one_line(token: str) -> None:
    tokens = web_tokens(KEY.public())
    try:
        claims = tokens.check(token)
    except Unauthenticated as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 200
    else:
        assert claims.values["iss"] == ISSUER


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=3)))
def test_claims_of_any_kind_are_accepted_or_refused(value: Any) -> None:
    tokens = web_tokens(KEY.public())
    for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti"):
        try:
            token = KEY.token({name: value})
        except (TypeError, ValueError, jwt.PyJWTError):
            continue
        try:
            claims = tokens.check(token)
        except Unauthenticated:
            continue
        assert claims.values["iss"] == ISSUER
