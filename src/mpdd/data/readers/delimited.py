"""Splits the text of a CSV or TSV file into rows, strictly: a row that may hold words of another one is never given as good.

The rules are those of RFC 4180: a cell with quotes, delimiters or line ends stands in double quotes, and quotes within it are
doubled. A quote that is not closed swallows the rows behind it, sometimes without any syntax error: up to the next stray quote
that happens to stand at a line's end. So lines within a quoted cell that look like rows of this table are a problem, too.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

LONGEST_CELL = 2**31 - 1
WANTED = "texts with delimiters or line ends in double quotes, and double quotes within them doubled"
UNCLOSED = "a quote that is never closed (truncated?)"
AFTER_QUOTE = "text behind a closing quote"
ESCAPED = 'a quote written as \\" (quotes must be doubled)'
STRAY = "a quote within a cell that does not begin with one"
CELLS = "wrong number of cells (truncated?)"
SWALLOWED = "lines within a cell that look like rows (a quote that is not closed?)"
_OUT_OF_STEP = (UNCLOSED, AFTER_QUOTE, ESCAPED)  # behind which it is not known where the next row begins
_LONGEST_NAME = 64  # characters of a cell that may be an id or a label
Shape = tuple[int, bool, bool, frozenset[str]]


@dataclass(frozen=True)
class Row:
    """A row, numbered from 1 with the header as 1 (blank lines are no rows), and its first and last line in the file.

    Where there is a `problem` the cells must not be used; `wanted` says what would be right, and `lost` counts further lines
    that went with them.
    """

    number: int
    first_line: int
    last_line: int
    cells: tuple[str, ...]
    problem: str = ""
    wanted: str = WANTED
    lost: int = 0


def rows(text: str, delimiter: str = ",", *, quoting: bool = True, width: int = 0, stray_quotes: bool | None = None) -> list[Row]:
    """Return all rows of a file's text, the header among them.

    Each should have `width` cells (0: as many as the first one). `stray_quotes` says whether a cell without quotes around it
    may have one in it (None: in TSV alone, where many programs quote nothing). Behind a quote that is not closed, reading
    goes on at the next line that has cells like those of the rows before it; where there is no such line, the rest is lost.
    """
    may_stray = delimiter == "\t" if stray_quotes is None else stray_quotes
    table = _Table(text, delimiter, quoting, width, None if may_stray or not quoting else _well_formed(delimiter))
    table.read()
    likeness = _Likeness(table.good())
    return [_checked(row, likeness, delimiter) for row in table.rows]


class _Lines:
    """The lines of a text as an iterator that can be set back."""

    def __init__(self, text: str) -> None:
        self.all = list(io.StringIO(text, newline=""))
        self.read = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.read >= len(self.all):
            raise StopIteration
        self.read += 1
        return self.all[self.read - 1]


class _Table:
    """The rows of a file, read one after the other."""

    def __init__(self, text: str, delimiter: str, quoting: bool, width: int, well_formed: re.Pattern[str] | None) -> None:
        csv.field_size_limit(LONGEST_CELL)
        self.lines, self.width, self.well_formed, self.rows = _Lines(text), width, well_formed, list[Row]()
        reader = partial(csv.reader, self.lines, delimiter=delimiter, strict=True)
        self.reader = reader(quoting=csv.QUOTE_MINIMAL) if quoting else reader(quoting=csv.QUOTE_NONE)

    def read(self) -> None:
        """Read all rows."""
        while row := self._next():
            self.rows.append(row)
            if row.problem in _OUT_OF_STEP:
                self._find_the_next_row()

    def good(self) -> list[Row]:
        """The rows without a problem, but for the first one, which is mostly a header."""
        return [row for row in self.rows[1:] if not row.problem]

    def _next(self) -> Row | None:
        """Read the next row that is not blank; None at the end."""
        cells, problem, first = list[str](), "", self.lines.read
        while not cells and not problem:
            first = self.lines.read
            try:
                cells = next(self.reader)
            except StopIteration:
                return None
            except csv.Error as error:
                problem = UNCLOSED if "end of data" in str(error) else AFTER_QUOTE
        raw = "".join(self.lines.all[first : self.lines.read])
        row = Row(len(self.rows) + 1, first + 1, self.lines.read, tuple(cells), problem)
        if not problem and '"' in raw and self.well_formed and not self.well_formed.fullmatch(raw):
            row = replace(row, problem=STRAY)
        if row.problem:
            return replace(row, problem=ESCAPED) if '\\"' in raw else row
        width = self.width or (len(self.rows[0].cells) if self.rows else len(cells))
        return row if len(cells) == width else replace(row, problem=CELLS, wanted=f"{width} cells, not {len(cells)}")

    def _find_the_next_row(self) -> None:
        """Go on at the first line behind that of the broken row which reads as a row like those before it, else at the end."""
        broken, likeness = self.rows[-1], _Likeness(self.good())
        good_line = next((line for line in range(broken.first_line, len(self.lines.all)) if self._is_row(line, likeness)), None)
        self.lines.read = len(self.lines.all) if good_line is None else good_line
        lost = self.lines.read - broken.first_line
        self.rows[-1] = replace(broken, last_line=self.lines.read, lost=lost)

    def _is_row(self, line: int, likeness: _Likeness) -> bool:
        if not likeness.rows:
            return False
        self.lines.read = line
        row = self._next()
        return row is not None and row.first_line == line + 1 and not row.problem and likeness.holds(row.cells)


@cache
def _well_formed(delimiter: str) -> re.Pattern[str]:
    """What a row must look like as it stands in the file."""
    mark = re.escape(delimiter)
    cell = rf'(?:"(?:[^"]|"")*+"|[^"{mark}\r\n]*+)'
    return re.compile(rf"{cell}(?:{mark}{cell})*+[\r\n]*+")


def _checked(row: Row, likeness: _Likeness, delimiter: str) -> Row:
    """The row, with a problem where lines within one of its cells look like rows of the table."""
    if row.problem or row.first_line == row.last_line:
        return row
    for column, cell in enumerate(row.cells):
        for line in list(io.StringIO(cell, newline=""))[1:]:
            if likeness.could_begin(line, delimiter) and likeness.holds(_apart(line, delimiter), text=column):
                return replace(row, problem=SWALLOWED, lost=row.last_line - row.first_line)
    return row


def _apart(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


class _Likeness:
    """What the rows of a table have in common: columns of single words that have few shapes, such as ids and labels."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        columns = list(zip(*(row.cells for row in rows), strict=True))
        self.shapes = [set(map(_shape, column)) for column in columns]
        self.longer = [{_shape(f"0{cell}") for cell in column if cell.isdecimal()} for column in columns]  # numbers grow
        self._telling: dict[int, bool] = {}
        self._names: dict[tuple[int, ...], Counter[tuple[str, ...]]] = {}

    def holds(self, cells: Sequence[str], *, text: int | None = None) -> bool:
        """Whether cells could be a row of the table, judged by all columns but `text`, and no row that is there already.

        Where no column tells, they could not.
        """
        if len(cells) != len(self.shapes):
            return False
        telling = tuple(column for column in range(len(cells)) if column != text and self._is_telling(column))
        alike = all(self._is_alike(column, cells[column]) for column in telling)
        return bool(telling) and alike and self._count(telling, cells) != 1

    def _is_telling(self, column: int) -> bool:
        """Whether a column holds names: single words of few shapes."""
        if column not in self._telling:
            shapes = self.shapes[column]
            blank_or_several = any(length == 0 or " " in marks for length, _, _, marks in shapes)
            self._telling[column] = len(shapes) <= max(1, len(self.rows) // 2) and not blank_or_several
        return self._telling[column]

    def _is_alike(self, column: int, cell: str) -> bool:
        shape = _shape(cell)
        return shape in self.shapes[column] or shape in self.longer[column]

    def could_begin(self, line: str, delimiter: str) -> bool:
        """Whether a line may be one that `holds`: a quick look at its delimiters and its first cell."""
        if not self.shapes or line.count(delimiter) < len(self.shapes) - 1:
            return False
        first = line.partition(delimiter)[0]
        return first.startswith('"') or not self._is_telling(0) or self._is_alike(0, first)

    def _count(self, columns: tuple[int, ...], cells: Sequence[str]) -> int:
        """In how many rows these columns have these cells: in one where they name the row."""
        if columns not in self._names:
            self._names[columns] = Counter(tuple(row.cells[column] for column in columns) for row in self.rows)
        return self._names[columns][tuple(cells[column] for column in columns)]


def _shape(cell: str) -> Shape:
    """The length of a cell and the kinds of characters in it."""
    if len(cell) > _LONGEST_NAME:
        return 0, False, False, frozenset(" ")  # a text
    marks = frozenset(character for character in cell if not character.isalnum())
    return len(cell), any(map(str.isalpha, cell)), any(map(str.isdigit, cell)), marks
