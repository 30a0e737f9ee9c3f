"""doccano: JSON lines with `label` or `entities` and `relations`; offsets count characters.

Format: https://doccano.github.io/doccano. An emoji of several characters counts as one if the project says so: such
offsets cannot be told from others, as doccano quotes no words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpdd.data.cards.exports.base import Export, Values, converted, mappings, most
from mpdd.data.cards.layout import Layout
from mpdd.data.readers.base import Notes, Record

_LABELS = ("label", "labels")
_SPANS = ("entities", "annotations", *_LABELS)


def convert(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return the records with `entities`, or with their labels as `answer`."""
    return converted(records, lambda values: _convert(layout, values), notes)


def _convert(layout: Layout, values: Values) -> Values:
    names = _SPANS if layout.card.type in ("ner", "re") else _LABELS
    given = next((values[name] for name in names if isinstance(values.get(name), list)), None)
    if given is None:
        return {}
    return {"entities": given} if layout.card.type in ("ner", "re") else {"answer": given}


def _is_in(values: Values) -> bool:
    if not isinstance(values.get("text"), str):
        return False
    spans = [item for name in ("entities", "annotations") for item in mappings(values.get(name))]
    triples = any(isinstance(values.get(name), list) and any(map(_is_triple, values[name])) for name in _LABELS)
    return "Comments" in values or any("start_offset" in item for item in spans) or triples


def _is_triple(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 3 and isinstance(item[0], int) and isinstance(item[2], str)


EXPORTS = (Export("doccano", 30, "doccano", most(_is_in), convert),)
