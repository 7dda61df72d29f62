"""Find the files of a data set, and read their text as UTF-8."""

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from recmesh.errors import DataError
from recmesh.spelling import did_you_mean

VECTORS_FILE = "product_vectors.txt"
TABLE_SUFFIXES = (".csv", ".parquet", ".tsv", ".jsonl", ".ndjson", ".xlsx", ".dat")
"""The forms of files; text may be compressed (`.csv.gz`)."""

COMPRESSIONS = (".gz", ".zst")
BLOCK_BYTES = 16 << 20

_AUXILIARY = (".bak", ".crc", ".md5", ".sha256", ".log")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_INVALID = "recmesh.invalid"
"""A codec error handler: a lone surrogate replaces invalid bytes, and "surrogatepass" encodes it as invalid UTF-8."""
codecs.register_error(_INVALID, lambda error: ("\udc80", error.end))  # type: ignore[attr-defined]


def form_of(path: Path) -> str:
    """Return the suffix that says how a file is read: .csv for a.csv, A.CSV and a.csv.gz; empty if it is none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
        if suffixes and suffixes[-1] in (".parquet", ".xlsx"):
            return ""
    form = suffixes[-1] if suffixes else ""
    return {".ndjson": ".jsonl"}.get(form, form) if form in TABLE_SUFFIXES else ""


def sources(folder: Path, stem: str, required: bool = True) -> list[Path]:
    """Return the files of one kind: `stem.csv`, `stem-2.csv`, and all in the folder `stem/` and the folders in it.

    Args:
        folder: The data set.
        stem: `users`, `products` or `actions`.
        required: Whether there must be such a file.

    Returns:
        The files in the natural order of their names (users, users-2, users-10).

    Raises:
        DataError: There is no such file, but it is required; or a file of this kind has a form that is not read.
    """
    named = [path for path in folder.iterdir() if path.is_file() and re.match(rf"{stem}(-[^.]*)?\.", path.name, re.I)]
    candidates = [*named, *_inside(folder / stem)]
    found = [path for path in candidates if form_of(path)]
    others = [path for path in candidates if path not in found and not _is_no_table(path)]
    if others:
        raise DataError(
            f"{others[0]}: not read, because its form is not known; the forms are {', '.join(TABLE_SUFFIXES)}, and "
            f".gz or .zst after the suffix of text{_zipped(others[0])}. Rename, convert or remove the file"
        )
    if required and not found:
        near = did_you_mean(f"{stem}.csv", (path.name for path in folder.iterdir() if path.name != stem))
        raise DataError(f"{folder}: no {stem}; expected {stem}.csv, {stem}-2.csv or a folder {stem}/ with files{near}")
    # Compare names without their suffix, because "-" sorts before ".".
    return sorted(found, key=lambda path: (_natural(path.relative_to(folder).with_suffix("").as_posix()), path.suffix))


def _inside(folder: Path) -> list[Path]:
    """Return all files in a folder and the folders in it, except those that Spark and Hive leave (_SUCCESS, .crc)."""
    if not folder.is_dir():
        return []
    found, seen = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(
            name for name in folders if name[0] not in "._" and os.path.realpath(Path(parent, name)) not in seen
        )
        found += [Path(parent, name) for name in files if name[0] not in "._"]
    return found


def _is_no_table(path: Path) -> bool:
    known = (".md", ".rst", ".pdf", ".html", ".yaml", ".yml", ".sql", ".py", ".ipynb", *_AUXILIARY)
    return path.suffix.lower() in known or path.stem.upper() in ("README", "LICENSE", "NOTICE", "CHANGELOG")


def _zipped(path: Path) -> str:
    return (
        "; pack it with gzip or zstd instead" if path.suffix.lower() in (".zip", ".bz2", ".xz", ".7z", ".tar") else ""
    )


def folder_keys(folder: Path, path: Path) -> dict[str, str]:
    """Return what the names of the folders between a data set and a file say: `month=2024-01` is a column `month`."""
    keys = {}
    for name in path.relative_to(folder).parts[:-1]:
        key, equals, value = name.partition("=")
        if equals:
            keys[unquote(key)] = "" if value == _HIVE_NULL else unquote(value)
    return keys


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
    first, done, held = True, 0, b""
    for raw, done in raw_blocks(path, size):
        piece = _without_mark(raw, path, encoding) if first else raw
        first = False
        text = held + (decode.decode(piece).encode("utf-8", "surrogatepass") if decode else piece)
        held = b"\r" if text.endswith(b"\r") else b""
        yield text.removesuffix(held).replace(b"\r\n", b"\n"), done
    rest = decode.decode(b"", final=True).encode("utf-8", "surrogatepass") if decode else b""
    if held or rest:
        yield held + rest, done


def raw_blocks(path: Path, size: int = BLOCK_BYTES) -> Iterator[tuple[bytes, int]]:
    """Read the bytes of a file, unpacked, in blocks.

    Yields:
        About `size` bytes, and the number of bytes of the packed file read so far.

    Raises:
        DataError: The file cannot be unpacked.
    """
    packed = path.suffix.lower()
    try:
        if packed == ".zst":
            yield from _zstd_blocks(path)
            return
        with path.open("rb") as file:
            text = gzip.GzipFile(fileobj=file) if packed == ".gz" else file
            while piece := text.read(size):
                yield piece, file.tell()
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as error:
        said = " ".join(str(error).split("\n\n")[0].split())
        if packed not in COMPRESSIONS:
            raise DataError(f"{path}: cannot be read ({said})") from error
        raise DataError(f"{path}: cannot be unpacked ({said}); text in .zst must be UTF-8") from error


def _zstd_blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    """Unpack with Polars, because Python has no zstd before 3.14."""
    lines = pl.scan_lines(path, name="line", glob=False).collect_batches(chunk_size=200_000, lazy=True)
    size, done = path.stat().st_size, 0
    for batch in lines:
        done = min(size, done + int(batch["line"].str.len_bytes().sum()))
        yield "\n".join([*batch["line"], ""]).encode(), done
    yield b"", size


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
