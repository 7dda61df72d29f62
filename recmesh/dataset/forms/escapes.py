r"""Separators of several bytes and escaped characters (`\"`), as single characters while rows are split."""

import re
from collections.abc import Iterable, Iterator

import polars as pl

_UNIT = "\x1f"
"""Stands for a separator of several bytes."""

_MARKS = ("\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3")
"""Stand for an escaped escape character, quote, separator and line break. Unicode promises that no text has them."""

ESCAPED_NEWLINE = _MARKS[3].encode()


class Escapes:
    """Replaces what a splitter cannot read by single characters, and restores it.

    Args:
        separator: Between columns, of any length.
        escape: The character before a quote, separator, line break or itself that takes its meaning; None if there is
            none. A cell that is this character and N means null, as MySQL, PostgreSQL and Hive write it.
    """

    def __init__(self, separator: str, escape: str | None) -> None:
        self.separator = separator if len(separator.encode()) == 1 else _UNIT
        self._given, self._escape = separator, escape
        escaped = (escape or "", '"', separator, "\n")
        self._marks = dict(zip(escaped, _MARKS, strict=True))
        self._bytes = {text.encode(): mark.encode() for text, mark in self._marks.items()}
        choices = b"|".join(re.escape(text.encode()) for text in escaped)
        self._pattern = re.compile(re.escape((escape or "").encode()) + b"(" + choices + b")")

    def encode(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Replace separators and escaped characters in the text of a file."""
        if not self._escape and self.separator == self._given:
            yield from blocks
            return
        held = b""
        for block in blocks:
            text = held + block
            end = text.rfind(b"\n") + 1
            while self._escape and text[:end].endswith(f"{self._escape}\n".encode()):
                end = text.rfind(b"\n", 0, end - 1) + 1
            held = text[end:]
            yield self._encoded(text[:end])
        yield self._encoded(held)

    def _encoded(self, text: bytes) -> bytes:
        if self._escape:
            text = self._pattern.sub(lambda found: self._bytes[found[1]], text)
        return text if self.separator == self._given else text.replace(self._given.encode(), _UNIT.encode())

    def original(self, text: str) -> str:
        """Return text as it was in the file."""
        if self._escape:
            for escaped, mark in self._marks.items():
                text = text.replace(mark, self._escape + escaped)
        return text if self.separator == self._given else text.replace(_UNIT, self._given)

    def cells(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return cells with the characters that were escaped, and null for those that mean so."""
        if not self._escape:
            return frame
        null = f"{self._escape}N"
        restored = pl.all().str.replace_many(list(_MARKS), list(self._marks))
        return frame.select(pl.when(pl.all() != null).then(restored))
