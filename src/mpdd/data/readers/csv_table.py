"""Reads tables of separated values, mostly with a header line: CSV with quoted cells, TSV with or without quoting."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpdd.data.readers.base import Notes, Record, check_columns, complete, read_text, texts, usable

_LONGEST_CELL = 2**31 - 1


def read(
    path: Path,
    columns: Sequence[str],
    notes: Notes,
    *,
    optional: Sequence[str] = (),
    header: Sequence[str] = (),
    delimiter: str = ",",
    quoting: bool = True,
) -> list[Record]:
    """Return the rows; cells of `columns` must be filled, those of `optional` may be blank, others are ignored.

    `header` names the columns of a file that does not do so itself in its first line.
    Rows with too few or too many cells, or with a quote that is never closed, are noted as bad. A row's line is
    the one where it ends. Raise `InputError` if the header lacks a column, or as `read_text` does.
    """
    rows = _rows(path, notes, delimiter, quoting)
    if not header:
        _, header = next(rows, ("", []))
        check_columns(path, header, (*columns, *optional))
    records = []
    for where, row in rows:
        if len(row) != len(header):
            notes.bad(where, "wrong number of cells (truncated?)", wanted=f"{len(header)} cells, not {len(row)}")
            continue
        record = Record(where, dict(zip(header, row, strict=True)))
        if complete(record, texts(columns), notes):
            records.append(record)
    return usable(path, records)


def _rows(path: Path, notes: Notes, delimiter: str, quoting: bool) -> Iterator[tuple[str, list[str]]]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(
        io.StringIO(read_text(path), newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        before = reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            notes.bad(f"{path} line {reader.line_num}", "broken quoting (truncated?)", wanted="every quote closed")
            notes.count("further lines that broken quoting takes along", reader.line_num - before - 1)
            continue
        if row:
            yield f"{path} line {reader.line_num}", row
