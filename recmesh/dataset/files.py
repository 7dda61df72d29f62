"""Find the files of a data set, and read their text as UTF-8."""

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

_INVALID = "recmesh.invalid"
"""A codec error handler: a lone surrogate replaces invalid bytes, and "surrogatepass" encodes it as invalid UTF-8."""
codecs.register_error(_INVALID, lambda error: ("\udc80", error.end))  # type: ignore[attr-defined]


def sources(folder: Path, stem: str, suffixes: tuple[str, ...], required: bool = True) -> list[Path]:
    """Return the files of one kind: `stem.csv`, `stem-2.csv`, and all in the folder `stem/`.

    Args:
        folder: The data set.
        stem: `users`, `products` or `actions`.
        suffixes: The accepted suffixes, the usual one first.
        required: Whether there must be such a file.

    Returns:
        The files in the natural order of their names (users, users-2, users-10).

    Raises:
        DataError: There is no such file, but it is required.
    """
    inside = folder / stem
    # Spark and Hive leave files such as _SUCCESS and .crc with the data.
    parts = [path for path in inside.iterdir() if path.name[0] not in "._"] if inside.is_dir() else []
    named = [path for path in folder.iterdir() if path.is_file() and re.match(rf"{stem}(-[^.]*)?\.", path.name)]
    found = [path for path in (*named, *parts) if path.suffix in suffixes]
    if required and not found:
        kinds = ", ".join(f"{stem}{suffix}" for suffix in suffixes)
        near = did_you_mean(f"{stem}{suffixes[0]}", (path.name for path in folder.iterdir()))
        raise DataError(f"{folder}: no {stem}; expected one of {kinds}, {stem}-2.csv or a folder {stem}/{near}")
    # Compare names without their suffix, because "-" sorts before ".".
    return sorted(found, key=lambda path: (_natural(path.relative_to(folder).with_suffix("").as_posix()), path.suffix))


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Return a sort key that gives users, users-2, users-10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def utf8_blocks(path: Path, encoding: str, size: int = BLOCK_BYTES) -> Iterator[tuple[bytes, int]]:
    """Read the text of a file in blocks of about `size` bytes.

    Bytes that are invalid in `encoding` arrive as invalid UTF-8. So the caller can find their lines, and reject only
    those.

    Yields:
        UTF-8 without BOM and with LF as line end, cut anywhere; and the number of bytes of the file read so far.

    Raises:
        DataError: The file is UTF-16, but the schema declares no encoding.
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
            raise DataError(f"{path}: the text is UTF-16; save it as UTF-8, or declare encoding: utf-16 in schema.yaml")
        return piece.removeprefix(codecs.BOM_UTF8)
    # These codecs do not remove a BOM; they decode it to U+FEFF.
    mark = (
        "\ufeff".encode(encoding)
        if encoding in ("gb18030", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
        else b""
    )
    return piece.removeprefix(mark)
