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

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mpdd.confidence import Item, Scale, of_items
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types.extract import locate
from mpdd.data.windows import windows
from mpdd.engines import Engine
from mpdd.errors import InputError
from mpdd.predict import Prediction, Request
from mpdd.prompts.store import PromptFile
from mpdd.shard import Shard
from mpdd.template import Template
from mpdd.vocabulary import Vocabulary

FORMATS = (".txt", ".jsonl", ".csv", ".parquet")
Result = dict[str, Any]


@dataclass(frozen=True)
class Note:
    """A note with further named inputs (for example Question) and options, as its task's card asks for."""

    id: str
    text: str
    fields: Mapping[str, str]
    choices: tuple[str, ...] = ()

    @property
    def is_unicode(self) -> bool:
        """Whether all of it can be written as UTF-8: half a surrogate pair cannot."""
        try:
            "".join((self.id, self.text, *self.choices, *self.fields, *self.fields.values())).encode()
        except UnicodeEncodeError:
            return False
        return True


def read_notes(path: Path) -> list[Note]:
    """Read a txt file (one note), or a table with a column `text` and, as needed, `id`, `choices` and fields by name.

    Raises `InputError` naming file, row and column; never the text.
    """
    if not path.is_file():
        raise InputError("There is no such input file", found=str(path), wanted=f"a file ending in {', '.join(FORMATS)}")
    readers: dict[str, Callable[[Path], Iterator[Mapping[str, Any]]]] = {
        ".txt": lambda p: iter([{"id": p.stem, "text": _text(p)}]),
        ".jsonl": _json_lines,
        ".csv": _csv,
        ".parquet": _parquet,
    }
    ending = path.suffix.lower()
    if ending not in readers:
        found = ending or "no ending"
        raise InputError(f"The input {path.name} has an unknown format", found=found, wanted=", ".join(FORMATS))
    notes = [note_of(path, row, values) for row, values in enumerate(readers[ending](path), start=1)]
    if not any(note.text.strip() for note in notes):
        raise InputError(f"The input {path.name} is empty", wanted="at least one note with text")
    return notes


def note_of(path: Path, row: int, values: Mapping[str, Any]) -> Note:
    """The note of a table's row; `InputError`, naming file, row and what is wrong, where it is none."""
    given = {name: value for name, value in values.items() if value is not None}
    where = f"{path.name}, row {row}"
    if not isinstance(given.get("text"), str):  # names of columns are not shown: without a header they are a note
        raise InputError(f"{where}: no text", found=f"{len(given)} columns", wanted="a column text with a string")
    choices = given.get("choices") or []
    if isinstance(choices, str):
        choices = choices.split("|")
    if not isinstance(choices, list):
        raise InputError(f"{where}: choices cannot be read", found=type(choices).__name__, wanted="a list, or a|b|c")
    fields = {name: str(value) for name, value in given.items() if name not in ("id", "text", "choices")}
    note = Note(str(given.get("id", row)), given["text"], fields, tuple(map(str, choices)))
    if not note.is_unicode:
        raise InputError(f"{where}: not Unicode", found="half a surrogate pair", wanted="valid Unicode text")
    return note


def answer_notes(
    engine: Engine, prompts: Sequence[PromptFile], notes: Sequence[Note], *, tick: Callable[[int], object] = lambda _: None
) -> Iterator[Result]:
    """Answer every note for every prompt's task in mixed batches; one result for each note and task, in order."""
    rows = {id(prompt): prompt.rows() for prompt in prompts}
    jobs = [(note, p, requests_for(note, card(p), rows[id(p)], p.header.template)) for note in notes for p in prompts]
    answers = iter(engine.predict([request for _, _, asked in jobs for request in asked], tick=tick))
    for note, prompt, asked in jobs:
        yield result_of(note, card(prompt), asked, [next(answers) for _ in asked], Confidence.of(engine.vocabulary, prompt))


def shard(notes: Sequence[Note], part: str) -> Sequence[Note]:
    """Part `i/n` of the notes: all parts, one behind the other, are the notes. Raises `InputError` for anything else."""
    return Shard.read(part, "notes").stretch(notes)


def require_inputs(prompts: Sequence[PromptFile], notes: Sequence[Note]) -> None:
    """Raise `InputError` for the first note that lacks an input that one of the tasks asks about."""
    for note in notes:
        for prompt in prompts:
            _fields(note, card(prompt))


def requests_for(note: Note, task: TaskCard, rows: Tensor, template: Template | None = None) -> list[Request]:
    """What to ask about a note for one task under the prompt `rows` [length, width]: one request for each window.

    Raises `InputError` where the note lacks an input that the task asks about.
    """
    return [Request(task, example, rows, template) for example in _examples(note, task)]


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure answers are, by the scale in a task's prompt file; as the backbone says it where there is none."""

    tokenizer: PreTrainedTokenizerBase
    scale: Scale | None = None

    @classmethod
    def of(cls, vocabulary: Vocabulary, prompt: PromptFile) -> Confidence:
        """That of a prompt file."""
        known = prompt.header.calibration
        return cls(vocabulary.tokenizer, Scale(known["slope"], known["shift"]) if known.get("units") else None)

    def items(self, prediction: Prediction) -> dict[Item, float]:
        """Of each entity or relation."""
        return {item: self._said(p) for item, p in of_items(self.tokenizer, prediction).items()}

    def whole(self, task: TaskCard, predictions: Sequence[Prediction]) -> float | None:
        """Of an answer; with several items or windows, of the one that it is least sure of."""
        if task.type in ("ner", "re"):
            found = [p for one in predictions for p in self.items(one).values()]
            if found:
                return min(found)
            scale = None  # which was fitted on items
        else:
            scale = self.scale
        known = [p.confidence for p in predictions if p.confidence is not None]
        return round(scale(min(known)) if scale else min(known), 4) if known else None

    def _said(self, p: float) -> float:
        return round(self.scale(p) if self.scale else p, 4)


def result_of(
    note: Note, task: TaskCard, asked: Sequence[Request], answers: Sequence[Prediction], confidence: Confidence
) -> Result:
    """The answers to all requests of a note for one task, put together at their places in the note."""
    return _result(note, task, [request.example for request in asked], answers, confidence)


def card(prompt: PromptFile) -> TaskCard:
    """The task card in a prompt file; `InputError` if it has none (a metaprompt)."""
    if prompt.header.card is None:
        kind = f"kind {prompt.header.kind}"
        raise InputError(f"{prompt.path.name} is not for one task", found=kind, wanted="a task's prompt file")
    return prompt.header.card


def _examples(note: Note, task: TaskCard) -> list[Example]:
    spans = windows(note.text) if task.type == "ner" else [(0, len(note.text))]
    fields, choices = _fields(note, task), note.choices if takes_choices(task) else ()
    return [
        Example(f"{note.id}@{start}", note.id, note.text[start:end], Answer(), fields, choices, offset=start)
        for start, end in spans
    ]


def takes_choices(task: TaskCard) -> bool:
    """Whether each note brings its own options; a task with fixed answers must not see those of another task."""
    return task.form == "choice" and not task.labels


def _fields(note: Note, task: TaskCard) -> tuple[tuple[str, str], ...]:
    missing = [name for name in task.fields if not note.fields.get(name)]
    missing += ["choices"] * (takes_choices(task) and not note.choices)
    if missing:
        raise InputError(
            f"Note {note.id} lacks what the task {task.name} asks about",
            found=f"{len(note.fields)} further columns, none of them filled and of that name",
            wanted=f"columns {', '.join(missing)}",
            next_step="Give them as columns of a jsonl, csv or parquet file.",
        )
    return tuple((name, note.fields[name]) for name in task.fields)


def _result(
    note: Note, task: TaskCard, parts: Sequence[Example], predictions: Sequence[Prediction], confidence: Confidence
) -> Result:
    return {
        "id": note.id,
        "task": task.name,
        **_body(note, task, parts, predictions, confidence),
        "confidence": confidence.whole(task, predictions),
        "unparseable": any(p.parsed.unparseable for p in predictions),
        "ungrounded": sum(p.parsed.ungrounded for p in predictions),
        "cut_characters": sum(p.cut for p in predictions),
    }


def _body(
    note: Note, task: TaskCard, parts: Sequence[Example], predictions: Sequence[Prediction], confidence: Confidence
) -> Result:
    if task.type == "ner":
        pairs = zip(parts, predictions, strict=True)
        return {"entities": [e for part, p in pairs for e in _entities(note, part, p, confidence.items(p))]}
    if task.type == "re":
        return {"relations": _relations(note, predictions[0].parsed.answer, confidence.items(predictions[0]))}
    answer = predictions[0].parsed.answer
    if task.type == "summarization":
        return {"summary": answer.text}
    if task.form == "multiple":
        return {"labels": [task.labels[index] for index in answer.labels]}
    if task.form == "free":
        return {"answer": answer.text}
    if task.form == "extractive":
        return {"answer": _extracted(note, answer.text)}
    return {"answer": _choice(task, parts[0], predictions[0])}


def _entities(note: Note, part: Example, prediction: Prediction, sure: Mapping[Item, float]) -> Iterator[Result]:
    for entity in prediction.parsed.answer.entities:
        span = _span(note, part.offset + entity.start, part.offset + entity.end)
        yield {"label": entity.label, **span, "confidence": sure.get(entity)}


def _relations(note: Note, answer: Answer, sure: Mapping[Item, float]) -> list[Result]:
    ends = {key: _span(note, *map(int, key.split(":"))) for r in answer.relations for key in (r.head, r.tail)}
    return [{"label": r.label, "head": ends[r.head], "tail": ends[r.tail], "confidence": sure.get(r)} for r in answer.relations]


def _span(note: Note, start: int, end: int) -> Result:
    return {"start": start, "end": end, "text": note.text[start:end]}


def _extracted(note: Note, text: str) -> Result | None:
    """The first place in the note where the answer stands, or its words without offsets where the note lacks them."""
    found = locate(note.text, text)
    if found is not None:
        return _span(note, *found)
    return {"start": None, "end": None, "text": text} if text else None


def _choice(task: TaskCard, example: Example, prediction: Prediction) -> str | None:
    chosen = prediction.parsed.answer.choice
    return None if chosen is None else (example.choices or task.labels)[chosen]


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # line ends stay as they are: offsets refer to them
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8", found=f"byte {error.start}", wanted="UTF-8 text") from error


def _table(path: Path) -> str:
    """The text of a table, without the mark that spreadsheets put before it."""
    return _text(path).removeprefix("\ufeff")


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(2**31 - 1)  # a note may be long
    for row, values in enumerate(csv.DictReader(io.StringIO(_table(path), newline="")), start=1):
        if None in values:  # or the note would be cut at its first comma
            raise InputError(
                f"{path.name}, row {row} has more cells than the header",
                wanted="texts with commas in double quotes, double quotes within them doubled",
            )
        yield values


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_table(path).split("\n"), start=1):  # not splitlines: a text may hold U+2028
        if line.strip():
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                found = f"column {error.colno}" if isinstance(error, json.JSONDecodeError) else type(error).__name__
                raise InputError(f"{path.name}, line {number} is not JSON", found=found) from error
            if not isinstance(values, dict):
                raise InputError(f"{path.name}, line {number}", found=type(values).__name__, wanted="a JSON object")
            yield values


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet as parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (ValueError, OSError) as error:
        raise InputError(f"{path.name} cannot be read as parquet", found=type(error).__name__) from error
    yield from rows
