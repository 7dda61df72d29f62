"""How the text of a file is written: encoding, separator, escapes, decimal sign."""

import codecs
import re
from dataclasses import dataclass

SEPARATORS = (",", ";", "\t", "|")
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
SINGLE_BYTE = ("cp1252", "cp1250", "cp1251")
MIN_HAN_SHARE = 0.7


@dataclass(frozen=True)
class Encoding:
    """The encoding of a file, None if several fit, and why."""

    name: str | None
    why: str


def encoding_of(data: bytes) -> Encoding:
    """Tell the encoding of a text.

    Args:
        data: The beginning of the file; its last character may be cut.
    """
    for mark, name in MARKS:
        if data.startswith(mark):
            return Encoding(name, f"the files begin with the mark of {name}")
    if _decoded(data, "utf-8") is not None:
        return Encoding("utf-8", "all bytes are valid UTF-8")
    chinese = _decoded(data, "gb18030")
    foreign = [character for character in chinese or "" if ord(character) > 127]
    if foreign and sum("\u4e00" <= character <= "\u9fff" for character in foreign) >= MIN_HAN_SHARE * len(foreign):
        return Encoding("gb18030", f'the files are not UTF-8, and Chinese as gb18030, such as "{_word(chinese)}"')
    readings = [f'{name}: "{_word(text)}"' for name in SINGLE_BYTE if (text := _decoded(data, name)) is not None]
    return Encoding(
        None, f"the files are not UTF-8; choose the encoding that gives the right text ({', '.join(readings)})"
    )


def readable(data: bytes, encoding: Encoding) -> str:
    """Decode the beginning of a file, as far as that is possible."""
    return data.decode(encoding.name or "latin-1", "replace").removeprefix("\ufeff")


def separator_of(header: str) -> str:
    """Return the separator that occurs most often in a header outside quotes; a comma if none occurs."""
    bare = re.sub(r'"(?:[^"]|"")*"', "", header)
    return max(SEPARATORS, key=lambda separator: (bare.count(separator), separator == ","))


def has_escaped_quotes(text: str) -> bool:
    r"""Tell whether quotes in quoted cells are written as \"."""
    return r"\"" in text


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return None


def _word(text: str | None) -> str:
    """Return the first word with a character outside ASCII."""
    found = re.search(r"[^\W\d_]*[^\x00-\x7f]\w*", text or "")
    return found[0][:20] if found else ""
