"""The file of static tokens."""

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmesh.callers import MAX_TOKENS_BYTES, StaticTokens
from recmesh.errors import DataError

TOKEN, NEXT, OTHER = "0123456789abcdef", "fedcba9876543210", "!#$%&'()*+,-./:;<=>?@~"
ERROR = re.compile(r"tokens\.yaml line \d+, column \d+: [^\n]+")


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def test_tokens_are_found_by_their_hashes() -> None:
    text = f"shop: {TOKEN}\npartner:\n  - sha256:{digest(NEXT).hex().upper()}\n  - {OTHER!r}\n"
    text = text.replace('"!#$%&\'()*+,-./:;<=>?@~"', '"!#$%&\'()*+,-./:;<=>?@~"')
    tokens = StaticTokens.parse(text.encode(), "tokens.yaml")
    assert [tokens.name_of(digest(token)) for token in (TOKEN, NEXT, OTHER)] == ["shop", "partner", "partner"]
    # The hash of a token is no token.
    assert [tokens.name_of(digest(token)) for token in ("", TOKEN[:-1], digest(NEXT).hex())] == [None] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: must be a mapping of names to tokens, such as shop: sha256:..."),
        ("- a", "line 1, column 1: must be a mapping of names to tokens"),
        ("shop: 0123456789abcde", "line 1, column 7: shop: a token has 16 to 8,192 characters; openssl rand -hex 32"),
        (f"shop: {'x' * 8_193}", "shop: a token has 16 to 8,192 characters"),
        ("shop: 0123456789 abcdef", "line 1, column 7: shop: a token has printable ASCII characters without spaces"),
        ("shop: 0123456789abcdefé", "shop: a token has printable ASCII characters without spaces"),
        ("shop: sha256:abc", "line 1, column 7: shop: sha256: is followed by 64 hexadecimal digits"),
        ("shop: {a: b}", "line 1, column 7: shop: must be a token, or a list of tokens"),
        ("shop:\n  - [a]", "line 2, column 5: shop: must be a token, or a list of tokens"),
        ("a b: 0123456789abcdef", "line 1, column 6: the name of a token has 1 to 64 letters, digits and ._-"),
        (f"a: {TOKEN}\nb: {TOKEN}", 'line 2, column 4: b: has the same token as "a"; give each its own'),
        (f"a: {TOKEN}\nb: sha256:{digest(TOKEN).hex()}", 'line 2, column 4: b: has the same token as "a"'),
        (f"a: {TOKEN}\na: {NEXT}", 'line 2, column 1: invalid YAML: key "a" occurs twice'),
        ("\n".join(f"t{n}: {n:016}" for n in range(1_001)), "must have at most 1,000 tokens, not 1,001"),
        ("#" * (MAX_TOKENS_BYTES + 1), "the file is longer than 262,144 bytes"),
    ],
)
def test_errors_name_the_line_and_no_token(text: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        StaticTokens.parse(text.encode(), "tokens.yaml")
    assert message in str(error.value)
    assert ERROR.fullmatch(str(error.value))
    assert TOKEN not in str(error.value)
    assert "0123456789" not in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("ab: -[]{}\n'\"&*!#0123456789abcdef", max_size=80)))
def test_any_file_has_tokens_or_an_error_of_one_line(text: str) -> None:
    try:
        tokens = StaticTokens.parse(text.encode(errors="surrogatepass"), "tokens.yaml")
    except DataError as error:
        assert ERROR.fullmatch(str(error)), str(error)
    else:
        assert tokens.name_of(digest("short")) is None
