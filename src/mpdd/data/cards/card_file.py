"""A task card as TOML: what a user's task asks, and where its data lies. All problems of a card are named at once."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, permutations
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from mpdd.data import splits, synthetic, tasks
from mpdd.data.cards import formats, losses
from mpdd.data.cards.formats import FORMATS
from mpdd.data.cards.layout import Column, Layout, has_labels, optional, required
from mpdd.data.readers import saved_dataset
from mpdd.data.readers.base import NoRecordError, Notes, nothing_left
from mpdd.data.task import FORMS, SPLITS, Example, Splits, Task, TaskCard, TaskType
from mpdd.data.types.choice import are_distinct
from mpdd.data.types.spans import is_none
from mpdd.errors import InputError
from mpdd.files.toml import Name, read_toml, validated

SHARES = {"train": 70, "dev": 10, "test": 20}  # per cent of the documents, for the splits that are cut from train
_FEWEST = 2  # documents for each split, on average, so that splits are cut from train at all
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\r\n]*$")]
Paths = Annotated[
    tuple[Line, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value), Field(min_length=1)
]


def _column(value: object) -> Column:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError("should be a column's name, or a list of several")
    return tuple(names) if len(names) > 1 else str(names[0])


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """Where the data lies, relative to the card, and what the files call our columns and labels.

    A format that is left out is told by the content of the files.
    """

    format: str = ""
    train: Paths
    dev: Paths | None = None
    test: Paths | None = None
    strict: bool = False
    columns: Mapping[str, Annotated[Column, PlainValidator(_column)]] = {}
    labels: Mapping[str, str] = {}

    @field_validator("format")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name and name not in FORMATS:
            raise ValueError(f"wanted one of {', '.join(FORMATS)}")
        return name


class CardFile(_Section):
    """The whole card; `text_field`, `fields`, `max_answer_tokens` and `window` are those of `TaskCard`."""

    name: Name
    type: TaskType
    form: Annotated[str, Field(validate_default=True)] = ""
    instruction: Line
    labels: tuple[Line, ...] = ()
    text_field: Line = "Text"
    fields: tuple[Line, ...] = ()
    max_answer_tokens: Annotated[int, Field(gt=0)] = 64
    window: Annotated[int, Field(ge=50)] | None = None
    licence: str = "not stated"
    citation: str = "not stated"
    data: Data

    @field_validator("name")
    @classmethod
    def _is_its_own(cls, name: str) -> str:
        if name in tasks.names() or name in synthetic.TASKS:
            raise ValueError("the catalogue has a task of this name, wanted a name of its own")
        return name

    @field_validator("form")
    @classmethod
    def _fits_the_type(cls, form: str, given: ValidationInfo) -> str:
        forms = FORMS.get(given.data.get("type", ""), ("",))
        if "type" in given.data and form not in ("", *forms):
            raise ValueError(f"wanted one of {', '.join(forms)}" if forms != ("",) else "this type has no forms")
        return form or forms[0]

    @field_validator("labels")
    @classmethod
    def _can_be_told_apart(cls, labels: tuple[str, ...], given: ValidationInfo) -> tuple[str, ...]:
        if labels and not are_distinct(labels):
            raise ValueError("some differ in no more than case and spaces")
        if given.data.get("form") == "multiple" and any(map(is_none, labels)):
            raise ValueError("none stands for no label, and cannot be one")
        return labels

    @field_validator("window")
    @classmethod
    def _is_for_long_texts(cls, window: int | None, given: ValidationInfo) -> int | None:
        if window is not None and given.data.get("type", "ner") not in ("ner", "re"):
            raise ValueError("only texts with entities or relations are read in windows")
        return window

    @field_validator("fields")
    @classmethod
    def _are_further(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        taken = {"text", "id", "document", "entities", "relations", "answer", "answer_start", "choices"}
        if wrong := [name for name in fields if name in taken or fields.count(name) > 1]:
            raise ValueError(f"{', '.join(dict.fromkeys(wrong))} stands for something else, or twice")
        return fields

    @field_validator("data")
    @classmethod
    def _fits_the_task(cls, data: Data, given: ValidationInfo) -> Data:
        """Check what depends on the task, and that the files are there: in the folder that is the context."""
        problems = list(_path_problems(data, given.context or {}))
        if {"name", "type", "form", "instruction", "labels", "fields"} <= set(given.data):
            problems += _task_problems(data, given.data)
        if problems:
            raise ValueError("; ".join(problems))
        return data

    @property
    def card(self) -> TaskCard:
        """The card without its data, as a prompt file keeps it."""
        return TaskCard(**self.model_dump(exclude={"licence", "citation", "data"}))

    @property
    def layout(self) -> Layout:
        """What the files call things."""
        return Layout(self.card, self.data.columns, self.data.labels)


def _shares(examples: Sequence[Example], left_out: Sequence[str]) -> list[int]:
    """Return the shares of train and of what is cut from it; one document each where a share of few would be none."""
    number = len({example.document for example in examples})
    shares = [100 - sum(SHARES[split] for split in left_out), *(SHARES[split] for split in left_out)]
    edges = [number * sum(shares[:count]) // 100 for count in range(len(shares) + 1)]
    if number >= _FEWEST * len(shares) and any(start == end for start, end in pairwise(edges)):
        return [number - len(left_out), *(1 for _ in left_out)]
    return shares


def _path_problems(data: Data, context: Mapping[str, Any]) -> Iterator[str]:
    if "folder" not in context:
        return
    places = {split: locate(context["folder"], getattr(data, split)) for split in SPLITS}
    for split, paths in places.items():
        yield from (f"{split}: there is no file or folder {path}" for path in paths if not os.path.exists(path))
        if len(set(paths)) < len(paths):
            yield f"{split}: a file is named twice"
    for one, other in permutations(SPLITS, 2):
        if any(path in inside.parents for path in places[one] for inside in places[other]):
            yield f"{other}: lies inside the folder of {one}, which would hold its examples too"
    for one, other in combinations(SPLITS, 2):
        if set(places[one]) & set(places[other]):
            yield f"{other}: is the same file or folder as {one}"


def _task_problems(data: Data, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not fit: the format to the task, labels to the type, and the named columns and labels to both."""
    kind = f"{values['type']} {values['form']}".strip()
    wants = has_labels(values["type"], values["form"])
    if wants and not values["labels"]:
        yield f"labels: a task of type {kind} needs some (above [data])"
    if wants is False and values["labels"]:
        yield f"labels: a task of type {kind} has none"
        return
    if data.format and not FORMATS[data.format].holds(values["type"], values["form"]):
        fit = [name for name, known in FORMATS.items() if known.holds(values["type"], values["form"])]
        yield f"format: {data.format} holds no task of type {kind}, wanted one of {', '.join(fit)}"
        return
    if data.format == "squad" and len(values["fields"]) != 1:
        yield 'fields: squad files bring one further input, wanted fields = ["Question"]'
    card = TaskCard(**{name: value for name, value in values.items() if name in TaskCard.__dataclass_fields__})
    yield from _column_problems(data, card)
    for value, label in data.labels.items():
        if card.labels and label not in card.labels:
            yield f"labels.{value}: {label!r} is no label of the card, {_perhaps(label, card.labels)}"
    if data.labels and wants is False:
        yield f"labels: a task of type {kind} has none"


def _column_problems(data: Data, card: TaskCard) -> Iterator[str]:
    if data.columns and data.format and not FORMATS[data.format].is_table:
        yield f"columns: {data.format} files have no columns"
        return
    known = (*required(card), *optional(card))
    for name, column in data.columns.items():
        if name not in known:
            yield f"columns.{name}: no such column, {_perhaps(name, known)}"
        elif not isinstance(column, str) and name != "choices":
            yield f"columns.{name}: should be one column"


def _perhaps(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=2)
    return f"perhaps {' or '.join(near)}" if near else f"wanted one of {', '.join(known)}"


def locate(folder: Path, paths: tuple[str, ...] | None) -> list[Path]:
    """Return the paths of a card as they are found from its folder."""
    return [_located(folder, path) for path in paths or ()]


def _located(folder: Path, path: str) -> Path:
    try:
        return (folder / Path(path).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError):  # a user that does not exist, a link to itself, a zero byte
        return folder / path


def read(path: Path, *, strict: bool | None = None) -> Task:
    """Return the task of a card, whose data is not read before its `load`; `strict` overrides what the card says.

    Raise one `InputError` that lists all problems of the card.
    """
    found = build(read_toml(path, "task card"), path.name, path.parent)
    return task(found, path, strict)


def build(values: Mapping[str, Any], where: str, folder: Path | None = None) -> CardFile:
    """Check a card's values; with a `folder` also that the data lies there."""
    return validated(CardFile, values, where, {} if folder is None else {"folder": folder})


def task(found: CardFile, path: Path, strict: bool | None = None) -> Task:
    """Return the task of a checked card that lies at `path`."""
    source = Source(found, path, found.data.strict if strict is None else strict)
    own = Task(found.card, "user", (), lambda _: source.load(), found.licence, found.citation)
    if found.type not in ("ner", "re") or found.window is not None:
        return own
    return replace(own, in_windows=lambda window: task(found.model_copy(update={"window": window}), path, strict))


@dataclass(frozen=True)
class Source:
    """The data of a card at `path`; when `strict`, the first bad record is an error."""

    found: CardFile
    path: Path
    strict: bool

    def load(self) -> Splits:
        """Read the splits; those that the card leaves out are cut from train by the rule in `splits`."""
        notes = Notes(self.strict)
        parts = {split: tuple(self._read(split, notes)) for split in SPLITS if self._paths(split)}
        left_out = [split for split in SPLITS if split not in parts]
        if left_out:
            shares = _shares(parts["train"], left_out)
            parts |= zip(("train", *left_out), splits.cut(parts["train"], shares), strict=True)
        made = splits.make(parts["train"], parts["dev"], parts["test"], notes)
        for split in SPLITS:
            if not made[split]:
                raise self._empty(split, left_out, parts, notes)
        read = (example for part in parts.values() for example in part)
        kept = (example for split in SPLITS for example in made[split])
        return replace(made, losses=losses.by_label(self.found.layout, notes, read, kept))

    def _paths(self, split: str) -> list[Path]:
        """Return what a split is read from: what the card names, else the split beside that of train in saved datasets."""
        own, train = (locate(self.path.parent, getattr(self.found.data, name)) for name in (split, "train"))
        named = [saved_dataset.split_of(path, split) for path in own]
        beside = [] if own else [saved_dataset.splits_in(path) for path in train]
        return named or [splits[split] for splits in beside if split in splits]

    def _read(self, split: str, notes: Notes) -> list[Example]:
        data = self.found.data
        corpus, paths = f"{self.found.name}:{split}", self._paths(split)
        before, lost = notes.counts.copy(), notes.lost.copy()
        try:
            examples = formats.read(data.format, self.found.layout, corpus, paths, notes)
        except NoRecordError as error:
            raise nothing_left(error.what, notes.counts - before) from error
        if not examples:
            raise nothing_left(f"{self.path.name}: the {split} data has no usable record", notes.counts - before)
        losses.require_gold(f"{self.path.name}: the {split} data", self.found.layout, examples, notes.lost - lost, split)
        return examples

    def _empty(self, split: str, left_out: Sequence[str], parts: Mapping[str, tuple[Example, ...]], notes: Notes) -> InputError:
        number = len({example.document for part in parts.values() for example in part})
        what, found = f"{self.path.name}: no {split} example is left", f"{number} documents in all"
        found += "".join(f", {count} {note}" for note, count in notes.counts.items() if not note.startswith(SPLITS))
        if split not in left_out and parts[split]:
            found += f", those of {split} in a later split too"
            return InputError(what, found=found, wanted="documents that no later split holds")
        lacking = split if split in left_out else left_out[-1]
        wanted = f"about ten documents or more to cut {lacking} from train"
        return InputError(what, found=found, wanted=wanted, next_step=f"Name a file for data.{lacking}.")
