"""Label Studio: JSON (tasks with their annotations), and JSON-MIN, CSV and TSV (a row for each annotation).

Format: https://labelstud.io/guide/export. Of several annotations of a text the one marked as ground truth is read, else
the first; cancelled ones and predictions are no gold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mpdd.data.cards.exports.base import Export, Values, converted, mappings, most
from mpdd.data.cards.layout import Layout
from mpdd.data.cards.values import parsed
from mpdd.data.readers.base import FURTHER, UNANNOTATED, Notes, Record

_LISTS = ("annotations", "completions")
_OWN = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "comments"}
_ANSWERS = ("choices", "text", "rating", "number", "taxonomy")


def convert(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return a record for each annotated text, with `entities`, `relations` and `answer`."""
    if any(_is_task(record.values) for record in records):
        return converted(records, lambda values: _task(layout, values, notes), notes)
    seen: set[Any] = set()
    names = {name for record in records for name in record.values}
    texts = {layout.name("text"), *(layout.name(field) for field in layout.card.fields)}
    controls = names - _OWN - texts
    return converted(records, lambda values: _row(layout, values, controls, seen, notes), notes)


def _is_task(values: Values) -> bool:
    return isinstance(values.get("data"), Mapping) and any(isinstance(values.get(name), list) for name in _LISTS)


def _is_row(values: Values) -> bool:
    return "annotation_id" in values and not {"annotator", "lead_time"}.isdisjoint(values)


def _task(layout: Layout, values: Values, notes: Notes) -> Values | None:
    """Return the values of a task and its chosen annotation."""
    given = [annotation for name in _LISTS for annotation in mappings(values.get(name))]
    finished = [annotation for annotation in given if not (annotation.get("was_cancelled") or annotation.get("skipped"))]
    notes.count(UNANNOTATED, int(not finished))
    if not finished:
        return None
    notes.count(FURTHER, len(finished) - 1)
    chosen = next((annotation for annotation in finished if annotation.get("ground_truth")), finished[0])
    results = mappings(chosen.get("result"))
    answers = _answers(results)
    texts = [text for text in values["data"].values() if isinstance(text, str)]
    fields: dict[str, Any] = {**answers, **({"text": texts[0]} if len(texts) == 1 else {}), **values["data"]}
    fields |= {"entities": [item for result in results for item in _entities(result)]}
    fields |= {"relations": [_relation(result) for result in results if result.get("type") == "relation"]}
    return fields | _answer(layout, answers)


def _answers(results: Sequence[Values]) -> dict[str, list[Any]]:
    """Return what is said of the text as a whole, by the control that asks for it."""
    answers: defaultdict[str, list[Any]] = defaultdict(list)
    for result in results:
        value = result.get("value")
        if isinstance(value, Mapping) and "start" not in value and result.get("from_name"):
            given: Any = next((value[name] for name in _ANSWERS if name in value), [])
            answers[str(result["from_name"])] += given if isinstance(given, list) else [given]
    return dict(answers)


def _answer(layout: Layout, answers: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Return the only answer as ours; no answer is a text without labels where a text may have several."""
    if len(answers) == 1:
        return {"answer": next(iter(answers.values()))}
    return {"answer": []} if not answers and layout.card.form == "multiple" else {}


def _entities(result: Values) -> Iterator[Values]:
    """Yield the span of a result, once for each of its labels."""
    value, kind = result.get("value"), str(result.get("type"))
    if isinstance(value, Mapping) and kind.endswith("labels"):
        yield from _spans({**value, **(value.get("globalOffsets") or {})}, value.get(kind), result.get("id"))


def _spans(value: Values, labels: Any, name: Any = None) -> Iterator[Values]:
    """Yield an entity for each label of a span; one without labels is left for the reader of entities to name."""
    item = {key: value[key] for key in ("start", "end", "text") if key in value}
    labels = labels if isinstance(labels, list) else []
    for number, label in enumerate(labels or [None]):
        id_field = {} if name is None else {"id": f"{name}#{number}" if number else name}
        yield {**item, **id_field, **({} if label is None else {"label": label})}


def _relation(result: Values) -> Values:
    """Return a relation, whose direction `left` runs from the second region to the first."""
    ends = [result.get("from_id"), result.get("to_id")]
    head, tail = reversed(ends) if result.get("direction") == "left" else ends
    labels = result.get("labels")
    return {"head": head, "tail": tail, **({"label": labels} if labels else {})}


def _row(layout: Layout, values: Values, controls: set[str], seen: set[Any], notes: Notes) -> Values | None:
    """Return the values of one annotation in a row; a cell holds spans or choices as JSON, or words."""
    name = str(values.get("id"))
    if values.get("annotation_id") in (None, ""):
        notes.count(UNANNOTATED)
        return None
    if values.get("id") not in (None, "") and name in seen:
        notes.count(FURTHER)
        return None
    seen.add(name)
    cells = {control: parsed(values.get(control)) for control in controls}
    spans = [item for cell in cells.values() for item in mappings(cell) if not {"start", "end"}.isdisjoint(item)]
    entities = [entity for item in spans for entity in _spans(item, item.get("labels") or item.get("hypertextlabels"))]
    answers = {
        control: list(cell["choices"]) for control, cell in cells.items() if isinstance(cell, Mapping) and "choices" in cell
    }
    plain = {control: [cell] for control, cell in cells.items() if isinstance(cell, str) and cell.strip()}
    chosen = answers or (plain if len(controls) == 1 else {})
    return {**answers, "entities": entities, **_answer(layout, chosen)}


EXPORTS = (Export("label-studio", 10, "Label Studio", most(lambda values: _is_task(values) or _is_row(values)), convert),)
