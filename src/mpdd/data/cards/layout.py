"""What a user's table holds and under which names: the columns that each type of task asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mpdd.data.task import TaskCard
from mpdd.data.types.spans import fold

Column = str | tuple[str, ...]
UNLABELLED = (("qa", "extractive"), ("qa", "free"), ("summarization", ""))


@dataclass(frozen=True)
class Layout:
    """A task card with the names that the user's files have for its parts.

    `columns` gives the file's column for ours (several columns for the options of a question), `labels` our label for
    the file's value; what is not named has the same name. With `ignore_case`, labels and such values may be in any case.
    Where CSV and TSV files are `headerless`, their columns are called by their numbers, from 1 on.
    """

    card: TaskCard
    columns: Mapping[str, Column] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    ignore_case: bool = False
    headerless: bool = False

    def names(self, column: str) -> tuple[str, ...]:
        """Return the file's columns for one of ours."""
        found = self.columns.get(column, column)
        return (found,) if isinstance(found, str) else found

    def name(self, column: str) -> str:
        """Return the file's column for one of ours."""
        return self.names(column)[0]

    def label(self, value: str) -> str:
        """Return our label, or an option's name, for a value of the file."""
        if value in self.labels or value in self.card.labels or not self.ignore_case:
            return self.labels.get(value, value)
        name = self._folded.get(fold(value), value)
        return self.labels.get(name, name)

    def in_another_case(self, value: str) -> str:
        """Return the label or value that the card knows, where a value of the file differs in case alone; else ""."""
        return "" if value in self.labels or value in self.card.labels else self._folded.get(fold(value), "")

    @cached_property
    def _folded(self) -> dict[str, str]:
        """The labels and values that the card knows, by themselves in no case."""
        return {fold(name): name for name in (*self.card.labels, *self.labels)}

    @property
    def names_of_labels(self) -> Mapping[str, str]:
        """Our labels by all names that annotations may have for them."""
        return _Names(self)

    @property
    def required(self) -> tuple[str, ...]:
        """The file's columns that each record fills."""
        return tuple(name for column in required(self.card) for name in self.names(column))

    @property
    def declared(self) -> tuple[str, ...]:
        """The file's columns that have to be there: the required ones, and the optional ones that are named."""
        return tuple(dict.fromkeys((*self.required, *(name for column in self.columns for name in self.names(column)))))


class _Names(Mapping[str, str]):
    """The labels of a layout by the names that stand for them: in any case, where the layout ignores it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._plain = {label: label for label in layout.card.labels} | dict(layout.labels)

    def __getitem__(self, name: str) -> str:
        if name not in self._plain and self._layout.ignore_case:
            label = self._layout.label(name)
            if label in self._layout.card.labels:
                return label
        return self._plain[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._plain)

    def __len__(self) -> int:
        return len(self._plain)


def required(card: TaskCard) -> tuple[str, ...]:
    """Return the columns, by our names, that a task asks of each record."""
    answers = {"ner": ("entities",), "re": ("entities", "relations")}.get(card.type, ("answer",))
    return ("text", *card.fields, *(("choices",) if has_options(card) else ()), *answers)


def optional(card: TaskCard) -> tuple[str, ...]:
    """Return the columns, by our names, that a task uses where they are there."""
    return ("id", "document", *(("answer_start",) if card.form == "extractive" else ()))


def has_options(card: TaskCard) -> bool:
    """Say whether each example brings its own options: questions with a choice, but no fixed answers."""
    return card.type == "qa" and card.form == "choice" and not card.labels


def has_labels(task_type: str, form: str) -> bool | None:
    """Say whether a task of this type and form has labels; None: it may."""
    if (task_type, form) in UNLABELLED:
        return False
    return None if task_type == "qa" else True
