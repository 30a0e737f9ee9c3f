"""Notes answered by prompt files: what is asked about a note for each task, and the answer as a plain structure.

Entity tasks read long notes in windows of whole sentences and merge the results at their place in the note; for the
other tasks a note that does not fit the context is cut at its end, and the answer says so. A note without text is not
asked about: its answer is empty. No note text is printed anywhere but in the answers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mpdd.backbone.template import Template
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types.extract import locate
from mpdd.data.windows import NER_CHARS, Span, windows
from mpdd.errors import InputError
from mpdd.files.shard import Shard
from mpdd.inference.confidence import Item, Scale, of_items
from mpdd.inference.decoding.priors import Priors
from mpdd.inference.engines import Engine
from mpdd.inference.predict import Prediction, Request, is_cut
from mpdd.prompts.store import PromptFile, task_card

Result = dict[str, Any]
_SMALLEST_WINDOW = 50  # characters, as the smallest that a card may ask for


@dataclass(frozen=True)
class Note:
    """A note with further named inputs (for example Question) and options, as its task's card asks for."""

    id: str
    text: str
    fields: Mapping[str, str]
    choices: tuple[str, ...] = ()
    _windows: dict[int, list[Span]] = field(default_factory=dict, compare=False, repr=False)

    def windows(self, size: int) -> list[Span]:
        """Its windows of whole sentences, of at most `size` characters each; worked out once for all tasks."""
        if size not in self._windows:
            self._windows[size] = windows(self.text, size)
        return self._windows[size]

    @property
    def is_blank(self) -> bool:
        """Whether there is no text to answer."""
        return not self.text.strip()

    @property
    def is_unicode(self) -> bool:
        """Whether all of it can be written as UTF-8: half a surrogate pair cannot."""
        try:
            "".join((self.id, self.text, *self.choices, *self.fields, *self.fields.values())).encode()
        except UnicodeEncodeError:
            return False
        return True


def answer_notes(
    engine: Engine, prompts: Sequence[PromptFile], notes: Sequence[Note], *, tick: Callable[[int], object] = lambda _: None
) -> Iterator[Result]:
    """Answer every note for every prompt's task in mixed batches; one result for each note and task, in order."""
    rows = {id(prompt): prompt.rows() for prompt in prompts}
    jobs = [(note, p, _asked(note, p, rows[id(p)], engine.vocabulary)) for note in notes for p in prompts]
    answers = iter(engine.predict([request for _, _, asked in jobs for request in asked], tick=tick))
    for note, prompt, asked in jobs:
        yield result_of(note, task_card(prompt), asked, [next(answers) for _ in asked], Confidence.of(engine.vocabulary, prompt))


def _asked(note: Note, prompt: PromptFile, rows: Tensor, vocabulary: Vocabulary) -> list[Request]:
    """What to ask about a note for a prompt's task; nothing about a note without text."""
    header = prompt.header
    if note.is_blank:
        return []
    return requests_for(note, task_card(prompt), rows, vocabulary, header.template, Priors.of(header.priors), header.digest)


def shard(notes: Sequence[Note], part: str) -> Sequence[Note]:
    """Part `i/n` of the notes: all parts, one behind the other, are the notes. Raises `InputError` for anything else."""
    return Shard.read(part, "notes").stretch(notes)


def require_inputs(prompts: Sequence[PromptFile], notes: Sequence[Note]) -> None:
    """Raise `InputError` for the first note that lacks an input that one of the tasks asks about."""
    for note in notes:
        for prompt in () if note.is_blank else prompts:
            _fields(note, task_card(prompt))


def requests_for(
    note: Note, task: TaskCard, rows: Tensor, vocabulary: Vocabulary, template: Template | None = None,
    priors: Priors | None = None, digest: str = "",
) -> list[Request]:  # fmt: skip
    """What to ask about a note for one task under the prompt `rows` [length, width], of the file with this `digest`: one
    request for each window.

    A window that does not fit the context (a script or a table that takes a token for each character, say) is read in smaller
    ones. Raises `InputError` where the note lacks an input that the task asks about.
    """
    fields, choices = _fields(note, task), note.choices if takes_choices(task) else ()

    def request(span: Span) -> Request:
        start, end = span
        example = Example(f"{note.id}@{start}", note.id, note.text[start:end], Answer(), fields, choices, offset=start)
        return Request(task, example, rows, template, priors=priors, digest=digest)

    if (size := _window(task)) is None:
        return [request((0, len(note.text)))]
    return [windowed for span in note.windows(size) for windowed in _whole(request(span), vocabulary, request, size // 2)]


def fewest_requests(note: Note, task: TaskCard) -> int:
    """How many requests `requests_for` gives at least, without making one: it gives more where the context cuts windows."""
    size = _window(task)
    return 1 if size is None else len(note.windows(size))


def _window(task: TaskCard) -> int | None:
    """Characters of a note that the task reads at a time; None where it reads all of it."""
    reads_windows = task.type == "ner" or (task.type == "re" and task.window is not None)
    return (task.window or NER_CHARS) if reads_windows else None


def _whole(asked: Request, vocabulary: Vocabulary, request: Callable[[Span], Request], size: int) -> Iterator[Request]:
    """The request, or requests for windows of at most `size` characters in its place, so that the context cuts none."""
    if size < _SMALLEST_WINDOW or not is_cut(vocabulary, asked):
        yield asked
        return
    offset = asked.example.offset
    for start, end in windows(asked.example.text, size):
        yield from _whole(request((offset + start, offset + end)), vocabulary, request, size // 2)


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure answers are, by the scale in a task's prompt file; as the backbone says it where there is none."""

    tokenizer: PreTrainedTokenizerBase
    scale: Scale | None = None

    @classmethod
    def of(cls, vocabulary: Vocabulary, prompt: PromptFile) -> Confidence:
        """That of a prompt file."""
        calibration = prompt.header.calibration
        return cls(vocabulary.tokenizer, Scale(calibration["slope"], calibration["shift"]) if calibration.get("units") else None)

    def items(self, prediction: Prediction) -> dict[Item, float]:
        """Of each entity or relation."""
        return {item: self._scaled(p) for item, p in of_items(self.tokenizer, prediction).items()}

    def whole(self, task: TaskCard, predictions: Sequence[Prediction]) -> float | None:
        """Of an answer; with several items or windows, of the one that it is least sure of."""
        if task.type in ("ner", "re"):
            of_items = [p for prediction in predictions for p in self.items(prediction).values()]
            if of_items:
                return min(of_items)
            scale = None  # which was fitted on items
        else:
            scale = self.scale
        whole_answers = [p.confidence for p in predictions if p.confidence is not None]
        return round(scale(min(whole_answers)) if scale else min(whole_answers), 4) if whole_answers else None

    def _scaled(self, p: float) -> float:
        return round(self.scale(p) if self.scale else p, 4)


def result_of(
    note: Note, task: TaskCard, asked: Sequence[Request], answers: Sequence[Prediction], confidence: Confidence
) -> Result:
    """The answers to all requests of a note for one task, put together at their places in the note."""
    return _result(note, task, [request.example for request in asked], answers, confidence)


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
    answer = predictions[0].parsed.answer if predictions else Answer()  # the latter for a note without text
    if task.type == "ner":
        pairs = zip(parts, predictions, strict=True)
        return {"entities": [e for part, p in pairs for e in _entities(note, part, p, confidence.items(p))]}
    if task.type == "re":
        pairs = zip(parts, predictions, strict=True)
        return {"relations": [r for part, p in pairs for r in _relations(note, part, p, confidence.items(p))]}
    if task.type == "summarization":
        return {"summary": answer.text}
    if task.form == "multiple":
        return {"labels": [task.labels[index] for index in answer.labels]}
    if task.form == "free":
        return {"answer": answer.text, "free": True}  # words of the model's own, and no option
    if task.form == "extractive":
        return {"answer": _extracted(note, answer.text)}
    return {"answer": None if answer.choice is None else (parts[0].choices or task.labels)[answer.choice]}


def _entities(note: Note, part: Example, prediction: Prediction, sure: Mapping[Item, float]) -> Iterator[Result]:
    for entity in prediction.parsed.answer.entities:
        span = _span(note, part.offset + entity.start, part.offset + entity.end)
        yield {"label": entity.label, **span, "confidence": sure.get(entity)}


def _relations(note: Note, part: Example, prediction: Prediction, sure: Mapping[Item, float]) -> Iterator[Result]:
    for relation in prediction.parsed.answer.relations:
        ends = [map(int, key.split(":")) for key in (relation.head, relation.tail)]
        head, tail = (_span(note, part.offset + start, part.offset + end) for start, end in ends)
        yield {"label": relation.label, "head": head, "tail": tail, "confidence": sure.get(relation)}


def _span(note: Note, start: int, end: int) -> Result:
    return {"start": start, "end": end, "text": note.text[start:end]}


def _extracted(note: Note, text: str) -> Result | None:
    """The first place in the note where the answer stands, or its words without offsets where the note lacks them."""
    span = locate(note.text, text)
    if span is not None:
        return _span(note, *span)
    return {"start": None, "end": None, "text": text} if text else None
