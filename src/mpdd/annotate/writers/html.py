"""HTML: one page with every note, its entities highlighted; it loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpdd.annotate.answers.highlights import page
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers.base import File, Origin, Writer


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the one page."""
    yield "", page(notes, f"{len(notes):,} annotated notes, {origin.model_version}").encode()


WRITER = Writer("HTML with highlights", ".html", files, "it is for reading only")
