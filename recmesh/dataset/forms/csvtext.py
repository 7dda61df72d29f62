"""Split CSV text into rows, so that a broken row affects no other row.

Most lines are plain: complete rows on one line, with the right number of separators and only simple quotes. NumPy finds
them, and Polars parses them in one call. Python's csv module parses the other lines, one record at a time. It reads
rows with escaped quotes or with line breaks inside quotes; rows with a wrong number of columns or an unclosed quote are
rejected with their line number. docs/adr/018-csv-rows-with-line-numbers.md says why no CSV library does this.
"""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recmesh.dataset.forms.escapes import ESCAPED_NEWLINE

QUOTE, NEWLINE = ord('"'), ord("\n")

MAX_CELL_LINES, MAX_CELL_BYTES = 1000, 128 << 10
"""In a text that is not well-formed, a quoted cell that is longer than either limit counts as unclosed."""

MAX_ROW_BYTES = 16 << 20
"""A text with a longer row is not well-formed."""

UNCLOSED = "unclosed or misplaced quote"
ESCAPED = UNCLOSED + r'; \" needs escape: "\\" in schema.yaml'
AMBIGUOUS = "a quoted cell extends over lines that are complete rows by themselves"
NOT_UTF8 = "not valid in the declared encoding (declare encoding: in schema.yaml)"

_Bools = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Record:
    """A row that the csv module parsed. `line` is the number of its first line."""

    line: int
    cells: list[str]
    text: str


@dataclass(frozen=True)
class Broken:
    """Text that is not a row of this file, with the reason."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class Rows:
    """The rows of one block of text. Plain row k is `block[starts[k]:ends[k]]`, on line `lines[k]`.

    `plain` holds the plain rows alone, as CSV; `quoted` says whether there are quotes in the block.
    """

    block: bytes
    plain: bytes
    quoted: bool
    lines: _Ints
    starts: _Ints
    ends: _Ints
    records: list[Record] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def text(self, row: int) -> str:
        """Return the original line of a plain row."""
        return self.block[self.starts[row] : self.ends[row]].decode()


class RecordSplitter:
    """Splits well-formed text (`is_well_formed`), block by block. Its cells may extend over lines and contain anything.

    Rows with a wrong number of columns or invalid bytes are rejected, one by one.

    Args:
        width: The number of columns that a row must have.
        separator: One character.
        first_line: The number of the first line.
    """

    def __init__(self, width: int, separator: str = ",", first_line: int = 1) -> None:
        self._width = width
        self.separator = separator
        self._line = first_line
        self._held = b""

    def feed(self, text: bytes, final: bool = False) -> Rows:
        """Return the rows that `text` completes.

        An incomplete row is kept for the next call. `final` says that this call is the last, so that nothing is kept.
        """
        block = self._held + text
        if final and block and not block.endswith(b"\n"):
            block += b"\n"
        lines = _Records(block, ord(self.separator))
        end = int(lines.ends[-1]) + 1 if lines.count else 0
        whole, self._held = block[:end], block[end:]
        cells = lines.separators + 1
        valid = _valid_utf8(whole, lines)
        ok = (cells == self._width) & valid & ~lines.blank
        numbers = self._line + lines.lines
        broken = []
        for i in np.flatnonzero(~ok & ~lines.blank).tolist():
            reason = f"{cells[i]} columns instead of {self._width}" if valid[i] else NOT_UTF8
            broken.append(Broken(int(numbers[i]), reason, lines.text(i, i).decode(errors="backslashreplace")))
        self._line += whole.count(b"\n") + whole.count(ESCAPED_NEWLINE)
        quoted = b'"' in whole
        if ok.all():
            return Rows(whole, whole, quoted, numbers, lines.starts, lines.ends)
        return Rows(whole, lines.joined(ok), quoted, numbers[ok], lines.starts[ok], lines.ends[ok], [], broken)


class Splitter:
    """Splits the text of one file, block by block, and repairs what it can.

    Args:
        width: The number of columns that a row must have.
        separator: One character.
        quotes: Whether quotes enclose cells; otherwise they are ordinary characters.
        first_line: The number of the first line.
    """

    def __init__(self, width: int, separator: str = ",", quotes: bool = True, first_line: int = 1) -> None:
        self._width = width
        self.separator = separator
        self._quotes = quotes
        self._line = first_line
        self._held = b""

    def feed(self, text: bytes, final: bool = False) -> Rows:
        """Return the rows that `text` completes.

        An incomplete row is kept for the next call. `final` says that this call is the last, so that nothing is kept.
        """
        block = self._held + text
        if final and block and not block.endswith(b"\n"):
            block += b"\n"
        whole = block[: block.rfind(b"\n") + 1]
        lines = _Lines(whole, ord(self.separator), self._quotes)
        ok = lines.plain(self._width) & _valid_utf8(whole, lines)
        records, broken, kept = self._others(lines, ok, final)
        taken = int(lines.starts[kept]) if kept < lines.count else len(whole)
        self._held = block[taken:]
        ok[kept:] = False
        rows = np.flatnonzero(ok)
        plain = whole if len(rows) == lines.count else lines.joined(ok)
        numbers = lines.lines[rows] + self._line
        self._line += kept + whole[:taken].count(ESCAPED_NEWLINE)
        return Rows(whole, plain, lines.quoted, numbers, lines.starts[rows], lines.ends[rows], records, broken)

    def _others(self, lines: "_Lines", ok: _Bools, final: bool) -> tuple[list[Record], list[Broken], int]:
        """Parse every line that is not plain, and clear in `ok` the lines that belong to another row.

        The third result is the first line that must wait for the next block.
        """
        records: list[Record] = []
        broken: list[Broken] = []
        free = 0
        for i in np.flatnonzero(~ok & ~lines.blank).tolist():
            if i < free:
                continue
            read = self._read(lines, ok, i, final)
            if read is None:
                return records, broken, i
            result, free = read
            ok[i:free] = False
            if isinstance(result, Record):
                records.append(result)
            else:
                broken.append(result)
        return records, broken, lines.count

    def _read(self, lines: "_Lines", ok: _Bools, i: int, final: bool) -> tuple[Record | Broken, int] | None:
        """Return the row that begins at line `i` and the line after it; None if it may continue in the next block."""
        number = self._line + int(lines.lines[i])
        last = i
        while True:
            raw = lines.text(i, last)
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                return Broken(number, NOT_UTF8, lines.text(i, i).decode(errors="backslashreplace")), i + 1
            cells = _parse(text, self.separator) if lines.quoted else text.split(self.separator)
            if cells is not None:
                break
            following = lines.next_quote(last)
            too_long = (following or lines.count) - i > MAX_CELL_LINES or len(raw) > MAX_CELL_BYTES
            if following is None and not final and not too_long:
                return None
            if following is None or too_long:
                return _unclosed(number, lines.text(i, i).decode()), i + 1
            last = following
        if not cells:
            return _unclosed(number, lines.text(i, i).decode()), i + 1
        if len(cells) != self._width:
            first = lines.text(i, i).decode() if last > i else text
            if last > i or '\\"' in first:
                return _unclosed(number, first), i + 1
            return Broken(number, f"{len(cells)} columns instead of {self._width}", first), i + 1
        if last > i and self._ambiguous(lines, ok, i, last):
            return Broken(number, AMBIGUOUS, text), last + 1
        return Record(number, cells, text), last + 1

    def _ambiguous(self, lines: "_Lines", ok: _Bools, first: int, last: int) -> bool:
        """Whether a cell over several lines could also be an unclosed quote that has swallowed rows."""
        ends_are_rows = bool((lines.separators[[first, last]] == self._width - 1).all())
        return ends_are_rows or bool(ok[first + 1 : last].any())


class _Records:
    """The positions of the rows of a block of well-formed text.

    Attributes:
        ends: Of the complete rows.
        starts: Likewise.
        separators: Number of separators between cells, in each row.
        blank: Whether a row is empty, or consists of separators alone.
        lines: Number of lines in the block before each row.
    """

    def __init__(self, block: bytes, separator: int) -> None:
        self._block = block
        self._bytes = np.frombuffer(block, dtype=np.uint8)
        quotes = np.flatnonzero(self._bytes == QUOTE) if b'"' in block else np.empty(0, dtype=np.int64)
        newlines = np.flatnonzero(self._bytes == NEWLINE)
        self.ends: _Ints = _outside(newlines, quotes)
        self.count = len(self.ends)
        self.starts: _Ints = np.concatenate([[0], self.ends[:-1] + 1]) if self.count else self.ends
        between = _outside(np.flatnonzero(self._bytes == separator), quotes)
        self.separators: _Ints = np.diff(np.searchsorted(between, self.ends), prepend=0)
        self.blank: _Bools = self.ends - self.starts == self.separators
        before = np.searchsorted(newlines, self.starts) if len(quotes) else np.arange(self.count)
        self.lines: _Ints = _with_hidden_lines(before, block, self.starts)

    def text(self, first: int, last: int) -> bytes:
        """Return rows `first` to `last`, without the final line end."""
        return self._block[self.starts[first] : self.ends[last]]

    def joined(self, keep: _Bools) -> bytes:
        """Join the selected rows."""
        whole = self._bytes[: int(self.ends[-1]) + 1] if self.count else self._bytes[:0]
        return whole[np.repeat(keep, self.ends - self.starts + 1)].tobytes()


def _outside(positions: _Ints, quotes: _Ints) -> _Ints:
    """Return the positions that are not within quotes."""
    return positions[np.searchsorted(quotes, positions) % 2 == 0] if len(quotes) else positions


def _with_hidden_lines(lines: _Ints, block: bytes, starts: _Ints) -> _Ints:
    """Add the escaped line breaks before each row to the number of lines before it."""
    if ESCAPED_NEWLINE not in block:
        return lines
    breaks = np.array([found.start() for found in re.finditer(re.escape(ESCAPED_NEWLINE), block)])
    return lines + np.searchsorted(breaks, starts)


def is_well_formed(blocks: Iterable[bytes], width: int, separator: str) -> bool:
    """Whether quotes in a text are as RFC 4180 wants them: around whole cells, closed, and doubled within cells.

    If so, no row has swallowed others, and line breaks in quoted cells are part of them. A row of one line with a wrong
    number of columns does no harm to others, so it does not count; a row over several lines with such a number does.
    """
    state = _State(ord(separator), width)
    return all(state.accepts(block) for block in blocks) and state.accepts(b"\n") and state.closed()


class _State:
    """How far `is_well_formed` has come.

    Each block is judged together with the unfinished row before it.
    """

    def __init__(self, separator: int, width: int) -> None:
        self._separator, self._width = separator, width
        self._held = b""

    def closed(self) -> bool:
        """Whether no row is unfinished."""
        return not self._held

    def accepts(self, text: bytes) -> bool:
        """Whether the quotes in all complete rows are well-formed."""
        block = self._held + text
        if b'"' not in block:
            self._held = block[block.rfind(b"\n") + 1 :]
            return True
        records = _Records(block, self._separator)
        end = int(records.ends[-1]) + 1 if records.count else 0
        self._held = block[end:]
        if len(self._held) > MAX_ROW_BYTES:
            return False
        data = np.frombuffer(block, dtype=np.uint8)[:end]
        quotes = np.flatnonzero(data == QUOTE)
        # Row ends are outside of quotes, so the quotes of complete rows alternately open and close.
        before, after = data[quotes[::2] - 1], data[quotes[1::2] + 1]
        before[quotes[::2] == 0] = NEWLINE
        if not (self._delimits(before).all() and self._delimits(after).all()):
            return False
        several = (
            np.diff(records.lines, append=records.lines[-1:] + 1) > 1 if records.count else np.zeros(0, dtype=bool)
        )
        if records.count:
            several[-1] = b"\n" in records.text(records.count - 1, records.count - 1)
        return not bool((several & (records.separators != self._width - 1)).any())

    def _delimits(self, neighbours: npt.NDArray[np.uint8]) -> _Bools:
        found: _Bools = (neighbours == self._separator) | (neighbours == NEWLINE) | (neighbours == QUOTE)
        return found


class _Lines:
    """The positions of lines, quotes and separators in a block."""

    def __init__(self, block: bytes, separator: int, quotes: bool) -> None:
        self._block = block
        self._bytes = np.frombuffer(block, dtype=np.uint8)
        self._separator = separator
        self.ends: _Ints = np.flatnonzero(self._bytes == NEWLINE)
        self.count = len(self.ends)
        self.starts: _Ints = np.concatenate([[0], self.ends[:-1] + 1]) if self.count else self.ends
        self._separators: _Ints = np.flatnonzero(self._bytes == separator)
        self.separators: _Ints = self._per_line(self._separators)
        self.blank: _Bools = self.ends - self.starts == self.separators
        self.lines: _Ints = _with_hidden_lines(np.arange(self.count), block, self.starts)
        self.quoted = quotes and b'"' in block
        self._quotes: _Ints = np.flatnonzero(self._bytes == QUOTE) if self.quoted else np.empty(0, dtype=np.int64)
        self._quotes_per_line = self._per_line(self._quotes)
        self._lines_with_quotes: _Ints = np.flatnonzero(self._quotes_per_line)

    def _per_line(self, positions: _Ints) -> _Ints:
        return np.diff(np.searchsorted(positions, self.ends), prepend=0)

    def text(self, first: int, last: int) -> bytes:
        """Return lines `first` to `last`, without the final line end."""
        return self._block[self.starts[first] : self.ends[last]]

    def next_quote(self, line: int) -> int | None:
        """Return the next line after `line` that contains a quote."""
        k = int(np.searchsorted(self._lines_with_quotes, line, side="right"))
        return int(self._lines_with_quotes[k]) if k < len(self._lines_with_quotes) else None

    def joined(self, keep: _Bools) -> bytes:
        """Join the selected lines."""
        return self._bytes[np.repeat(keep, self.ends - self.starts + 1)].tobytes()

    def plain(self, width: int) -> _Bools:
        """Return a mask of the lines that are complete rows of `width` cells, and whose quotes enclose entire cells."""
        if not self.quoted:
            complete: _Bools = (self.separators == width - 1) & ~self.blank
            return complete
        first_quote = np.cumsum(self._quotes_per_line) - self._quotes_per_line
        line = np.searchsorted(self.ends, self._quotes)
        opening = (np.arange(len(self._quotes)) - first_quote[line]) % 2 == 0
        outside = np.where(opening, self._quotes - 1, self._quotes + 1)
        neighbour = np.where(outside < 0, NEWLINE, self._bytes[outside])
        misplaced = (neighbour != self._separator) & (neighbour != NEWLINE)
        simple = (self._quotes_per_line % 2 == 0) & (np.bincount(line[misplaced], minlength=self.count) == 0)
        line = np.searchsorted(self.ends, self._separators)
        inside = (np.searchsorted(self._quotes, self._separators) - first_quote[line]) % 2 == 1
        cells = 1 + np.bincount(line[~inside], minlength=self.count)
        plain: _Bools = simple & (cells == width) & ~self.blank
        return plain


def _unclosed(line: int, text: str) -> Broken:
    return Broken(line, ESCAPED if '\\"' in text else UNCLOSED, text)


def _parse(text: str, separator: str) -> list[str] | None:
    """Return the cells of one record; [] if `text` is not a record, None if a quote is still open."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        records = list(reader)
    except csv.Error as error:
        return None if "unexpected end of data" in str(error) else []
    return records[0] if len(records) == 1 else []


def _valid_utf8(block: bytes, lines: _Lines | _Records) -> _Bools:
    valid = np.ones(lines.count, dtype=bool)
    try:
        block.decode()
    except UnicodeDecodeError:
        for i in range(lines.count):
            try:
                lines.text(i, i).decode()
            except UnicodeDecodeError:
                valid[i] = False
    return valid
