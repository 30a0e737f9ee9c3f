"""A report of annotation: counts and confidences by label, what could not be read, and the notes to look at first.

A note's doubt is that of its least certain answer. An answer that could not be read counts as confidence 0; one without a
confidence (nothing was asked) as certain. No text of a note is in a report, unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from mpdd.annotate.answers.file import Line
from mpdd.annotate.answers.types import AnnotatedNote, TaskAnswer

Item = TypeVar("Item")
Labelled = tuple[str, float | None]  # a label that was given, and its confidence
_CERTAIN = 2.0  # above every confidence


@dataclass(frozen=True)
class LabelCount:
    """How often a label was given, in how many answers, and the mean confidence where it is known."""

    items: int
    answers: int
    confidence: float | None


@dataclass(frozen=True)
class TaskReview:
    """All answers for one task. `ungrounded` and `cut` count answers; `without` those that name nothing."""

    task: str
    kind: str
    answers: int
    without: int
    confidence: float | None
    unparseable: int
    ungrounded: int
    cut: int
    labels: Mapping[str, LabelCount] = field(default_factory=dict)


@dataclass(frozen=True)
class Doubt:
    """A note and its least certain answer; `text` has that answer's least certain words only where text was asked for."""

    id: str
    task: str
    confidence: float
    unparseable: bool
    text: str = ""


@dataclass(frozen=True)
class Review:
    """The report on a file of answers; `least_certain` has the notes in the order in which to look at them."""

    notes: int
    answers: int
    tasks: tuple[TaskReview, ...]
    least_certain: tuple[Doubt, ...]

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON has them; shares are of the task's answers."""
        values = asdict(self)
        for task in values["tasks"]:
            for name in ("unparseable", "ungrounded", "cut"):
                task[f"{name}_share"] = round(task[name] / task["answers"], 4)
        return values


def review(
    answers: Sequence[Line], *, first: int = 10, show_text: bool = False, classes: Mapping[str, Collection[str]] | None = None
) -> Review:
    """Report on answers. `first` notes are listed as least certain.

    A chosen answer is counted by its words only where these are one of the task's `classes`, or with `show_text`: it may as
    well be free text, which quotes the note.
    """
    by_task: dict[str, list[TaskAnswer]] = {}
    for _, answer in answers:
        by_task.setdefault(answer.task, []).append(answer)
    classes_of = classes or {}
    tasks = tuple(_of_task(of_task, classes_of.get(task, ()), show_text) for task, of_task in by_task.items())
    return Review(len({note for note, _ in answers}), len(answers), tasks, tuple(_doubts(answers, show_text))[:first])


def least_certain_first(items: Sequence[Item], note: Callable[[Item], str], doubt: Callable[[Item], float]) -> list[Item]:
    """Items in the order of their notes' least `doubt` value; those of one note stay together, in their order."""
    lowest: dict[str, float] = {}
    for item in items:
        lowest[note(item)] = min(lowest.get(note(item), _CERTAIN), doubt(item))
    places = {name: place for place, name in enumerate(sorted(lowest, key=lambda name: lowest[name]))}
    return sorted(items, key=lambda item: places[note(item)])


def certainty(confidence: float | None, unparseable: bool) -> float:
    """A value to sort by: 0 for what could not be read, above 1 where no confidence is known."""
    return 0.0 if unparseable else _CERTAIN if confidence is None else confidence


def certainty_of(note: AnnotatedNote) -> float:
    """That of a note's least certain answer."""
    return min((certainty(answer.confidence, answer.unparseable) for answer in note.answers), default=_CERTAIN)


def _of_task(answers: Sequence[TaskAnswer], classes: Collection[str], show_text: bool) -> TaskReview:
    labels: dict[str, list[list[float | None]]] = {}  # for each label the confidences in each answer
    without = 0
    for answer in answers:
        of_answer: dict[str, list[float | None]] = {}
        for label, confidence in _labelled(answer, classes, show_text):
            of_answer.setdefault(label, []).append(confidence)
        without += not (answer.entities or answer.relations or answer.labels or answer.answer)
        for label, confidences in of_answer.items():
            labels.setdefault(label, []).append(confidences)
    counted = {label: _counted(labels[label]) for label in sorted(labels)}
    return TaskReview(
        answers[0].task, answers[0].kind, len(answers), without, _mean([answer.confidence for answer in answers]),
        sum(answer.unparseable for answer in answers), sum(answer.ungrounded > 0 for answer in answers),
        sum(answer.cut_characters > 0 for answer in answers), counted,
    )  # fmt: skip


def _labelled(answer: TaskAnswer, classes: Collection[str], show_text: bool) -> Iterator[Labelled]:
    yield from ((entity.label, entity.confidence) for entity in answer.entities)
    yield from ((relation.label, relation.confidence) for relation in answer.relations)
    yield from ((label, answer.confidence) for label in answer.labels)
    if answer.kind == "answer" and answer.answer and (show_text or answer.answer in classes):
        yield answer.answer, answer.confidence


def _counted(answers: Sequence[Sequence[float | None]]) -> LabelCount:
    items = [confidence for of_answer in answers for confidence in of_answer]
    return LabelCount(len(items), len(answers), _mean(items))


def _mean(confidences: Sequence[float | None]) -> float | None:
    measured = [confidence for confidence in confidences if confidence is not None]
    return round(sum(measured) / len(measured), 4) if measured else None


def _doubts(answers: Sequence[Line], show_text: bool) -> Iterator[Doubt]:
    """One for each note whose certainty is known, the least certain first."""
    least: dict[str, TaskAnswer] = {}
    for note, answer in sorted(answers, key=lambda line: certainty(line[1].confidence, line[1].unparseable)):
        least.setdefault(note, answer)
    for note, answer in least.items():
        value = certainty(answer.confidence, answer.unparseable)
        if value <= 1:
            yield Doubt(note, answer.task, round(value, 4), answer.unparseable, _words(answer) if show_text else "")


def _words(answer: TaskAnswer) -> str:
    """The words that an answer is least sure of."""
    items = [(certainty(e.confidence, False), e.text) for e in answer.entities]
    items += [(certainty(r.confidence, False), f"{r.head.text} {r.label} {r.tail.text}") for r in answer.relations]
    return min(items)[1] if items else "; ".join(answer.labels) or answer.answer or ""
