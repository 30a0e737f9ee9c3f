"""The values of a task card, from options and from questions on the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import typer

from mpdd.data.cards import new
from mpdd.data.cards.formats import FORMATS
from mpdd.data.cards.layout import Column, has_labels, optional, required
from mpdd.data.cards.names import proposed
from mpdd.data.task import FORMS, SPLITS, TaskCard, TaskType
from mpdd.errors import InputError

NEEDED = ("name", "type", "instruction", "train")

_LONGEST_NAME = 40  # characters of a column's name that is shown


class Interview:
    """Values by key, as options give them (None: not given); it asks questions only if one that is needed is missing."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        missing = [key for key in NEEDED if given[key] is None]
        unlabelled = given["labels"] is None and has_labels(given["type"] or "", _form(given)) is True
        self._formats: dict[str, str] = {}
        formats = (
            self.formats(given["train"] or (), given["type"], _form(given)) if given["format"] is None and given["type"] else ()
        )
        self.asks = bool(missing) or unlabelled or not all(formats)
        if not missing and not unlabelled and self.asks and not sys.stdin.isatty():
            paths = [path for path in given["train"] if self._formats.get(path) == ""]
            raise InputError(
                f"What is in {paths[0]} cannot be told by its content",
                found="a folder" if os.path.isdir(paths[0]) else "a file of no known kind",
                wanted=f"--format, one of {', '.join(FORMATS)}",
                next_step="docs/formats.md shows each.",
            )

    def formats(self, paths: Sequence[str], task_type: str, form: str) -> tuple[str, ...]:
        """Return the formats of files, each once and "" for one that cannot be told; a file is looked at once."""
        unseen = [path for path in paths if path not in self._formats]
        self._formats |= new.recognised(unseen, task_type, form, headerless=self.given["headerless"])
        return tuple(dict.fromkeys(self._formats[path] for path in paths if path in self._formats))

    def text(self, key: str, question: str, default: str | None = None, among: Sequence[str] = ()) -> str:
        """Return the value of `key`: as given, else as answered; where nothing is asked, the default."""
        if self.given.get(key) is not None:
            return str(self.given[key])
        return ask(f"--{key.replace('_', '-')}", question, default, among) if self.asks else default or ""

    def list(self, key: str, question: str, default: str | None = None) -> list[str]:
        """Return the values of `key`, which an answer gives between commas."""
        given = self.given.get(key)
        return list(given) if isinstance(given, list) else split(self.text(key, question, default))


def ask(option: str, question: str, default: str | None = None, among: Sequence[str] = ()) -> str:
    """Ask until the answer is one of `among`; raise `InputError` naming the option where nobody can answer."""
    while True:
        try:
            listed = f" ({', '.join(among)})" if among else ""
            answer = str(typer.prompt(question + listed, default=default, show_default=bool(default), err=True)).strip()
        except typer.Abort:
            if sys.stdin.isatty():
                raise
            raise InputError(f"Nobody answered {question!r}", next_step=f"Give it as {option}.") from None
        if not among or answer in among:
            return answer


def split(text: str) -> list[str]:
    """Return the parts between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def values(interview: Interview) -> dict[str, Any]:
    """Return the values of a card, as TOML has them; what is wrong with them is for the card's check to say."""
    name = interview.text("name", "Name of the task")
    task_type = interview.text("type", "Type", among=get_args(TaskType))
    forms = FORMS.get(task_type, ())
    form = interview.text("form", "Form of the answers", forms[0], forms) if forms else interview.given["form"] or ""
    kind = new.kind(task_type, form)
    card = {
        "name": name,
        "type": task_type,
        "form": form,
        "instruction": interview.text("instruction", "Instruction to the model", new.INSTRUCTIONS.get(kind)),
        "labels": interview.given["labels"] or [],
    }
    if has_labels(task_type, form) is not False:
        card["labels"] = interview.list("labels", "Labels, between commas", None if has_labels(task_type, form) else "")
    usual = "" if kind == "qa free" and _is_question_alone(interview, card) else new.FIELDS.get(kind, "")
    card["fields"] = interview.list("fields", "Further inputs, between commas", usual)
    is_asked = kind in ("qa choice", "qa free") and not card["fields"]
    fixed = "Question" if is_asked else new.TEXT_FIELDS.get(kind, "Text")
    card["text_field"] = interview.text("text_field", "What the text is called", fixed)
    card["max_answer_tokens"] = new.ANSWER_TOKENS.get(kind)
    return card | {"data": _data(interview, card)}


def _data(interview: Interview, card: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {"train": interview.list("train", "Training data, a file or folder")}
    formats = interview.formats(data["train"], card["type"], card["form"]) if interview.given["format"] is None else ()
    data["format"] = interview.text("format", "Format", formats[0] if formats and all(formats) else None, tuple(FORMATS))
    data |= {split: interview.list(split, f"{split} data (empty: cut from train)", "") for split in SPLITS[1:]}
    shared, of_splits = new.columns_given(interview.given["columns"])
    data |= {name: interview.given[name] for name in ("headerless", "ignore_case")}
    data |= {"labels": interview.given["values"], "columns": {**new.named(shared), **of_splits}}
    file_format, paths = data["format"], [Path(path) for path in data["train"]]
    if file_format in FORMATS and FORMATS[file_format].is_table and all(map(os.path.exists, paths)):
        there = new.columns(file_format, paths, _task_card(card), headerless=data["headerless"])
        train_columns = of_splits.get("train", {})
        chosen = _columns(interview, card, there, shared | train_columns) if there else shared
        data["columns"] = {**new.named({ours: chosen[ours] for ours in chosen if ours not in train_columns}), **of_splits}
    others = [path for split in SPLITS[1:] for path in data[split]]
    if file_format in formats and {*formats, *interview.formats(others, card["type"], card["form"])} != {file_format}:
        data["format"] = ""  # several formats: each file is told by its content
    return data


def _task_card(values: Mapping[str, Any]) -> TaskCard:
    return TaskCard.from_dict({key: value for key, value in values.items() if value is not None})


def _named(columns: Sequence[str]) -> str:
    """The columns' names, unless one is too long for a name: a table without a header begins with a note."""
    if max(map(len, columns), default=0) > _LONGEST_NAME:
        return f"{len(columns)} columns, with names too long to show: does the first line hold the names?"
    return ", ".join(columns)


def _is_question_alone(interview: Interview, values: Mapping[str, Any]) -> bool:
    """Say whether the data given for a question task has no column for a context beside that for the question."""
    paths, columns = interview.given["train"] or [], interview.given["columns"]
    card = _task_card({**values, "fields": ["Question"]})
    formats = (interview.given["format"],) if interview.given["format"] else interview.formats(paths, card.type, card.form)
    if len(formats) != 1 or formats[0] not in FORMATS or not all(map(os.path.exists, paths)):
        return False
    there = new.columns(formats[0], [Path(path) for path in paths], card, headerless=interview.given["headerless"])
    filled = {*columns, *proposed(card, [name for name in there if name not in columns.values()], tuple(columns))}
    return bool(there) and not {"text", "Question"} <= filled


def _columns(
    interview: Interview, values: Mapping[str, Any], there: Sequence[str], given: Mapping[str, Column]
) -> dict[str, Column]:
    """Return the file's columns by our names: those given, else those answered, else those that look like them."""
    card = _task_card(values)
    taken = {name for column in given.values() for name in ([column] if isinstance(column, str) else column)}
    near = {} if interview.given["headerless"] else proposed(card, [n for n in there if n not in taken], tuple(given))
    chosen = {**given, **near}
    if not interview.asks:
        return chosen
    typer.echo(f"The first record has {_named(there)}.", err=True)
    for ours in (*required(card), *optional(card)):
        if ours not in given:
            proposal = chosen.get(ours, None if ours in required(card) else "")
            default = proposal if proposal is None or isinstance(proposal, str) else ",".join(proposal)
            chosen[ours] = new.column(ask(f"--column {ours}=...", f"Column of {ours}", default))
    return {ours: column for ours, column in chosen.items() if column}


def _form(given: Mapping[str, Any]) -> str:
    return str(given["form"] or FORMS.get(given["type"], ("",))[0])
