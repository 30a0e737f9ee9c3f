"""Reads line-aligned files (`train.source`, `train.target`): their n-th lines are the columns of one record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpdd.data.readers.base import Record, read_lines
from mpdd.errors import InputError


def read(paths: Sequence[Path]) -> list[Record]:
    """Return a record for each line, whose columns are called by the numbers of the files, from 1 on.

    Lines may be blank. Raise `InputError` where the files have not the same number of lines, for a folder, and as
    `read_lines` does.
    """
    if folders := [path for path in paths if path.is_dir()]:
        raise InputError(f"{folders[0]} is a folder", wanted="line-aligned files, listed one by one")
    files = [_lines(path) for path in paths]
    if len({len(lines) for lines in files}) > 1:
        raise InputError(
            f"The lines of {paths[0]} and of the files listed with it do not belong together",
            found=", ".join(f"{path.name} {len(lines)} lines" for path, lines in zip(paths, files, strict=True)),
            wanted="the same number of lines in each",
        )
    return [
        Record(f"{paths[0]} line {line}", {str(column): cell for column, cell in enumerate(cells, 1)})
        for line, cells in enumerate(zip(*files, strict=True), 1)
    ]


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; what ends the last one begins no other."""
    lines = read_lines(path)
    return lines[:-1] if lines[-1] == "" else lines
