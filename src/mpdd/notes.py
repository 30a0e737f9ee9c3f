"""A user's notes: read from txt, jsonl, csv or parquet, answered by prompt files, given back as plain structures.

Entity tasks read long notes in windows of whole sentences and merge the results at their place in the note; for the
other tasks a note that does not fit the context is cut at its end, and the answer says so. No note text is printed
anywhere but in the answers themselves.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpdd.backbone import Backbone
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.windows import windows
from mpdd.errors import InputError
from mpdd.predict import Prediction, Request, predict
from mpdd.prompts.store import PromptFile

FORMATS = (".txt", ".jsonl", ".csv", ".parquet")
Result = dict[str, Any]


@dataclass(frozen=True)
class Note:
    """A note with further named inputs (for example Question) and options, as its task's card asks for."""

    id: str
    text: str
    fields: Mapping[str, str]
    choices: tuple[str, ...] = ()


def read_notes(path: Path) -> list[Note]:
    """Read a txt file (one note), or a table with a column `text` and, as needed, `id`, `choices` and fields by name.

    Raises `InputError` naming file, row and column; never the text.
    """
    if not path.is_file():
        raise InputError("There is no such input file", found=str(path), wanted=f"a file ending in {', '.join(FORMATS)}")
    readers: dict[str, Callable[[Path], Iterator[Mapping[str, Any]]]] = {
        ".txt": lambda p: iter([{"id": p.stem, "text": _text(p)}]),
        ".jsonl": _json_lines,
        ".csv": lambda p: csv.DictReader(io.StringIO(_text(p), newline="")),
        ".parquet": _parquet,
    }
    if path.suffix not in readers:
        found = path.suffix or "no ending"
        raise InputError(f"The input {path.name} has an unknown format", found=found, wanted=", ".join(FORMATS))
    notes = [_note(path, row, values) for row, values in enumerate(readers[path.suffix](path), start=1)]
    if not any(note.text.strip() for note in notes):
        raise InputError(f"The input {path.name} is empty", wanted="at least one note with text")
    return notes


def answer_notes(
    backbone: Backbone, prompts: Sequence[PromptFile], notes: Sequence[Note], *, tick: Callable[[int], object] = lambda _: None
) -> Iterator[Result]:
    """Answer every note for every prompt's task in mixed batches; one result for each note and task, in order."""
    jobs = [(note, prompt, card(prompt)) for note in notes for prompt in prompts]
    parts = [_examples(note, task) for note, _, task in jobs]
    rows = {id(prompt): prompt.rows() for prompt in prompts}
    requests = [Request(task, e, rows[id(p)]) for (_, p, task), part in zip(jobs, parts, strict=True) for e in part]
    answers = iter(predict(backbone, requests, tick=tick))
    for (note, _, task), part in zip(jobs, parts, strict=True):
        yield _result(note, task, part, [next(answers) for _ in part])


def card(prompt: PromptFile) -> TaskCard:
    """The task card in a prompt file; `InputError` if it has none (a metaprompt)."""
    if prompt.header.card is None:
        kind = f"kind {prompt.header.kind}"
        raise InputError(f"{prompt.path.name} is not for one task", found=kind, wanted="a task's prompt file")
    return prompt.header.card


def _examples(note: Note, task: TaskCard) -> list[Example]:
    spans = windows(note.text) if task.type == "ner" else [(0, len(note.text))]
    return [
        Example(f"{note.id}@{start}", note.id, note.text[start:end], Answer(), _fields(note, task), note.choices, offset=start)
        for start, end in spans
    ]


def _fields(note: Note, task: TaskCard) -> tuple[tuple[str, str], ...]:
    missing = [name for name in task.fields if not note.fields.get(name)]
    if missing:
        raise InputError(
            f"Note {note.id} lacks what the task {task.name} asks about",
            found=f"columns {sorted(note.fields)}" if note.fields else "no further columns",
            wanted=f"columns {', '.join(missing)}",
            next_step="Give them as columns of a jsonl, csv or parquet file.",
        )
    return tuple((name, note.fields[name]) for name in task.fields)


def _result(note: Note, task: TaskCard, parts: Sequence[Example], predictions: Sequence[Prediction]) -> Result:
    return {
        "id": note.id,
        "task": task.name,
        **_body(note, task, parts, predictions),
        "unparseable": any(p.parsed.unparseable for p in predictions),
        "ungrounded": sum(p.parsed.ungrounded for p in predictions),
        "cut_characters": sum(p.cut for p in predictions),
    }


def _body(note: Note, task: TaskCard, parts: Sequence[Example], predictions: Sequence[Prediction]) -> Result:
    if task.type == "ner":
        return {"entities": [e for part, p in zip(parts, predictions, strict=True) for e in _entities(note, part, p)]}
    if task.type == "re":
        return {"relations": _relations(note, predictions[0].parsed.answer)}
    if task.type == "summarization":
        return {"summary": predictions[0].parsed.answer.text}
    return {"answer": _choice(task, note, predictions[0])}


def _entities(note: Note, part: Example, prediction: Prediction) -> Iterator[Result]:
    for entity in prediction.parsed.answer.entities:
        yield {"label": entity.label, **_span(note, part.offset + entity.start, part.offset + entity.end)}


def _relations(note: Note, answer: Answer) -> list[Result]:
    ends = {key: _span(note, *map(int, key.split(":"))) for r in answer.relations for key in (r.head, r.tail)}
    return [{"label": r.label, "head": ends[r.head], "tail": ends[r.tail]} for r in answer.relations]


def _span(note: Note, start: int, end: int) -> Result:
    return {"start": start, "end": end, "text": note.text[start:end]}


def _choice(task: TaskCard, note: Note, prediction: Prediction) -> str | None:
    chosen = prediction.parsed.answer.choice
    return None if chosen is None else (note.choices or task.labels)[chosen]


def _note(path: Path, row: int, values: Mapping[str, Any]) -> Note:
    if not isinstance(values.get("text"), str):
        columns = f"columns {sorted(map(str, values))}"
        raise InputError(f"{path.name}, row {row}: no text", found=columns, wanted="a column text with a string")
    choices = values.get("choices")
    if isinstance(choices, str):
        choices = choices.split("|")
    named = {k: str(v) for k, v in values.items() if k not in ("id", "text", "choices")}
    return Note(str(values.get("id", row)), values["text"], named, tuple(map(str, choices if choices is not None else ())))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # line ends stay as they are: offsets refer to them
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8", found=f"byte {error.start}", wanted="UTF-8 text") from error


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path.name}, line {number} is not JSON", found=f"column {error.colno}") from error
            if not isinstance(values, dict):
                raise InputError(f"{path.name}, line {number}", found=type(values).__name__, wanted="a JSON object")
            yield values


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InputError("Reading parquet needs pyarrow", next_step="pip install 'mpdd[parquet]'") from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except (ValueError, OSError) as error:
        raise InputError(f"{path.name} cannot be read as parquet", found=type(error).__name__) from error
    yield from rows
