"""spaCy: one `.spacy` file (DocBin) with entities, span groups, categories and relations; it needs spaCy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.spacy_docs import doc_of
from mpdd.annotate.writers.base import File, Origin, Writer
from mpdd.errors import MpddError


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the one file. Raise `MpddError` where spaCy is not installed."""
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError as error:
        raise MpddError("spaCy's format needs spaCy; `pip install 'mpdd[spacy]'` brings it.") from error
    vocab = spacy.blank("xx").vocab
    yield "", DocBin(docs=[doc_of(vocab, note) for note in notes], store_user_data=True).to_bytes()


WRITER = Writer("spaCy DocBin", ".spacy", files, "entities that overlap others, which stand in doc.spans only", needs="spacy")
