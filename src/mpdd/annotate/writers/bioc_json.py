"""BioC as one JSON file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers.base import File, Origin, Writer, json_document
from mpdd.annotate.writers.bioc import collection


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the one file."""
    yield "", json_document(collection(notes, origin))


WRITER = Writer("BioC JSON", ".json", files, "nothing")
