"""Typed answers to notes: entities, relations and answers with their offsets and confidences.

These are the lines that `mpdd predict` writes, as frozen dataclasses. Offsets count characters (Unicode code points) of the
note, end exclusive. In a notebook a note shows itself with its entities highlighted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mpdd.errors import InputError

Kind = Literal["entities", "relations", "labels", "answer", "free", "extract", "summary"]


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a note: `text` is `note[start:end]`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A labelled piece of a note; `confidence` (0 to 1) is None where it is not known."""

    label: str
    start: int
    end: int
    text: str
    confidence: float | None = None

    @property
    def span(self) -> Span:
        """Where it stands, without the label."""
        return Span(self.start, self.end, self.text)


@dataclass(frozen=True, slots=True)
class Relation:
    """A labelled pair of pieces of a note, from head to tail."""

    label: str
    head: Span
    tail: Span
    confidence: float | None = None


@dataclass(frozen=True)
class TaskAnswer:
    """The answer to one note for one task. `kind` says which fields are filled.

    `entities` and `relations`: those lists. `labels`: several labels. `answer`: the chosen option (None: none).
    `free`: `answer` has the model's own words.
    `extract`: `answer` has the words and `span` their place in the note, if they stand there. `summary`: `answer` has it.
    `confidence` is that of the least certain item. `ungrounded` counts items that name something outside the note, which
    were left out; `cut_characters` how many characters at the end of the note were not read.
    """

    task: str
    kind: Kind
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    labels: tuple[str, ...] = ()
    answer: str | None = None
    span: Span | None = None
    confidence: float | None = None
    unparseable: bool = False
    ungrounded: int = 0
    cut_characters: int = 0

    @property
    def categories(self) -> tuple[str, ...]:
        """What is said of the note as a whole: its labels, or the chosen option."""
        return (self.answer,) if self.kind == "answer" and self.answer is not None else self.labels

    def to_dict(self) -> dict[str, Any]:
        """The values of a line of `mpdd predict`, without the note's id."""
        from mpdd.annotate.answers.results import to_result

        return to_result(self)


@dataclass(frozen=True)
class AnnotatedNote:
    """A note with its answers, one for each task, in the order in which the prompts were given."""

    id: str
    text: str
    answers: tuple[TaskAnswer, ...] = ()

    def __getitem__(self, task: str) -> TaskAnswer:
        """The answer for a task; `InputError` where the note was not answered for it."""
        for answer in self.answers:
            if answer.task == task:
                return answer
        wanted = ", ".join(answer.task for answer in self.answers) or "nothing: the note has no answers"
        raise InputError("The note has no answer for this task", found=task, wanted=wanted)

    @property
    def entities(self) -> tuple[Entity, ...]:
        """The entities of all tasks, in the order of the note."""
        entities = [entity for answer in self.answers for entity in answer.entities]
        return tuple(sorted(entities, key=lambda entity: (entity.start, -entity.end)))

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The relations of all tasks."""
        return tuple(relation for answer in self.answers for relation in answer.relations)

    def to_dicts(self) -> list[dict[str, Any]]:
        """The lines of `mpdd predict`: one for each task."""
        return [{"id": self.id, **answer.to_dict()} for answer in self.answers]

    def _repr_html_(self) -> str:
        """The note with its entities highlighted, as notebooks show it."""
        from mpdd.annotate.answers.highlights import note_as_html

        return note_as_html(self)
