"""Records of a user's jsonl, csv, tsv or parquet as examples, by the layout of a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mpdd.data.cards import items, values
from mpdd.data.cards.layout import Layout, has_options
from mpdd.data.cards.values import UnfitError
from mpdd.data.passages import ELSEWHERE, gold_windows, nearest
from mpdd.data.readers.base import Notes, Record
from mpdd.data.readers.offsets import Starts
from mpdd.data.readers.standoff import Document, in_order
from mpdd.data.splits import fingerprint
from mpdd.data.task import Answer, Example
from mpdd.data.types.extract import locate

Made = TypeVar("Made")
_NO_LABEL = -1  # as Hugging Face datasets have it


def examples(layout: Layout, corpus: str, records: Sequence[Record], notes: Notes) -> list[Example]:
    """Return the examples of tasks whose answers are no spans with labels; `corpus` starts their ids."""
    if layout.card.form == "extractive":
        found = _each(records, lambda r, name: _extracted(layout, corpus, r, name, notes), layout, notes)
        return list(gold_windows(found, notes))
    return list(_each(records, lambda r, name: _example(layout, corpus, r, name, _answer(layout, r)), layout, notes))


def documents(layout: Layout, records: Sequence[Record], notes: Notes) -> list[tuple[Document, str]]:
    """Return a document with its mentions and relations for each record, and the id of the document it counts as."""
    return list(_each(records, lambda r, name: (_document(layout, r, name, notes), _origin(layout, r)), layout, notes))


def numbered(layout: Layout, records: list[Record], notes: Notes) -> tuple[Layout, list[Record]]:
    """Return the records, and the layout with labels by number where the answers are numbers that nothing names.

    The numbers count the card's labels in their order, from 0 on, which is noted. Records with -1 have no label: they are
    left out and counted. Nothing changes where the card maps values to labels, where a number is beyond its labels, or
    where there is no 0 (such numbers may count from 1).
    """
    labels, column = layout.card.labels, layout.name("answer")
    if not labels or layout.labels or layout.card.type in ("ner", "re"):
        return layout, records
    numbers = [[values.whole(value) for value in values.as_list(record.values.get(column))] for record in records]
    seen = {number for several in numbers for number in several} - {_NO_LABEL}
    known = {str(place): label for place, label in enumerate(labels)}
    if 0 not in seen or not {str(number) for number in seen} <= set(known) or set(known) & set(labels):
        return layout, records
    labelled = [record for record, several in zip(records, numbers, strict=True) if _NO_LABEL not in several]
    meaning = ", ".join(f"{number} = {label}" for number, label in known.items())
    notes.count(f"answers that are numbers, read in the order of the card's labels: {meaning}", len(labelled))
    notes.count("records without a label (-1) left out", len(records) - len(labelled))
    return replace(layout, labels=known), labelled


def origin(text: str) -> str:
    """Return the document id of a text that has none: texts that differ only in case and punctuation are one document."""
    return f"text:{fingerprint(text)}"


def _each(records: Iterable[Record], make: Callable[[Record, str], Made], layout: Layout, notes: Notes) -> Iterator[Made]:
    """Yield what `make` does of each record and its name; records that do not fit are noted as bad."""
    seen: Counter[str] = Counter()
    for record in records:
        try:
            name = own = _name(layout, record)
            while own in seen:
                seen[name] += 1
                own = f"{name}#{seen[name]}"
            made = make(record, own)
        except UnfitError as error:
            notes.bad(record.where, error.problem, wanted=error.wanted)
            if layout.card.type in ("ner", "re"):
                items.lose_all(layout, record, error.problem, notes)
            continue
        seen[own] = 1
        notes.count("ids that an earlier record has", int(own != name))
        yield made


def _name(layout: Layout, record: Record) -> str:
    """Return the record's id, or its file and line."""
    column = layout.name("id")
    if "id" in layout.columns or not values.is_blank(record, column):
        return values.words(record, column)
    file, _, line = record.where.rpartition(" ")
    return f"{Path(file.rpartition(' ')[0]).stem}:{line}"


def _origin(layout: Layout, record: Record) -> str:
    """Return the document id: that of the file if the card says where it stands, else one by the text."""
    if "document" in layout.columns:
        return values.words(record, layout.name("document"))
    return origin(values.text(record, layout.name("text")))


def _example(layout: Layout, corpus: str, record: Record, name: str, answer: Answer) -> Example:
    card = layout.card
    return Example(
        id=f"{corpus}:{name}",
        document=_origin(layout, record),
        text=values.text(record, layout.name("text")),
        gold=answer,
        fields=tuple((field, values.words(record, layout.name(field))) for field in card.fields),
        choices=values.options(record, layout.names("choices")) if has_options(card) else (),
    )


def _answer(layout: Layout, record: Record) -> Answer:
    card, column = layout.card, layout.name("answer")
    if has_options(card):
        return Answer(choice=_option(layout, record, column))
    if card.form == "multiple":
        return Answer(labels=_labels(layout, record, column))
    if card.labels:
        return Answer(choice=_label(layout, values.words(record, column), column))
    return Answer(text=values.words(record, column))


def _label(layout: Layout, value: str, column: str) -> int:
    label = layout.label(value)
    if label not in layout.card.labels:
        raise items.unknown_label(layout, label, f"field {column!r} has a value that is no label of the card")
    return layout.card.labels.index(label)


def _labels(layout: Layout, record: Record, column: str) -> tuple[int, ...]:
    whole = record.values.get(column)
    labels = [whole] if isinstance(whole, str) and layout.label(whole) in layout.card.labels else values.several(record, column)
    return tuple(sorted({_label(layout, value, column) for value in labels}))


def _option(layout: Layout, record: Record, column: str) -> int:
    given, columns = values.words(record, column), layout.names("choices")
    answer = layout.labels.get(given) or values.number(record[column])
    names = tuple(values.named_options(values.parsed(record.values.get(columns[0])))) if len(columns) == 1 else ()
    place = values.chosen(given if answer is None else answer, values.options(record, columns), names)
    if place is None:
        raise UnfitError(f"field {column!r} names no option", wanted="an option's words, name, letter, or number from 0 on")
    return place


def _extracted(layout: Layout, corpus: str, record: Record, name: str, notes: Notes) -> tuple[Example, int, int]:
    """Return a question to the whole text, and the offsets of its answer."""
    text, column = values.text(record, layout.name("text")), layout.name("answer")
    whole, given = values.quoted(record, column), values.place(record, layout.name("answer_start"))
    answer = whole.strip()
    stated = None if given is None else Starts.of(text, [(given, whole)]).character(given, notes) + whole.index(answer)
    start = None if stated is None else nearest(text, answer, stated)
    found = locate(text, answer) if start is None else (start, start + len(answer))
    if found is None:
        raise UnfitError(f"field {column!r} is not in the text", wanted="words of the text")
    notes.count(ELSEWHERE, int(stated not in (None, found[0])))
    return _example(layout, corpus, record, name, Answer(text=text[slice(*found)])), *found


def _document(layout: Layout, record: Record, name: str, notes: Notes) -> Document:
    text = values.text(record, layout.name("text"))
    mentions = items.mentions(layout, record, text, notes)
    relations = items.relations(layout, record, mentions, notes) if layout.card.type == "re" else ()
    return Document(name, text, tuple(in_order(mentions.values())), relations, ())
