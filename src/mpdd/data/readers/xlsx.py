"""Reads the first sheet of an Excel workbook as a table; its first row names columns, unnamed ones are ignored."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mpdd.data.readers.base import Notes, Record, check_columns, complete, read_bytes, texts, usable
from mpdd.data.readers.compressed import require_modest
from mpdd.errors import InputError


def read(path: Path, columns: Sequence[str], notes: Notes) -> list[Record]:
    """Return the rows as text, cells of `columns` filled; rows that are blank throughout are passed over.

    Raise `InputError` if the file is missing, empty, no workbook, or lacks a column.
    """
    rows = _rows(path, columns)
    records = []
    for number, cells in enumerate(rows, 2):
        if any(cells):
            record = Record(f"{path} row {number}", dict(zip(columns, cells, strict=True)))
            if complete(record, texts(columns), notes):
                records.append(record)
    return usable(path, records)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yield the cells of `columns`, row by row below the header."""
    import openpyxl

    content = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        require_modest(path, len(content), unpacked)
        sheet = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets[0]
        rows = [[_text(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
    except InputError:
        raise
    except Exception as error:  # the library raises its own, zipfile's and xml's errors alike
        raise InputError(
            f"The file {path} is not a readable Excel workbook", found=type(error).__name__, wanted="an .xlsx file"
        ) from None
    header = rows[0] if rows else []
    check_columns(path, header, columns)
    places = [header.index(name) for name in columns]
    for row in rows[1:]:
        yield [row[place] if place < len(row) else "" for place in places]


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()
