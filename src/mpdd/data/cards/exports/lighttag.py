"""LightTag: `content` with `annotations`, labelled by `tag_name`; an annotation reviewed as wrong is no gold."""

from __future__ import annotations

from collections.abc import Sequence

from mpdd.data.cards.exports.base import Export, Values, converted, mappings, most
from mpdd.data.cards.layout import Layout
from mpdd.data.readers.base import Notes, Record

_CLASS_NAMES = ("classname", "class_name", "tag_name", "name", "label")


def convert(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return the records with `text`, `entities` and, of their classifications, `answer`."""
    return converted(records, lambda values: _convert(values, notes), notes)


def _convert(values: Values, notes: Notes) -> Values:
    given = values["annotations"]
    right = [item for item in given if not (isinstance(item, dict) and item.get("correct") is False)]
    notes.count("annotations reviewed as wrong left out", len(given) - len(right))
    classes = [item[name] for item in mappings(values.get("classifications")) for name in _CLASS_NAMES if name in item]
    return {"text": values["content"], "entities": right, **({"answer": classes} if classes else {})}


def _is_in(values: Values) -> bool:
    return isinstance(values.get("content"), str) and isinstance(values.get("annotations"), list)


def is_in(records: Sequence[Record]) -> bool:
    """Say whether most records have contents with annotations, and LightTag's keys for labels or classes."""
    labelled = any("tag_name" in item for record in records for item in mappings(record.values.get("annotations")))
    return most(_is_in)(records) and (labelled or any("classifications" in record.values for record in records))


EXPORTS = (Export("lighttag", 40, "LightTag", is_in, convert),)
