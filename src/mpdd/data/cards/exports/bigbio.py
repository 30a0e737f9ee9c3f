"""bigbio_kb, the schema of BigBIO's corpora: passages with offsets, entities in pieces, relations by ids.

Format: https://github.com/bigscience-workshop/biomedical, Fries et al. 2022, arXiv:2206.15076. The other schemas of
BigBIO are plain tables (`text` and `labels`, `question` and `choices`, `premise` and `hypothesis`).
"""

from __future__ import annotations

from collections.abc import Sequence

from mpdd.data.cards.exports.base import Export, Values, converted, mappings, most
from mpdd.data.cards.layout import Layout
from mpdd.data.cards.values import UnfitError
from mpdd.data.readers.base import Notes, Record

MOST_BLANKS = 100_000  # between two passages


def convert(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return the records with `text`, `entities` and `relations`."""
    return converted(records, _convert, notes)


def _convert(values: Values) -> Values:
    entities = [{**entity, "label": entity["type"]} for entity in values["entities"]]
    return {"text": text_of(values["passages"]), "entities": entities, "relations": values.get("relations") or []}


def text_of(passages: Sequence[Values]) -> str:
    """Return the document's text: each passage at its offset, or right after the one before it; gaps are blank."""
    parts = [(offset[0], part) for p in passages for part, offset in zip(p["text"], p["offsets"], strict=True)]
    text = ""
    for start, part in sorted(parts, key=lambda pair: pair[0]):
        gap = max(start - len(text), 1 if text else 0)
        if gap > MOST_BLANKS:
            raise UnfitError("passage that starts far behind the one before it", wanted="offsets that count characters")
        text += "\n" * (gap > 0) + " " * (gap - 1) + part
    return text


def _is_in(values: Values) -> bool:
    passages = mappings(values.get("passages"))
    placed = bool(passages) and all("offsets" in passage and "text" in passage for passage in passages)
    return placed and isinstance(values.get("entities"), list)


EXPORTS = (Export("bigbio", 50, "bigbio_kb", most(_is_in), convert, ("ner", "re")),)
