"""BioC: documents of passages, perhaps of sentences, with annotations at offsets that count from the document's start.

Format: https://bioc.sourceforge.net; Comeau et al. 2013, doi:10.1093/database/bat064.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpdd.data.cards.exports.base import Export, Values, converted, mappings, most
from mpdd.data.cards.items import LABEL_NAMES
from mpdd.data.cards.layout import Layout
from mpdd.data.cards.values import UnfitError, whole
from mpdd.data.readers import offsets
from mpdd.data.readers.base import Notes, Record
from mpdd.data.readers.offsets import Quote

_LABELS = ("type", *(name for name in LABEL_NAMES if name != "type"), "relation", "relation_type")
_HEADS, _TAILS = ("head", "arg1", "subject", "source", "from"), ("tail", "arg2", "object", "target", "to")


def convert(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return a record for each document, with `text`, `entities`, `relations`, and its infons as fields."""
    documents = [document for record in records for document in _documents(record)]
    return converted(documents, lambda values: _convert(values, notes), notes)


def _documents(record: Record) -> Iterator[Record]:
    """Yield the record itself, or the documents that it holds where it is a whole collection."""
    if "passages" in record.values or not isinstance(record.values.get("documents"), list):
        yield record
        return
    for number, document in enumerate(mappings(record.values["documents"]), 1):
        yield Record(f"{record.where} document {number}", document)


@dataclass
class _Piece:
    """A piece of a document's text, `start` being its offset as the file counts, with the annotations in it."""

    start: int
    text: str
    before: str  # what parts it from the piece before it
    annotations: list[Values] = field(default_factory=list)


def _convert(values: Values, notes: Notes) -> Values:
    passages = mappings(values["passages"])
    pieces = sorted((piece for passage in passages for piece in _pieces(passage)), key=lambda piece: piece.start)
    for annotation in mappings(values.get("annotations")):
        _add(pieces, annotation)
    text = ""
    entities: list[Values] = []
    for piece in pieces:
        text += piece.before if text else ""
        entities += _entities(piece, len(text), notes)
        text += piece.text
    parts = [values, *passages, *(sentence for passage in passages for sentence in mappings(passage.get("sentences")))]
    relations = [_relation(relation) for part in parts for relation in mappings(part.get("relations"))]
    return {**_infons(values), "text": text, "entities": entities, "relations": relations}


def _pieces(passage: Values) -> list[_Piece]:
    """Return a passage with the annotations of its sentences, or its sentences where it has no text of its own."""
    sentences = mappings(passage.get("sentences"))
    if passage.get("text") or not sentences:
        inside = [item for part in (passage, *sentences) for item in mappings(part.get("annotations"))]
        return [_Piece(_offset(passage), str(passage.get("text") or ""), "\n", inside)]
    pieces: list[_Piece] = []
    for sentence in sentences:
        start, text = _offset(sentence), str(sentence.get("text") or "")
        is_next = bool(pieces) and start <= pieces[-1].start + len(pieces[-1].text)
        before = "\n" if not pieces else "" if is_next else " "
        pieces.append(_Piece(start, text, before, mappings(sentence.get("annotations"))))
    for annotation in mappings(passage.get("annotations")):
        _add(pieces, annotation)
    return pieces


def _offset(part: Values) -> int:
    offset = whole(part.get("offset"))
    if offset is None:
        raise UnfitError("passage without an offset", wanted="a whole number under 'offset'")
    return offset


def _add(pieces: Sequence[_Piece], annotation: Values) -> None:
    """Put an annotation to the last piece that starts before it, or to the first."""
    spans = _spans(annotation)
    start = spans[0][0] if spans else 0
    before = [piece for piece in pieces if piece.start <= start]
    for piece in (before or list(pieces))[-1 if before else 0 :][:1]:
        piece.annotations.append(annotation)


def _entities(piece: _Piece, place: int, notes: Notes) -> Iterator[Values]:
    """Yield the annotations of a piece that stands at `place`, their offsets in characters of the whole text."""
    quotes = [_quote(annotation, piece.start) for annotation in piece.annotations]
    given = [quote for quote in quotes if quote is not None]
    located = iter(offsets.locate(piece.text, given, notes))
    for annotation, quote in zip(piece.annotations, quotes, strict=True):
        item = {key: annotation[key] for key in ("id",) if annotation.get(key) is not None} | _label(annotation)
        if quote is None:
            yield item
        elif (spans := next(located)) is None:
            yield item | {"offsets": [[start + place, end + place] for start, end in quote.spans], "text": quote.words}
        else:
            words = " ".join(piece.text[start:end] for start, end in spans)
            yield item | {"offsets": [[start + place, end + place] for start, end in spans], "text": words}


def _quote(annotation: Values, start: int) -> Quote | None:
    """Return where an annotation stands, counted from the start of its piece; None where it does not say so."""
    words = annotation.get("text")
    spans = tuple((first - start, last - start) for first, last in _spans(annotation))
    return Quote(spans, words if isinstance(words, str) and words.strip() else None) if spans else None


def _spans(annotation: Values) -> list[tuple[int, int]]:
    """Return (start, end) of each location as the file counts them; none where one of them is no whole number."""
    pairs = [(whole(item.get("offset")), whole(item.get("length"))) for item in mappings(annotation.get("locations"))]
    spans = [(start, start + length) for start, length in pairs if start is not None and length is not None]
    return spans if len(spans) == len(pairs) else []


def _relation(relation: Values) -> Values:
    """Return a relation between two annotations; of one that has more or fewer nodes its label and their number."""
    nodes = mappings(relation.get("nodes"))
    if len(nodes) != 2:
        return {**_label(relation), "nodes": len(nodes)}
    first, second = (str(node.get("role", "")).casefold() for node in nodes)
    head, tail = reversed(nodes) if first in _TAILS or second in _HEADS else nodes
    return {**_label(relation), "head": head.get("refid"), "tail": tail.get("refid")}


def _label(part: Values) -> dict[str, Any]:
    infons = _infons(part)
    return next(({"label": infons[name]} for name in _LABELS if name in infons), {})


def _infons(part: Values) -> Mapping[str, Any]:
    infons = part.get("infons")
    return infons if isinstance(infons, Mapping) else {}


def _is_document(values: Values) -> bool:
    passages = mappings(values.get("passages"))
    return bool(passages) and all("offset" in passage for passage in passages)


def _is_in(values: Values) -> bool:
    return _is_document(values) or any(map(_is_document, mappings(values.get("documents"))))


EXPORTS = (Export("bioc", 45, "BioC", most(_is_in), convert),)
