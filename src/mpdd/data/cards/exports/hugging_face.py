"""Tables of Hugging Face datasets: `tokens` with a tag each (`ner_tags`), and SQuAD rows with the struct `answers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mpdd.data.cards.exports.base import Export, Values, converted, mappings, most
from mpdd.data.cards.layout import Layout
from mpdd.data.cards.values import UnfitError, as_list
from mpdd.data.readers import conll
from mpdd.data.readers.base import Notes, Record

_TAG_COLUMNS = ("ner_tags", "tags", "labels", "ner", "bio_tags", "iob_tags")
_QUESTIONS = ("question", "query")
_CONTEXTS = ("context", "text", "passage", "document")


def tokens(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return records with `text`, the tokens joined by spaces, and `entities`; tags as numbers are noted as bad."""
    return converted(records, _tokens, notes)


def _tokens(values: Values) -> Values:
    column = _tag_column(values) or _TAG_COLUMNS[0]
    given, words = as_list(values[column]), as_list(values["tokens"])
    if any(isinstance(tag, int) for tag in given):
        problem = f"field {column!r} holds numbers, and the file does not name their classes"
        raise UnfitError(problem, wanted="class names in the metadata of a Parquet file, or tags such as B-Drug")
    if len(given) != len(words) or not all(isinstance(item, str) for item in (*given, *words)):
        raise UnfitError(f"fields 'tokens' and {column!r} do not fit together", wanted="one tag for each token")
    text, spans = conll.join(words, given)
    return {"text": text, "entities": [{"start": start, "end": end, "label": kind} for start, end, kind in spans]}


def _tag_column(values: Values) -> str | None:
    """Return the column that has a tag for each token."""
    words = as_list(values.get("tokens"))
    if not all(isinstance(word, str) for word in words) or not words:
        return None
    return next((name for name in _TAG_COLUMNS if len(as_list(values.get(name))) == len(words)), None)


def squad(layout: Layout, records: Sequence[Record], notes: Notes) -> list[Record]:
    """Return records with `text`, the question, `answer` and `answer_start`; unanswerable ones are counted."""
    return converted(records, lambda values: _squad(layout, values, notes), notes)


def _squad(layout: Layout, values: Values, notes: Notes) -> Values | None:
    words, starts = _answers(values["answers"])
    notes.count("unanswerable questions", int(not words))
    if not words:
        return None
    question = {"text": _get(values, _CONTEXTS), "answer": words[0], "answer_start": starts[0] if starts else None}
    if len(layout.card.fields) == 1:
        question[layout.card.fields[0]] = _get(values, _QUESTIONS)
    return question


def _answers(given: Any) -> tuple[list[Any], list[Any]]:
    """Return the words and the places of answers: lists in one struct, or a list of structs."""
    if isinstance(given, Mapping):
        return list(given["text"]), list(given.get("answer_start") or [])
    return [item["text"] for item in given], [item.get("answer_start") for item in given]


def _get(values: Values, names: Sequence[str]) -> Any:
    return next((values[name] for name in names if name in values), None)


def _has_answers(values: Values) -> bool:
    given = values.get("answers")
    structs = [given] if isinstance(given, Mapping) else mappings(given)
    asked = any(name in values for name in _QUESTIONS) and any(name in values for name in _CONTEXTS)
    return asked and (given == [] or (bool(structs) and all("text" in struct for struct in structs)))


def _is_tokens(values: Values) -> bool:
    return _tag_column(values) is not None and {"entities", "spans"}.isdisjoint(values)


EXPORTS = (
    Export("tokens", 60, "tokens with tags (Hugging Face)", most(_is_tokens), tokens, ("ner",)),
    Export("squad-rows", 70, "SQuAD rows (Hugging Face)", most(_has_answers), squad, ("qa extractive", "qa free")),
)
