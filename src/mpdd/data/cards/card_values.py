"""What a task card may say, as checked values: the task, where its data lies, and what the files call things."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
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

from mpdd.data import synthetic, tasks
from mpdd.data.cards.formats import FORMATS, LINES
from mpdd.data.cards.layout import Column, Layout, has_labels, optional, required
from mpdd.data.task import FORMS, SPLITS, TaskCard, TaskType
from mpdd.data.types.choice import are_distinct
from mpdd.data.types.spans import fold, is_none
from mpdd.files.toml import Name

Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\r\n]*$")]
Paths = Annotated[
    tuple[Line, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value), Field(min_length=1)
]


def _column(value: object, given: ValidationInfo) -> Column | dict[str, Column]:
    """Return the file's column for one of ours, or the columns of a split by ours."""
    if isinstance(value, dict):
        if nested := [ours for ours, names in value.items() if isinstance(names, dict)]:
            raise ValueError(f"{nested[0]} should be a column's name, or a list of several")
        return {ours: _names(names, given.data) for ours, names in value.items()}
    return _names(value, given.data)


def _names(value: object, data: Mapping[str, Any]) -> Column:
    names = value if isinstance(value, list) else [value]
    has_numbers = data.get("headerless") or data.get("format") == LINES
    kinds = (str, int) if has_numbers else str
    if not names or not all(isinstance(name, kinds) and name for name in names):
        wanted = "should be a column's name, or a list of several"
        raise ValueError(wanted if has_numbers else f"{wanted} (or numbers, with headerless = true)")
    return tuple(map(str, names)) if len(names) > 1 else str(names[0])


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """Where the data lies, relative to the card, and what the files call our columns and labels.

    A format that is left out is told by the content of the files. `columns` may have those of a split under its name;
    they come before those of all splits.
    """

    format: str = ""
    train: Paths
    dev: Paths | None = None
    test: Paths | None = None
    strict: bool = False
    headerless: bool = False
    ignore_case: bool = False
    columns: Mapping[str, Annotated[Column | Mapping[str, Column], PlainValidator(_column)]] = {}
    labels: Mapping[str, str] = {}

    @field_validator("format")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name and name not in FORMATS:
            raise ValueError(f"wanted one of {', '.join(FORMATS)}")
        return name

    def columns_of(self, split: str) -> dict[str, Column]:
        """Return the columns of a split's files, by ours."""
        own = self.columns.get(split, {})
        shared = {ours: column for ours, column in self.columns.items() if not isinstance(column, Mapping)}
        return shared | dict(own if isinstance(own, Mapping) else {})


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

    def layout(self, split: str) -> Layout:
        """What the files of a split call things."""
        data = self.data
        return Layout(self.card, data.columns_of(split), data.labels, data.ignore_case, data.headerless)


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
    if data.ignore_case:
        yield from _case_problems(data.labels, card)
    if data.labels and wants is False:
        yield f"labels: a task of type {kind} has none"


def _case_problems(labels: Mapping[str, str], card: TaskCard) -> Iterator[str]:
    """Yield values of different labels that differ in case alone, which `ignore_case` cannot tell apart."""
    meant = {fold(label): label for label in card.labels}
    for value, label in labels.items():
        if meant.setdefault(fold(value), label) != label:
            yield f"labels.{value}: ignore_case cannot tell it from the value that stands for {meant[fold(value)]!r}"


def _column_problems(data: Data, card: TaskCard) -> Iterator[str]:
    if data.columns and data.format and not FORMATS[data.format].is_table:
        yield f"columns: {data.format} files have no columns"
        return
    of_splits = {name: columns for name, columns in data.columns.items() if isinstance(columns, Mapping)}
    for name in of_splits.keys() - set(SPLITS):
        wanted = f"should be a column's name, or a list of several; a table is for one of {', '.join(SPLITS)}"
        yield f"columns.{name}: {wanted}"
    for split, columns in of_splits.items():
        yield from _names_problems(f"columns.{split}", columns, card)
    shared = {ours: column for ours, column in data.columns.items() if not isinstance(column, Mapping)}
    yield from _names_problems("columns", shared, card)
    if data.headerless:
        yield from _number_problems(data, card)


def _names_problems(where: str, columns: Mapping[str, Column], card: TaskCard) -> Iterator[str]:
    known = (*required(card), *optional(card))
    for name, column in columns.items():
        if name not in known:
            yield f"{where}.{name}: no such column, {_perhaps(name, known)}"
        elif not isinstance(column, str) and name != "choices":
            yield f"{where}.{name}: should be one column"


def _number_problems(data: Data, card: TaskCard) -> Iterator[str]:
    """Yield what the columns of files without a header line lack: a number for each that the task asks for."""
    if data.format and not {data.format} <= {"csv", "tsv"}:
        yield f"headerless: {data.format} files have no header line, wanted format csv or tsv"
    for split in (split for split in SPLITS if getattr(data, split)):
        layout = Layout(card, data.columns_of(split))
        if missing := [ours for ours in required(card) if ours not in layout.columns]:
            yield f"columns: in headerless files each is a number from 1 on, missing for {', '.join(missing)} ({split})"
        elif wrong := [name for name in layout.declared if not name.isdecimal() or int(name) < 1]:
            yield f"columns: in headerless files each is a number from 1 on, not {', '.join(wrong)} ({split})"


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
