"""Parquet: `entities.parquet`, `relations.parquet` and `answers.parquet` with offsets and confidences, one row an item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers.base import File, Origin, Writer
from mpdd.annotate.writers.rows import COLUMNS, INTEGERS, tables


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the three tables, with the same column types whatever their rows are."""
    import pyarrow
    from pyarrow import parquet

    for name, rows in tables(notes).items():
        schema = pyarrow.schema([(column, _type(column)) for column in COLUMNS[name]])
        sink = pyarrow.BufferOutputStream()
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), sink)
        yield f"{name}.parquet", sink.getvalue().to_pybytes()


def _type(column: str) -> Any:
    import pyarrow

    if column in INTEGERS:
        return pyarrow.int64()
    return {"confidence": pyarrow.float64(), "unparseable": pyarrow.bool_()}.get(column, pyarrow.string())


WRITER = Writer("Parquet tables", "", files, "the text of the notes")
