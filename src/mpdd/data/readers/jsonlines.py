"""Reads JSON lines: one JSON object on each line, blank lines allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mpdd.data.readers.base import Notes, Record, complete, read_lines, usable


def read(path: Path, fields: Mapping[str, type], notes: Notes) -> list[Record]:
    """Return the objects that have all `fields` (name to type); bad lines are noted.

    Raise `InputError` if the file is missing, empty, not UTF-8 or without a usable record.
    """
    records = []
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            record = _record(f"{path} line {number}", line, notes)
            if record is not None and complete(record, fields, notes):
                records.append(record)
    return usable(path, records)


def _record(where: str, line: str, notes: Notes) -> Record | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        notes.bad(where, "not valid JSON (truncated?)", wanted="one JSON object on a line")
        return None
    if isinstance(values, dict):
        return Record(where, values)
    notes.bad(where, f"a JSON {type(values).__name__}", wanted="one JSON object on a line")
    return None
