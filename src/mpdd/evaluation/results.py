"""`results.json`: written and read whole; the one place that other modules take rows and tables from.

The file is a contract, described field by field in `docs/results_schema.md`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from mpdd.errors import InputError, in_words
from mpdd.evaluation.row import HEADLINES, METHODS, SEE_SCHEMA, TASK_TYPES, Row, row_order
from mpdd.evaluation.table import Cell, Column, Line, Table, results_table, results_tables

__all__ = [
    "HEADLINES",
    "METHODS",
    "SCHEMA",
    "TASK_TYPES",
    "Cell",
    "Column",
    "Line",
    "Row",
    "Table",
    "read_json",
    "read_results",
    "results_table",
    "results_tables",
    "write_atomically",
    "write_results",
]

SCHEMA = 1
_SHOWN_PROBLEMS = 8


def write_results(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows in their fixed order, all or nothing; raise `InputError` for no rows or rows of the same name."""
    ordered = sorted(rows, key=row_order)
    if not ordered:
        raise InputError(f"There are no results to write to {path}", wanted="one row or more")
    _check_distinct(path, ordered)
    document = {"schema": SCHEMA, "rows": [asdict(row) for row in ordered]}
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text to a file beside `path` and move it there, so that no reader sees half of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_results(path: Path) -> tuple[Row, ...]:
    """Read what `write_results` wrote, in its order; raise `InputError` with every problem of the file."""
    document = read_json(path)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA or isinstance(schema, bool) or not isinstance(document.get("rows"), list):
        raise InputError(
            f"{path} is not a results file this version can read",
            found=f"schema {schema!r}" if schema is not None else "no schema",
            wanted=f'{{"schema": {SCHEMA}, "rows": [...]}}',
            next_step=SEE_SCHEMA,
        )
    if not document["rows"]:
        raise InputError(f"{path} has no rows", wanted="one row or more", next_step="Run the comparison again.")
    rows = sorted(_rows(path, document["rows"]), key=row_order)
    _check_distinct(path, rows)
    return tuple(rows)


def read_json(path: Path) -> Any:
    """Return a JSON file's content; raise `InputError` where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", wanted="a file of a run") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read", found=in_words(error), wanted="a UTF-8 text file") from error
    if not text.strip():
        raise InputError(f"{path} is empty", wanted="JSON", next_step="Run the comparison again.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON", found=f"{error.msg} in line {error.lineno}") from error


def _rows(path: Path, values: Sequence[Any]) -> list[Row]:
    rows, problems = [], []
    for number, value in enumerate(values, start=1):
        try:
            rows.append(Row.from_dict(value if isinstance(value, dict) else {}))
        except InputError as error:
            problems.append(f"row {number}: {error}")
    if problems:
        more = f" and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        raise InputError(f"{path} has unfit rows", found=" ".join(problems[:_SHOWN_PROBLEMS]) + more)
    return rows


def _check_distinct(path: Path, ordered: Sequence[Row]) -> None:
    twice = [after for before, after in pairwise(ordered) if row_order(before) == row_order(after)]
    if twice:
        names = dict.fromkeys(f"{r.backbone} {r.target} {r.shots} shots {r.method} {r.metric} seed {r.seed}" for r in twice)
        raise InputError(
            f"{path} has two rows for the same score",
            found=", ".join(list(names)[:_SHOWN_PROBLEMS]),
            wanted="one row for each backbone, target, shots, method, metric and seed",
        )
