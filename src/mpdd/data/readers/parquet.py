"""Reads parquet tables."""

from __future__ import annotations

from pathlib import Path

from mpdd.data.readers.base import Record, read_bytes, usable
from mpdd.errors import InputError


def read(path: Path) -> list[Record]:
    """Return the rows, counted from 1; raise `InputError` if the file is missing, empty or no parquet."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        rows = parquet.read_table(arrow.BufferReader(read_bytes(path))).to_pylist()
    except (arrow.ArrowException, ValueError, OSError, OverflowError) as error:  # the last: a time out of Python's range
        raise InputError(
            f"The file {path} cannot be read as parquet", found=type(error).__name__, wanted="a whole parquet file"
        ) from None
    return usable(path, [Record(f"{path} row {number}", row) for number, row in enumerate(rows, 1)])
