"""Entities and relations of a record, as lists of objects whose keys may be ours or those of annotation tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from mpdd.data.cards import values
from mpdd.data.cards.layout import Layout
from mpdd.data.cards.names import names_seen
from mpdd.data.cards.values import UnfitError
from mpdd.data.readers import offsets
from mpdd.data.readers.base import ENTITY, NOT_ON_CARD, RELATION, Notes, Record
from mpdd.data.readers.offsets import Quote, Span
from mpdd.data.readers.standoff import Mention, Related, pieces

Made = TypeVar("Made")
LABEL_NAMES = ("label", "labels", "tag_name", "tag", "type", "entity_type", "entity_group", "category", "class")
ENTITY_KEYS = {
    "start": ("start", "start_offset", "startOffset", "start_char", "begin"),
    "end": ("end", "end_offset", "endOffset", "end_char", "stop"),
    "label": LABEL_NAMES,
    "text": ("text", "value", "quote", "surface", "word"),
}
RELATION_KEYS = {
    "label": ("label", "labels", "type", "relation", "relation_type"),
    "head": ("head", "from_id", "head_id", "arg1_id", "from", "source", "subject"),
    "tail": ("tail", "to_id", "child", "tail_id", "arg2_id", "to", "target", "object"),
}


class UnknownLabelError(UnfitError):
    """The label of an annotation is none of the card."""


def mentions(layout: Layout, record: Record, text: str, notes: Notes) -> dict[str, Mention]:
    """Return the entities by what relations call them: their ids, or their places in the list where none has an id.

    Entity tasks have no relations, so that what their entities have as ids (of concepts, say) does not matter.
    """
    column = layout.name("entities")
    listed = values.listed(record, column)
    has_ids = any(isinstance(item, Mapping) and item.get("id") is not None for item in listed)
    named = layout.card.type == "re" and has_ids
    places = _places(text, listed, notes)
    mention_of: dict[str, Mention] = {}

    def add(place: int, item: Any) -> None:
        mention = _mention(layout, text, item, places.get(place))
        key = _key(item.get("id") if named and isinstance(item, Mapping) else place)
        if key in mention_of:
            raise UnfitError("entity with an id that another has, or without one", wanted="an id of its own")
        mention_of[key] = mention

    for _ in _each(record, column, listed, notes, ENTITY, add):
        pass
    return mention_of


def relations(layout: Layout, record: Record, entities: Mapping[str, Mention], notes: Notes) -> tuple[Related, ...]:
    """Return the relations between the `entities`; those that do not fit are noted as bad."""
    column = layout.name("relations")
    listed = values.listed(record, column)
    return tuple(_each(record, column, listed, notes, RELATION, lambda _, item: _relation(layout, entities, item)))


def lose_all(layout: Layout, record: Record, problem: str, notes: Notes) -> None:
    """Note the annotations of a record that cannot be used as lost."""
    for column, kind in (("entities", ENTITY), ("relations", RELATION)):
        try:
            listed = values.listed(record, layout.name(column))
        except UnfitError:
            continue
        for item in listed:
            notes.lose((kind, label_of(item)), problem)


def label_of(item: Any) -> str:
    """Return the label of an item as the file has it, "" where it has none."""
    item = _with_keys(item)
    label = _get(item, LABEL_NAMES) if isinstance(item, Mapping) else None
    label = label[0] if isinstance(label, list) and len(label) == 1 else label
    return label if isinstance(label, str) else ""


def _each(
    record: Record, column: str, listed: Sequence[Any], notes: Notes, kind: str, make: Callable[[int, Any], Made]
) -> Iterator[Made]:
    """Yield what `make` does of each item, given its place; those that do not fit are noted as bad, and as a lost `kind`."""
    for place, item in enumerate(listed):
        try:
            yield make(place, item)
        except UnfitError as error:
            notes.bad(f"{record.where} field {column!r} item {place + 1}", error.problem, wanted=error.wanted)
            notes.lose((kind, label_of(item)), NOT_ON_CARD if isinstance(error, UnknownLabelError) else error.problem)


def _places(text: str, listed: Sequence[Any], notes: Notes) -> dict[int, tuple[Span, ...] | None]:
    """Return, for each item of the list that has offsets, where it stands in the text (see `readers.offsets`)."""
    quotes = {place: quote for place, item in enumerate(listed) if (quote := _quote(_with_keys(item)))}
    return dict(zip(quotes, offsets.locate(text, quotes.values(), notes), strict=True))


def _with_keys(item: Any) -> Any:
    """Return an item given as [start, end, label] as an object with these keys; anything else as it is."""
    if isinstance(item, list | tuple) and len(item) in (2, 3):
        return dict(zip(("start", "end", "label"), item, strict=False))
    return item


def _quote(item: Any) -> Quote | None:
    """Return the offsets of an item with the words that it quotes, if any; None where it has no offsets."""
    if not isinstance(item, Mapping):
        return None
    try:
        spans = _spans(item)
    except UnfitError:
        return None
    words = _get(item, ENTITY_KEYS["text"])
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        words = " ".join(words)
    return Quote(tuple(spans), words if isinstance(words, str) else None)


def _mention(layout: Layout, text: str, item: Any, spans: tuple[Span, ...] | None) -> Mention:
    """Return the entity of an object or of [start, end, label]; it stands at `spans` (None: nowhere).

    Its label matters to entity tasks only.
    """
    item = _with_keys(item)
    if not isinstance(item, Mapping):
        raise UnfitError("entity that is malformed", wanted="{start, end, label} or [start, end, label]")
    if spans is None:
        for start, end in _spans(item):
            if not 0 <= start < end <= len(text) or not text[start:end].strip():
                wanted = f"start and end within 0 to {len(text)}"
                raise UnfitError("entity with offsets outside its text", wanted=wanted)
        raise UnfitError("entity that its offsets do not give", wanted="the text that stands at its offsets")
    return Mention(_entity_label(layout, item), pieces(text, spans))


def _spans(item: Mapping[str, Any]) -> list[Span]:
    """Return (start, end) of an entity, several where its `offsets` list them; raise `UnfitError` for a missing key."""
    listed = item.get("offsets")
    if isinstance(listed, list) and listed:
        pairs = [tuple(pair) if isinstance(pair, list | tuple) else () for pair in listed]
    else:
        pairs = [(_take("entity", item, ENTITY_KEYS["start"]), _take("entity", item, ENTITY_KEYS["end"]))]
    spans = [(values.number(pair[0]), values.number(pair[1])) for pair in pairs if len(pair) == 2]
    whole = [(start, end) for start, end in spans if start is not None and end is not None]
    if len(whole) < len(pairs):
        raise UnfitError("entity with offsets outside its text", wanted="start and end as whole numbers")
    return whole


def _entity_label(layout: Layout, item: Mapping[str, Any]) -> str:
    if layout.card.type != "ner":
        return layout.label(str(_get(item, LABEL_NAMES)))
    label = layout.label(_single(_take("entity", item, LABEL_NAMES), "entity"))
    if label not in layout.card.labels:
        raise unknown_label(layout, label, "entity with a label that the card lacks")
    return label


def _relation(layout: Layout, entities: Mapping[str, Mention], item: Any) -> Related:
    if not isinstance(item, Mapping):
        raise UnfitError("relation that is malformed", wanted="{label, head, tail}")
    given, *ends = (_take("relation", item, names) for names in RELATION_KEYS.values())
    label = layout.label(_single(given, "relation"))
    if label not in layout.card.labels:
        raise unknown_label(layout, label, "relation with a label that the card lacks")
    head, tail = (entities.get(_key(end)) for end in ends)
    if head is None or tail is None:
        raise UnfitError("relation without two known entities", wanted="ids of entities, or their places from 0 on")
    return label, head, tail


def unknown_label(layout: Layout, label: str, problem: str) -> UnknownLabelError:
    """Return the error for a value that is no label; one that is but for its case is no text of a note, and named."""
    if meant := layout.in_another_case(label):
        problem += f": {' '.join(label.split())!r}, not {meant!r}"
        return UnknownLabelError(problem, wanted=f"{meant!r}, or ignore_case = true under [data] of the card")
    return UnknownLabelError(problem, wanted=labels_wanted(layout))


def labels_wanted(layout: Layout) -> str:
    """Return the words, for a message, that say what a label may be."""
    return f"one of {', '.join(layout.card.labels)}, or a value that [data.labels] names"


def _take(kind: str, item: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the value of the first of these keys that is there; raise `UnfitError` naming the key that is missing."""
    if all(name not in item for name in names):
        problem = f"{kind} without the key {names[0]!r} (found {names_seen(item, names)})"
        raise UnfitError(problem, wanted=repr(names[0]))
    return _get(item, names)


def _get(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if name in item), None)


def _single(value: Any, kind: str) -> str:
    """Return a label, which some tools write as a list of one."""
    if isinstance(value, list | tuple):
        if len(value) != 1:
            raise UnfitError(f"{kind} with {'several labels' if value else 'no label'}", wanted="one label")
        value = value[0]
    return str(value)


def _key(value: Any) -> str:
    whole = values.number(value)
    return str(value if whole is None else whole)
