"""Records of a user's jsonl, csv, tsv or parquet as examples, by the layout of a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mpdd.data.cards import values
from mpdd.data.cards.layout import Layout, has_options
from mpdd.data.cards.values import UnfitError
from mpdd.data.passages import ELSEWHERE, gold_windows, nearest
from mpdd.data.readers import offsets
from mpdd.data.readers.base import Notes, Record
from mpdd.data.readers.offsets import Quote, Span, Starts
from mpdd.data.readers.standoff import Document, Mention, Related, in_order, pieces
from mpdd.data.splits import fingerprint
from mpdd.data.task import Answer, Example
from mpdd.data.types.extract import locate

Made = TypeVar("Made")


def examples(layout: Layout, corpus: str, records: Sequence[Record], notes: Notes) -> list[Example]:
    """Return the examples of tasks whose answers are no spans with labels; `corpus` starts their ids."""
    if layout.card.form == "extractive":
        found = _each(records, lambda r, name: _extracted(layout, corpus, r, name, notes), layout, notes)
        return list(gold_windows(found, notes))
    return list(_each(records, lambda r, name: _example(layout, corpus, r, name, _answer(layout, r)), layout, notes))


def documents(layout: Layout, records: Sequence[Record], notes: Notes) -> list[tuple[Document, str]]:
    """Return a document with its mentions and relations for each record, and the id of the document it counts as."""
    return list(_each(records, lambda r, name: (_document(layout, r, name, notes), _origin(layout, r)), layout, notes))


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
        raise UnfitError(f"field {column!r} has a value that is no label of the card", wanted=_labels_wanted(layout))
    return layout.card.labels.index(label)


def _labels_wanted(layout: Layout) -> str:
    return f"one of {', '.join(layout.card.labels)}, or a value that [data.labels] names"


def _labels(layout: Layout, record: Record, column: str) -> tuple[int, ...]:
    whole = record.values.get(column)
    said = [whole] if isinstance(whole, str) and layout.label(whole) in layout.card.labels else values.several(record, column)
    return tuple(sorted({_label(layout, value, column) for value in said}))


def _option(layout: Layout, record: Record, column: str) -> int:
    said = values.words(record, column)
    answer = layout.labels.get(said) or values.number(record[column])
    place = values.chosen(said if answer is None else answer, values.options(record, layout.names("choices")))
    if place is None:
        raise UnfitError(f"field {column!r} names no option", wanted="an option's words, its letter, or its number from 0 on")
    return place


def _extracted(layout: Layout, corpus: str, record: Record, name: str, notes: Notes) -> tuple[Example, int, int]:
    """Return a question to the whole text, and the offsets of its answer."""
    text, column = values.text(record, layout.name("text")), layout.name("answer")
    whole, given = values.text(record, column), values.place(record, layout.name("answer_start"))
    answer = whole.strip()
    said = None if given is None else Starts.of(text, [(given, whole)]).character(given, notes) + whole.index(answer)
    start = None if said is None else nearest(text, answer, said)
    found = locate(text, answer) if start is None else (start, start + len(answer))
    if found is None:
        raise UnfitError(f"field {column!r} is not in the text", wanted="words of the text")
    notes.count(ELSEWHERE, int(said not in (None, found[0])))
    return _example(layout, corpus, record, name, Answer(text=text[slice(*found)])), *found


def _document(layout: Layout, record: Record, name: str, notes: Notes) -> Document:
    text = values.text(record, layout.name("text"))
    mentions = _mentions(layout, record, text, notes)
    relations: tuple[Related, ...] = ()
    if layout.card.type == "re":
        relations = tuple(_items(record, layout.name("relations"), notes, lambda _, item: _relation(layout, mentions, item)))
    return Document(name, text, tuple(in_order(mentions.values())), relations, ())


def _mentions(layout: Layout, record: Record, text: str, notes: Notes) -> dict[str, Mention]:
    """Return the entities by what relations call them: their ids, or their places in the list where none has an id.

    Entity tasks have no relations, so that what their entities have as ids (of concepts, say) does not matter.
    """
    column = layout.name("entities")
    listed = values.listed(record, column) if layout.card.type == "re" else []
    named = any(isinstance(item, Mapping) and item.get("id") is not None for item in listed)
    mentions: dict[str, Mention] = {}
    places = _places(text, values.listed(record, column), notes)

    def add(place: int, item: Any) -> None:
        mention = _mention(layout, text, item, places.get(place))
        key = _key(item.get("id") if named and isinstance(item, Mapping) else place)
        if key in mentions:
            raise UnfitError("entity with an id that another has, or without one", wanted="an id of its own")
        mentions[key] = mention

    for _ in _items(record, column, notes, add):
        pass
    return mentions


def _key(value: Any) -> str:
    whole = values.number(value)
    return str(value if whole is None else whole)


def _items(record: Record, column: str, notes: Notes, make: Callable[[int, Any], Made]) -> Iterator[Made]:
    """Yield what `make` does of each item of a list, given its place; those that do not fit are noted as bad."""
    for place, item in enumerate(values.listed(record, column)):
        try:
            yield make(place, item)
        except UnfitError as error:
            notes.bad(f"{record.where} field {column!r} item {place + 1}", error.problem, wanted=error.wanted)


def _places(text: str, items: Sequence[Any], notes: Notes) -> dict[int, tuple[Span, ...] | None]:
    """Return, for each item of the list that has offsets, where it stands in the text (see `readers.offsets`)."""
    quotes = {place: _quote(_with_keys(item)) for place, item in enumerate(items)}
    known = {place: quote for place, quote in quotes.items() if quote is not None}
    return dict(zip(known, offsets.locate(text, known.values(), notes), strict=True))


def _with_keys(item: Any) -> Any:
    """Return an item given as [start, end, label] as a mapping with these keys; anything else as it is."""
    if isinstance(item, list | tuple) and len(item) in (2, 3):
        return dict(zip(("start", "end", "label"), item, strict=False))
    return item


def _quote(item: Any) -> Quote | None:
    if not isinstance(item, Mapping):
        return None
    start, end, words = values.number(item.get("start")), values.number(item.get("end")), item.get("text")
    return None if start is None or end is None else Quote(((start, end),), words if isinstance(words, str) else None)


def _mention(layout: Layout, text: str, item: Any, spans: tuple[Span, ...] | None) -> Mention:
    """Return an entity given as {start, end, label}, with `text` to compare if it is there, or as [start, end, label].

    It stands at `spans`. Its label matters to entity tasks only.
    """
    item = _with_keys(item)
    if not isinstance(item, Mapping):
        raise UnfitError("entity that is malformed", wanted="{start, end, label} or [start, end, label]")
    if spans is None:
        start, end = values.number(item.get("start")), values.number(item.get("end"))
        if start is None or end is None or not 0 <= start < end <= len(text) or not text[start:end].strip():
            raise UnfitError("entity with offsets outside its text", wanted=f"start and end within 0 to {len(text)}")
        raise UnfitError("entity that its offsets do not give", wanted=f"its text from {start} to {end}")
    label = layout.label(str(item.get("label")))
    if layout.card.type == "ner" and label not in layout.card.labels:
        raise UnfitError("entity with a label that the card lacks", wanted=_labels_wanted(layout))
    return Mention(label, pieces(text, spans))


def _relation(layout: Layout, mentions: Mapping[str, Mention], item: Any) -> Related:
    if not isinstance(item, Mapping):
        raise UnfitError("relation that is malformed", wanted="{label, head, tail}")
    label = layout.label(str(item.get("label")))
    if label not in layout.card.labels:
        raise UnfitError("relation with a label that the card lacks", wanted=_labels_wanted(layout))
    head, tail = (mentions.get(_key(item.get(end))) for end in ("head", "tail"))
    if head is None or tail is None:
        raise UnfitError("relation without two known entities", wanted="the ids of entities, or their places in the list from 0")
    return label, head, tail
