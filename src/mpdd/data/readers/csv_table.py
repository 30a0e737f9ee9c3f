"""Reads tables of separated values, mostly with a header line: CSV with quoted cells, TSV with or without quoting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mpdd.data.readers import delimited
from mpdd.data.readers.base import Notes, Record, check_columns, complete, read_text, texts, usable
from mpdd.data.readers.delimited import Row
from mpdd.errors import InputError


def read(
    path: Path,
    columns: Sequence[str],
    notes: Notes,
    *,
    optional: Sequence[str] = (),
    header: Sequence[str] = (),
    delimiter: str = ",",
    quoting: bool = True,
    stray_quotes: bool | None = None,
) -> list[Record]:
    """Return the rows; cells of `columns` must be filled, those of `optional` may be blank, others are ignored.

    `header` names the columns of a file that does not do so itself in its first line; `quoting` and `stray_quotes` are as in
    `delimited.rows`.
    Rows that are not as that wants them are noted as bad, with the lines that they take along. A row's line is
    the one where it ends. Raise `InputError` if the header lacks a column, or as `read_text` does.
    """
    rows = delimited.rows(read_text(path), delimiter, quoting=quoting, width=len(header), stray_quotes=stray_quotes)
    if not header:
        header, rows = header_of(path, rows), rows[1:]
        check_columns(path, header, (*columns, *optional))
    records = []
    for row in rows:
        if row.problem:
            notes.bad(f"{path} line {row.first_line}", row.problem, wanted=row.wanted)
            notes.count("further lines that broken quoting takes along", row.lost)
            continue
        record = Record(f"{path} line {row.last_line}", dict(zip(header, row.cells, strict=True)))
        if complete(record, texts(columns), notes):
            records.append(record)
    return usable(path, records)


def read_headerless(path: Path, notes: Notes, *, delimiter: str) -> list[Record]:
    """Return the rows of a file without a header line; its columns are called by their numbers, from 1 on.

    Each row has as many cells as most have. Other rows are noted as bad; errors are those of `read`.
    """
    content = read_text(path)
    widths = Counter(len(row.cells) for row in delimited.rows(content, delimiter) if row.cells)
    width = max(widths, key=lambda number: widths[number], default=1)
    return read(path, (), notes, header=tuple(str(number) for number in range(1, width + 1)), delimiter=delimiter)


def header_of(path: Path, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the cells of the first row; raise `InputError` where it cannot be read."""
    if rows and rows[0].problem:
        raise InputError(f"The header of {path} cannot be read", found=rows[0].problem, wanted=delimited.WANTED)
    return rows[0].cells if rows else ()
