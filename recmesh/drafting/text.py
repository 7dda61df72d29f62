"""How the text of a file is written: encoding, separator, escapes, decimal sign."""

import codecs
import re
from dataclasses import dataclass

SEPARATORS = (",", ";", "\t", "|")
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
SINGLE_BYTE = ("cp1252", "cp1250", "cp1251")
MIN_COMMON, MIN_LATE = 0.7, 0.15
MAX_LOOKED_AT = 1_000_000


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
    if chinese is not None and _is_chinese(chinese):
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


def _is_chinese(text: str) -> bool:
    """Tell whether text decoded as gb18030 is Chinese: most characters are common, and Korean has only the first part.

    The common characters of GB 2312 begin with the bytes B0 to D7. Korean syllables in EUC-KR begin with B0 to C8, and
    Cyrillic and accented letters of single-byte encodings give rare characters.
    """
    codes = [character.encode("gb18030") for character in text[:MAX_LOOKED_AT] if ord(character) > 127]
    common = [code[0] for code in codes if len(code) == 2 and 0xB0 <= code[0] <= 0xD7 and code[1] >= 0xA1]
    late = sum(first > 0xC8 for first in common)
    return len(common) > MIN_COMMON * len(codes) and late > MIN_LATE * len(common)


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return None


def _word(text: str | None) -> str:
    """Return the first word with a character outside ASCII."""
    found = re.search(r"[^\W\d_]*[^\x00-\x7f]\w*", text or "")
    return found[0][:20] if found else ""
