"""Reads what `mpdd predict --output` wrote, beside the notes it was asked about, into annotated notes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpdd.annotate.answers.results import answer_of
from mpdd.annotate.answers.types import AnnotatedNote, Span, TaskAnswer
from mpdd.errors import InputError, in_words

if TYPE_CHECKING:
    from mpdd.annotate.notes import Note

Line = tuple[str, TaskAnswer]  # the note's id and the answer


def read_answers(path: Path) -> list[Line]:
    """The answers of a JSON-lines file, or of the folder of Parquet files that workers wrote, in order.

    Raise `InputError`, naming file and line, for anything else.
    """
    if not path.exists():
        raise InputError("There is no such file of answers", found=str(path), wanted="what mpdd predict --output wrote")
    rows = _parquet(path) if path.is_dir() else _json_lines(path)
    answers = [(_id(where, values), answer_of(values, where)) for where, values in rows]
    if not answers:
        raise InputError(f"{path} holds no answers", wanted="at least one line")
    return answers


def annotated(answers: Sequence[Line], notes: Sequence[Note]) -> list[AnnotatedNote]:
    """The notes that were answered, each with its answers, in the order of the notes.

    Several notes may have one id: their answers come in the same order. Raise `InputError` for an answer without its note,
    and for one whose offsets do not give its words, as the answers are then to other notes.
    """
    given: dict[str, list[TaskAnswer]] = {}
    for note_id, answer in answers:
        given.setdefault(note_id, []).append(answer)
    waiting = {note_id: list(_by_note(of_note)) for note_id, of_note in given.items()}
    annotated_notes = []
    for note in notes:
        if waiting.get(note.id):
            annotated_notes.append(checked(AnnotatedNote(note.id, note.text, tuple(waiting[note.id].pop(0)))))
    if left := sum(map(len, waiting.values())):
        raise InputError("Answers without their note", found=f"{left:,} such notes", wanted="all notes that were asked")
    return annotated_notes


def checked(note: AnnotatedNote) -> AnnotatedNote:
    """The note, whose answers must quote it rightly; `InputError` where they do not."""
    for answer in note.answers:
        for span in _spans(answer):
            if not span.text or len(span.text) != span.end - span.start or note.text[span.start : span.end] != span.text:
                raise InputError(
                    f"Answers for the task {answer.task} do not fit their note",
                    found=f"other words at {span.start} to {span.end}",
                    wanted="the very notes that mpdd predict read",
                )
    return note


def _spans(answer: TaskAnswer) -> Iterator[Span]:
    yield from (entity.span for entity in answer.entities)
    for relation in answer.relations:
        yield from (relation.head, relation.tail)
    if answer.span is not None:
        yield answer.span


def _by_note(answers: Iterable[TaskAnswer]) -> Iterator[list[TaskAnswer]]:
    """Answers of notes of one id, parted where a task comes again."""
    current: list[TaskAnswer] = []
    for answer in answers:
        if any(answer.task == other.task for other in current):
            yield current
            current = []
        current.append(answer)
    if current:
        yield current


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path.name}, line {number}", _object(path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} cannot be read", found=in_words(error), wanted="JSON lines in UTF-8") from error


def _object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(
            f"{path.name}, line {number} is no answer", found="no JSON object", wanted="a line of mpdd predict --output"
        )
    return values


def _parquet(folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of workers, which lie in no order of the notes; those of a note and task by the same prompt come once."""
    from pyarrow import parquet

    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(f"The folder {folder} holds no answers", wanted="the Parquet files that mpdd predict --workers wrote")
    for file in files:
        results = parquet.read_table(file, columns=["result"]).column("result").to_pylist()
        for number, result in enumerate(results, start=1):
            yield f"{file.name}, row {number}", _object(file, number, result)


def _id(where: str, values: Mapping[str, Any]) -> str:
    if not isinstance(values.get("id"), str):
        raise InputError(f"{where} is no answer to a note", found="no id", wanted="a line of mpdd predict --output")
    note_id: str = values["id"]
    return note_id
