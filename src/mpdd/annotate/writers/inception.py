"""INCEpTION: a folder of one `.xmi` file a note (UIMA CAS XMI) and `TypeSystem.xml`, for its layers Span and Relation.

Format: https://uima.apache.org/d/uimaj-current/references.html, written by `dkpro-cassis`. Tokens are cut so that every
span is a run of whole tokens, as INCEpTION's layers want it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mpdd.annotate.answers.marks import Marked, marked
from mpdd.annotate.answers.tokens import tokens
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.annotate.writers.base import File, Origin, Writer, file_names, legal_xml
from mpdd.data.windows import sentences
from mpdd.errors import MpddError

SPAN, RELATION, ANSWER = "custom.Span", "custom.Relation", "custom.Answer"  # the first two are INCEpTION's own
_DKPRO = "de.tudarmstadt.ukp.dkpro.core.api"
TOKEN, SENTENCE = f"{_DKPRO}.segmentation.type.Token", f"{_DKPRO}.segmentation.type.Sentence"
METADATA = f"{_DKPRO}.metadata.type.DocumentMetaData"
_STRING, _FLOAT = "uima.cas.String", "uima.cas.Float"


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield the type system, then a file for each note. Raise `MpddError` where cassis is not installed."""
    system = _type_system()
    yield "TypeSystem.xml", system.to_xml().encode()
    for name, note in zip(file_names([note.id for note in notes]), notes, strict=True):
        yield f"{name}.xmi", _cas(system, note).to_xmi().encode()


def _type_system() -> Any:
    try:
        from cassis import TypeSystem
    except ImportError as error:
        raise MpddError("INCEpTION's format needs dkpro-cassis; `pip install 'mpdd[inception]'` brings it.") from error
    system = TypeSystem()
    for name in (TOKEN, SENTENCE):
        system.create_type(name)
    span, relation = system.create_type(SPAN), system.create_type(RELATION)
    answer = system.create_type(ANSWER, supertypeName="uima.cas.AnnotationBase")
    metadata = system.create_type(METADATA, supertypeName="uima.tcas.DocumentAnnotation")
    texts = ((span, "label"), (relation, "label"), (answer, "task"), (answer, "answer"), (metadata, "documentTitle"))
    for kind, name in (*texts, (metadata, "documentId")):
        system.create_feature(kind, name, _STRING)
    for name in ("Governor", "Dependent"):
        system.create_feature(relation, name, span)
    for kind in (span, relation, answer):
        system.create_feature(kind, "confidence", _FLOAT)
    return system


def _cas(system: Any, note: AnnotatedNote) -> Any:
    from cassis import Cas

    text, items = legal_xml(note.text), marked(note)
    cas = Cas(typesystem=system)
    cas.sofa_string, cas.sofa_mime = text, "text/plain"
    for kind, values in (*_surroundings(note, text, items), *_answers(note)):
        cas.add(system.get_type(kind)(**values))
    _add(cas, system, items)
    return cas


def _surroundings(note: AnnotatedNote, text: str, items: Marked) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what INCEpTION keeps beside the annotations, as (type, values): the note's id, its sentences and tokens."""
    name = legal_xml(note.id)
    named = {"language": "x-unspecified", "documentTitle": name, "documentId": name}
    yield METADATA, {"begin": 0, "end": len(text), **named}
    for start, end in sentences(text):
        yield SENTENCE, {"begin": start, "end": end}
    for token in tokens(text, [(mark.span.start, mark.span.end) for mark in items.marks]):
        if text[token.start : token.end].strip():
            yield TOKEN, {"begin": token.start, "end": token.end}


def _answers(note: AnnotatedNote) -> Iterator[tuple[str, dict[str, Any]]]:
    for answer in note.answers:
        for words in answer.categories or ([answer.answer] if answer.answer else []):
            yield ANSWER, {"task": answer.task, "answer": legal_xml(words), "confidence": answer.confidence}


def _add(cas: Any, system: Any, items: Marked) -> None:
    """Add the entities, then the relations, each at the place of its end, as INCEpTION has them."""
    span, relation = system.get_type(SPAN), system.get_type(RELATION)
    placed = {}
    for mark in items.marks:
        place = {"begin": mark.span.start, "end": mark.span.end}
        placed[mark.id] = span(**place, label=legal_xml(mark.label), confidence=mark.confidence)
        cas.add(placed[mark.id])
    for link in items.links:
        ends = {"Governor": placed[link.head.id], "Dependent": placed[link.tail.id]}
        place = {"begin": link.tail.span.start, "end": link.tail.span.end}
        cas.add(relation(**place, **ends, label=legal_xml(link.label), confidence=link.confidence))


WRITER = Writer("INCEpTION (UIMA CAS XMI)", "", files, "control characters of the text, which become spaces", needs="cassis")
