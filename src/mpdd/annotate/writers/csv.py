"""CSV: `entities.csv`, `relations.csv` and `answers.csv` with offsets and confidences, one row an item."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers.base import File, Origin, Writer
from mpdd.annotate.writers.rows import COLUMNS, tables


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the three tables; each has its header even where it has no row."""
    for name, rows in tables(notes).items():
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, COLUMNS[name], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        yield f"{name}.csv", buffer.getvalue().encode()


WRITER = Writer("CSV tables", "", files, "the text of the notes")
