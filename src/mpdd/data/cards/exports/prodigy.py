"""Prodigy: JSON lines, each with the annotator's `answer`; what is rejected or ignored is no gold.

Format: https://prodi.gy/docs/api-interfaces. Accepted spans of the same input (`_input_hash`) are put together, as
Prodigy's own training does: its binary interfaces ask for one span at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mpdd.data.cards.exports.base import Export, Values, converted, mappings
from mpdd.data.cards.layout import Layout
from mpdd.data.readers.base import Notes, Record

ANSWERS = ("accept", "reject", "ignore")
TOGETHER = "examples of the same input put together"
_HASHES = {"_input_hash", "_task_hash", "_view_id"}
_WORK = {"spans", "label", "options", "accept", "relations"}


def convert(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return the accepted examples, with `entities`, `relations` and `answer`; the others are counted."""
    accepted = converted(records, lambda values: _convert(layout, values, notes), notes)
    has_items = layout.card.type in ("ner", "re") or layout.card.form == "multiple"
    return _together(accepted, notes) if has_items else accepted


def is_in(records: Sequence[Record]) -> bool:
    """Say whether any record is marked by Prodigy: one that is rejected must not be gold wherever it stands."""
    return any(_is_marked(record.values) for record in records)


def _is_marked(values: Values) -> bool:
    return values.get("answer") in ANSWERS and not (_HASHES | _WORK).isdisjoint(values)


def _convert(layout: Layout, values: Values, notes: Notes) -> Values | None:
    mark = values.get("answer", "accept")
    if mark != "accept":
        notes.count(f"examples marked {mark if mark in ANSWERS else 'otherwise'} in Prodigy left out")
        return None
    pairs, spans = mappings(values.get("relations")), list(values.get("spans") or [])
    if layout.card.type == "re":
        ends = mappings([pair.get(name) for pair in pairs for name in ("head_span", "child_span")])
        spans = list({_place(item): {**item, "id": _place(item)} for item in (*ends, *mappings(spans))}.values())
    relations = [{**pair, "head": _end(pair, "head"), "tail": _end(pair, "child")} for pair in pairs]
    return {"entities": spans, "relations": relations, "answer": _answer(layout, values)}


def _place(item: Values) -> str:
    return f"{item.get('start')}-{item.get('end')}"


def _end(pair: Values, name: str) -> str | None:
    span = pair.get(f"{name}_span")
    return _place(span) if isinstance(span, Mapping) else None


def _answer(layout: Layout, values: Values) -> Any:
    """Return the chosen options by id, or by their words where the ids are no labels; else the example's label."""
    chosen = values.get("accept")
    if chosen is None:
        return values.get("label", [] if layout.card.form == "multiple" else None)
    texts = {item.get("id"): item.get("text") for item in mappings(values.get("options"))}
    chosen = chosen if isinstance(chosen, list) else [chosen]
    return [name if layout.label(str(name)) in layout.card.labels else texts.get(name, name) for name in chosen]


def _together(records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return one record for all of the same input, with what each of them holds."""
    merged: dict[tuple[str, str], Record] = {}
    for record in records:
        has_hash = record.values.get("_input_hash") is not None
        key = (str(record.values["_input_hash"]), str(record.values.get("text"))) if has_hash else (record.where, "")
        earlier = merged.setdefault(key, record)
        if earlier is not record:
            notes.count(TOGETHER)
            both = {name: _union(earlier[name], record[name]) for name in ("entities", "relations", "answer")}
            merged[key] = Record(earlier.where, {**earlier.values, **both})
    return list(merged.values())


def _union(first: Any, second: Any) -> Any:
    lists = [value if isinstance(value, list) else [] if value is None else [value] for value in (first, second)]
    return lists[0] + [item for item in lists[1] if item not in lists[0]]


EXPORTS = (Export("prodigy", 20, "Prodigy", is_in, convert),)
