"""spaCy's Docs, from a DocBin or as `Doc.to_json` writes them: entities, span groups and categories.

Format: https://spacy.io/api/doc#to_json. Of the extension attributes only the relations that mpdd writes are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mpdd.data.cards.exports.base import Export, Values, converted, mappings, most
from mpdd.data.cards.layout import Layout
from mpdd.data.readers.base import Notes, Record

_LIKELY = 0.5  # from this score on a category is a label


def convert(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return records with `entities`, `relations` and `answer`; each group of spans is a field of its own name too."""
    return converted(records, lambda values: _convert(layout, values), notes)


def _convert(layout: Layout, values: Values) -> Values:
    groups = {str(name): mappings(group) for name, group in _mapping(values.get("spans")).items()}
    spans: list[Values] = [span for group in (mappings(values["ents"]), *groups.values()) for span in group]
    relations = mappings(values.get("relations"))
    if layout.card.type == "re":
        spans += [{**end, "label": "end"} for link in relations for end in mappings([link.get("head"), link.get("tail")])]
        spans = list({_place(span): {**span, "id": _place(span)} for span in spans}.values())
    else:
        spans = list({(_place(span), str(span.get("label"))): span for span in spans}.values())
    ends = [
        {**link, "head": _place(_mapping(link.get("head"))), "tail": _place(_mapping(link.get("tail")))} for link in relations
    ]
    other_groups = {name: group for name, group in groups.items() if name not in ("text", *values)}
    return {**other_groups, "entities": spans, "relations": ends, **_answer(layout, _mapping(values.get("cats")))}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _place(span: Values) -> str:
    return f"{span.get('start')}-{span.get('end')}"


def _answer(layout: Layout, scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the categories of 0.5 or more; where one is asked for, the likeliest of the card's labels."""
    likely = {name: score for name, score in scores.items() if isinstance(score, int | float) and score >= _LIKELY}
    chosen = sorted(likely, key=lambda name: -likely[name])
    if layout.card.form == "multiple":
        return {"answer": chosen}
    on_card = [name for name in chosen if layout.label(name) in layout.card.labels]
    return {"answer": (on_card or chosen)[:1]} if chosen else {}


def _is_in(values: Values) -> bool:
    return isinstance(values.get("ents"), list) and isinstance(values.get("text"), str)


EXPORTS = (Export("spacy", 46, "spaCy", most(_is_in), convert, ("ner", "re", "classification", "nli")),)
