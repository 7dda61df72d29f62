"""The file of static tokens: YAML with the name of each token, and the token or its hash.

shop: 5mP3cUZg0mGq0sYtQ1bq
partner:                    # Two while one replaces the other.
  - sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  - sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

from recmesh.yaml_text import Document

MAX_TOKENS_BYTES = 256 << 10
MAX_TOKENS = 1_000
MIN_TOKEN, MAX_TOKEN = 16, 8 << 10

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[!-~]+")
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")


class StaticTokens:
    """Names of tokens, by the hashes of the tokens: the time of a look-up tells nothing about a token."""

    def __init__(self, names: Mapping[bytes, str]) -> None:
        """Know tokens by their SHA-256."""
        self._names = dict(names)

    @classmethod
    def parse(cls, text: bytes, name: str) -> "StaticTokens":
        """Parse a file of tokens.

        Args:
            text: YAML.
            name: The file that error messages name.

        Raises:
            DataError: The file is invalid. The message names line and column, and no token.
        """
        document = Document(text, name, MAX_TOKENS_BYTES)
        content = document.content
        if not isinstance(content, dict):
            raise document.error((), "must be a mapping of names to tokens, such as shop: sha256:...")
        names: dict[bytes, str] = {}
        for key, value in content.items():
            if not _NAME.fullmatch(key):
                raise document.error((key,), "the name of a token has 1 to 64 letters, digits and ._-")
            for position, token in enumerate(value if isinstance(value, list) else [value]):
                place = (key, position) if isinstance(value, list) else (key,)
                digest = _digest(document, place, token)
                if digest in names:
                    raise document.error(place, f'{key}: has the same token as "{names[digest]}"; give each its own')
                names[digest] = key
        if len(names) > MAX_TOKENS:
            raise document.error((), f"must have at most {MAX_TOKENS:,} tokens, not {len(names):,}")
        return cls(names)

    def name_of(self, digest: bytes) -> str | None:
        """The name of the token with this SHA-256; None if there is none."""
        return self._names.get(digest)


def _digest(document: Document, place: Sequence[int | str], token: object) -> bytes:
    if isinstance(token, str) and (hashed := _HASH.fullmatch(token)):
        return bytes.fromhex(hashed[1])
    fault = _fault(token)
    if fault:
        raise document.error(place, f"{place[0]}: {fault}")
    return hashlib.sha256(str(token).encode()).digest()


def _fault(token: object) -> str:
    if not isinstance(token, str):
        return "must be a token, or a list of tokens"
    if token.startswith("sha256:"):
        return "sha256: is followed by 64 hexadecimal digits"
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        return f"a token has {MIN_TOKEN} to {MAX_TOKEN:,} characters; openssl rand -hex 32 makes one"
    return "" if _TOKEN.fullmatch(token) else "a token has printable ASCII characters without spaces"
