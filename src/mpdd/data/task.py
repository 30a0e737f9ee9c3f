"""The nouns of the data side: a task card, an example, a structured answer, and the task that joins them.

A `Task` is one small value: a card (what to do, how to ask), a source (where the examples come from),
and, through its type, how an example is rendered, parsed and scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mpdd.errors import InputError

TaskType = Literal["ner", "re", "qa", "nli", "summarization", "classification"]
FORMS = {"qa": ("choice", "extractive", "free"), "classification": ("single", "multiple")}  # of answers, the default first
HEADLINES = {  # the metric that stands for a task, by type and form
    ("ner", ""): "strict_f1",
    ("re", ""): "strict_f1",
    ("qa", "choice"): "accuracy",
    ("qa", "extractive"): "token_f1",
    ("qa", "free"): "token_f1",
    ("nli", ""): "macro_f1",
    ("summarization", ""): "rougeL",
    ("classification", "single"): "macro_f1",
    ("classification", "multiple"): "micro_f1",
}
Role = Literal["source", "target", "spare", "user"]
SPLITS = ("train", "dev", "test")
PROMPT_LENGTH = 16  # virtual tokens of a prompt, unless an experiment says otherwise; inputs leave room for them


@dataclass(frozen=True, order=True)
class Entity:
    """A labelled span; `start` and `end` are character offsets into `Example.text`, end exclusive."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, order=True)
class Relation:
    """A typed, directed pair. In gold, head and tail are argument keys of `Example.arguments`;
    in a prediction they are the argument keys that the generated mentions were resolved to."""

    label: str
    head: str
    tail: str


@dataclass(frozen=True)
class Answer:
    """A structured answer, gold or predicted; only the fields of the task's type are filled.

    `choice` indexes `Example.choices` (QA) or `TaskCard.labels` (NLI, classification with a single label); `labels`
    are sorted indexes into `TaskCard.labels` (classification with multiple labels); `text` is a summary, a free answer,
    or the words that extractive QA takes from `Example.text`.
    """

    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    choice: int | None = None
    text: str = ""
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Parsed:
    """A model output read back: the answer, whether it could be read at all, and how many of its
    items name something that is not in the text, or no label of the card (counted, never invented). Such items are
    dropped, but an extracted answer keeps its words, as they are what is scored. `places` says where in the output each
    entity or relation was written, as (start, end) in characters."""

    answer: Answer
    unparseable: bool = False
    ungrounded: int = 0
    places: Mapping[Entity | Relation, tuple[int, int]] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Example:
    """One input with its gold answer.

    `text` is what offsets refer to. `fields` are further named inputs, shown after the text in order
    (for example question, hypothesis). `choices` are the options of a QA item. `arguments` maps an
    argument key (a concept id or a mention id) to the surface forms by which a relation may name it, the
    canonical form first. `offset` is the position of `text` in its document; `lost` counts gold items
    that cannot be answered (across a window's edge, a discontinuous entity) and so count as missed.
    """

    id: str
    document: str
    text: str
    gold: Answer
    fields: tuple[tuple[str, str], ...] = ()
    choices: tuple[str, ...] = ()
    arguments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    offset: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class TaskCard:
    """What a task asks: everything needed to render an input and read an output, without its data.

    `labels` are entity labels (NER), relation labels (RE), classes (classification) or the answer words (NLI, and QA
    with a fixed answer set). `text_field` names the text in the rendered input, e.g. "Text" or "Premise"; `fields`
    names the further inputs that every example brings, e.g. "Question", in order. `form` is the form of the answers
    where a type has several: QA gives a "choice" (the default), a piece of the text ("extractive") or any words
    ("free"); classification a "single" label (the default) or "multiple". Other types have the form "". `window` is how
    many characters of a text are read at a time, for entities and relations; None: 400 for entities, all for relations.
    """

    name: str
    type: TaskType
    instruction: str
    labels: tuple[str, ...] = ()
    text_field: str = "Text"
    fields: tuple[str, ...] = ()
    max_answer_tokens: int = 64
    form: str = ""
    window: int | None = None

    def __post_init__(self) -> None:
        """Fill in the type's default form; raise `InputError` for a form that does not fit the type and the labels."""
        forms = FORMS.get(self.type, ("",))
        if self.form == "":
            object.__setattr__(self, "form", forms[0])
        if self.form not in forms or (self.form in ("extractive", "free") and self.labels):
            raise InputError(
                f"The task {self.name} cannot have answers of this form",
                found=f"form {self.form!r}, type {self.type!r}, {len(self.labels)} labels",
                wanted="; ".join(f"for {kind}: {', '.join(names)}" for kind, names in FORMS.items())
                + "; no form for other types, and no labels with extractive and free answers",
            )

    @property
    def kind(self) -> str:
        """The kind of answers: the type, with the form where it has several, as "ner" or "qa choice"."""
        return f"{self.type} {self.form}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = {**asdict(self), "labels": list(self.labels), "fields": list(self.fields)}
        return {name: value for name, value in values.items() if name != "window" or value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskCard:
        """Build a card from JSON values; raise `InputError` naming the unknown or missing keys."""
        fields = set(cls.__dataclass_fields__)
        unknown, missing = set(values) - fields, {"name", "type", "instruction"} - set(values)
        if unknown or missing:
            raise InputError(
                "The task card has wrong keys",
                found=f"unknown {sorted(unknown)}, missing {sorted(missing)}",
                wanted=f"keys out of {sorted(fields)}",
            )
        return cls(**{**values, "labels": tuple(values.get("labels", ())), "fields": tuple(values.get("fields", ()))})


def require_same_answers(card: TaskCard, prompt_card: TaskCard, name: str) -> None:
    """Raise `InputError`, naming the card's file, unless answers under a prompt can be held against the data of the card."""
    if (card.type, card.form, card.labels) != (prompt_card.type, prompt_card.form, prompt_card.labels):
        raise InputError(
            f"The card {name} is for another task than the prompt", found=f"{card.kind}, {len(card.labels)} labels",
            wanted=f"{prompt_card.kind} with the labels of {prompt_card.name}",
        )  # fmt: skip


@dataclass(frozen=True)
class Splits:
    """The examples of a task, and counts of what its reader dropped or cut, by reason.

    `losses` counts, for each label, the annotations of a user's files that are no gold item of an example, by reason.
    `places` says, by reason, where the first record that was skipped stands.
    """

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    notes: Mapping[str, int] = field(default_factory=dict)
    losses: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)

    def with_place(self, note: str) -> str:
        """A reason of `notes`, with the place of the first record that was skipped for it."""
        return f"{note} ({self.places[note]}{', and others' * (self.notes[note] > 1)})" if note in self.places else note

    def __getitem__(self, split: str) -> tuple[Example, ...]:
        if split not in SPLITS:
            raise InputError("Unknown split", found=repr(split), wanted="one of train, dev, test")
        examples: tuple[Example, ...] = getattr(self, split)
        return examples


@dataclass(frozen=True)
class Task:
    """A task of the catalogue.

    `files` are the upstream files it reads, as paths relative to the data store; `load` gets the store's
    root and returns the splits. `coarse`, where there is one, maps an answer, gold or predicted, to coarser labels, by
    which the task is scored a second time. `in_windows`, which users' tasks have whose card sets no window, gives the same
    task with windows of so many characters.
    """

    card: TaskCard
    role: Role
    files: tuple[str, ...]
    load: Callable[[Path], Splits]
    licence: str
    citation: str
    coarse: Callable[[Answer], Answer] | None = None
    in_windows: Callable[[int], Task] | None = None

    @property
    def name(self) -> str:
        """The catalogue name."""
        return self.card.name

    @property
    def headline(self) -> str:
        """The metric that stands for the task."""
        return HEADLINES[self.card.type, self.card.form]
