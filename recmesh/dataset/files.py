"""Which files of a folder hold what, and their text as UTF-8."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from recmesh.dataset.schema import did_you_mean
from recmesh.errors import DataError

VECTORS_FILE = "product_vectors.txt"
TABLE_SUFFIXES = (".csv", ".parquet", ".dat")
ACTION_SUFFIXES = (".csv", ".parquet")
BLOCK_BYTES = 16 << 20

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


#: Codec error handler: a lone surrogate for what cannot be decoded, which "surrogatepass" then writes as invalid UTF-8.
_INVALID = "recmesh.invalid"
codecs.register_error(_INVALID, lambda error: ("\udc80", error.end))  # type: ignore[attr-defined]


def sources(folder: Path, stem: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of one kind: `stem.csv`, `stem-2.csv`, and all in a folder `stem/`, in natural order of their names.

    Raises DataError when there is none.
    """
    inside = folder / stem
    # Spark and Hive leave _SUCCESS, .crc and the like beside the data.
    parts = [p for p in inside.iterdir() if p.name[0] not in "._"] if inside.is_dir() else []
    beside = [p for p in folder.iterdir() if p.is_file() and re.match(rf"{stem}(-[^.]*)?\.", p.name)]
    found = [p for p in (*beside, *parts) if p.suffix in suffixes]
    if not found:
        kinds = ", ".join(f"{stem}{s}" for s in suffixes)
        near = did_you_mean(f"{stem}{suffixes[0]}", (p.name for p in folder.iterdir()))
        raise DataError(f"{folder}: no {stem} in it; expected one of {kinds}, {stem}-2.csv or a folder {stem}/{near}")
    # Without the suffix, for "-" sorts before ".".
    return sorted(found, key=lambda p: (_natural(p.relative_to(folder).with_suffix("").as_posix()), p.suffix))


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts users, users-2, users-10 in this order."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def utf8_blocks(path: Path, encoding: str, size: int = BLOCK_BYTES) -> Iterator[tuple[bytes, int]]:
    """The text of a file in blocks of about `size` bytes: UTF-8, without BOM, lines ended by LF, cut anywhere.

    Each comes with the count of bytes of the file read so far. Bytes that are not valid in `encoding` arrive as bytes
    that are not valid UTF-8, so that the lines they are in can be found and rejected one by one.
    """
    decode = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)(_INVALID)
    done, held = 0, b""
    with path.open("rb") as file:
        while piece := file.read(size):
            if done == 0:
                piece = _without_mark(piece, path, encoding)
            done = file.tell()
            if decode:
                piece = decode.decode(piece).encode("utf-8", "surrogatepass")
            piece = held + piece
            held = b"\r" if piece.endswith(b"\r") else b""
            yield piece.removesuffix(held).replace(b"\r\n", b"\n"), done
        rest = decode.decode(b"", final=True).encode("utf-8", "surrogatepass") if decode else b""
        if held or rest:
            yield held + rest, done


def _without_mark(piece: bytes, path: Path, encoding: str) -> bytes:
    if encoding == "utf-8":
        if piece.startswith(_UTF16_MARKS):
            raise DataError(f"{path}: is UTF-16; write it as UTF-8, or declare encoding: utf-16 in schema.yaml")
        return piece.removeprefix(codecs.BOM_UTF8)
    # A BOM that the declared encoding does not know as one (gb18030 has its own) decodes to U+FEFF.
    mark = (
        "\ufeff".encode(encoding)
        if encoding in ("gb18030", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
        else b""
    )
    return piece.removeprefix(mark)
