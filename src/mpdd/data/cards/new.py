"""Writing a task card: what can be guessed from the type of task and the first record, and the ready cards to copy."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from mpdd.data.cards import formats, table_files
from mpdd.data.cards.formats import FORMATS
from mpdd.data.cards.layout import Column, Layout
from mpdd.data.readers.base import NoRecordError, Notes, nothing_left, usable
from mpdd.data.task import SPLITS, TaskCard
from mpdd.errors import InputError
from mpdd.files import write_atomically

KEYS = (
    "name", "type", "form", "instruction", "labels", "text_field", "fields", "max_answer_tokens", "window", "licence", "citation",
)  # fmt: skip
DATA_KEYS = ("format", "train", "dev", "test", "strict", "headerless", "ignore_case", "columns", "labels")
PRESETS = Path(__file__).parent / "presets.txt"  # cards, each after a line `--- NAME`
INSTRUCTIONS = {
    "ner": "List the things named in the text, by their labels.",
    "re": "List how the things named in the text are related.",
    "qa choice": "Choose the best answer to the question.",
    "qa extractive": "Answer the question with words from the text.",
    "qa free": "Answer the question from the text.",
    "nli": "Does the premise entail or contradict the hypothesis?",
    "classification single": "Which of the labels fits the text?",
    "classification multiple": "Which of the labels fit the text? Name all, or none.",
    "summarization": "Summarize the text.",
}
FIELDS = {"nli": "Hypothesis", "qa extractive": "Question", "qa free": "Question"}
TEXT_FIELDS = {"nli": "Premise"}
ANSWER_TOKENS = {"ner": 160, "re": 224, "qa extractive": 96, "qa free": 128, "summarization": 256}


def kind(task_type: str, form: str) -> str:
    """Return a type with its form, as the tables above name it."""
    return f"{task_type} {form}".strip()


def recognised(paths: Sequence[str], task_type: str, form: str, *, headerless: bool = False) -> dict[str, str]:
    """Return the format in which each file or folder is written; "" for one that cannot be told.

    A file that is not there is told by its ending, or left out. `headerless` is that of `Layout`.
    """
    told = zip(paths, formats.recognise(list(map(Path, paths)), task_type, form, headerless=headerless), strict=True)
    return {path: name for path, name in told if name or os.path.exists(path)}


def columns(file_format: str, paths: Sequence[Path], card: TaskCard, *, headerless: bool = False) -> tuple[str, ...]:
    """Return the names of the first record's fields, of an export those that are read from it too.

    Raise `InputError` as its reader does; () for a format whose columns have no names.
    """
    if not FORMATS[file_format].is_table or file_format == formats.LINES:
        return ()
    first, notes = next(table_files.files(paths, FORMATS[file_format].suffixes)), Notes()
    try:
        records = table_files.table_records(file_format, Layout(card, headerless=headerless), first, notes)
        return tuple(str(name) for record in usable(first, records)[:1] for name in record.values)
    except NoRecordError as error:
        raise nothing_left(error.what, notes.counts) from error


def column(text: str) -> Column:
    """Return the column, or the several columns between commas, that a text names."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(parts) if len(parts) > 1 else text.strip()


def columns_given(pairs: Mapping[str, str]) -> tuple[dict[str, Column], dict[str, dict[str, Any]]]:
    """Return the columns that options give, by ours, and those of one split (`test.text=report`) as a card has them."""
    shared: dict[str, Column] = {}
    of_splits: dict[str, dict[str, Any]] = {}
    for ours, text in pairs.items():
        split, dot, name = ours.partition(".")
        given = column(text)
        if dot and split in SPLITS:
            of_splits.setdefault(split, {})[name] = given if isinstance(given, str) else list(given)
        else:
            shared[ours] = given
    return shared, of_splits


def named(chosen: Mapping[str, Column]) -> dict[str, Any]:
    """Return the columns that a card has to name: those of another name than ours, and the document's."""
    named = {ours: column for ours, column in chosen.items() if column != ours or ours == "document"}
    return {ours: column if isinstance(column, str) else list(column) for ours, column in named.items()}


def presets() -> dict[str, str]:
    """Return the text of each ready card by its name."""
    _, *cards = PRESETS.read_text(encoding="utf-8").split("\n--- ")
    named = (card.partition("\n") for card in cards)
    return {name: text.removesuffix("\n") + "\n" for name, _, text in named}


def preset(name: str, changes: Mapping[str, Any]) -> str:
    """Return a ready card's text with other values (empty ones change nothing); raise `InputError` for an unknown name."""
    cards = presets()
    if name not in cards:
        near = difflib.get_close_matches(name, cards, n=2)
        raise InputError(
            f"There is no ready card called {name!r}",
            wanted=f"perhaps {' or '.join(near)}" if near else f"one of {', '.join(cards)}",
            next_step="`mpdd task new --list` lists them all.",
        )
    text = cards[name]
    values, new = tomllib.loads(text), filled({key: changes[key] for key in changes if key in (*KEYS, "data")})
    if new == {"data": {}}:
        return text
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    return toml({**values, **new, "data": {**values["data"], **new["data"]}}, comments)


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a card's values in the order of a card, without those that are empty."""
    data = {name: values["data"].get(name) for name in DATA_KEYS}
    whole = {name: values.get(name) for name in KEYS}
    return {**{k: v for k, v in whole.items() if v}, "data": {k: v for k, v in data.items() if v}}


def toml(values: Mapping[str, Any], comments: Iterable[str]) -> str:
    """Return a card as text."""
    return "".join(f"# {line}\n" for line in comments) + tomli_w.dumps(values)


def require_writable(path: Path, force: bool) -> None:
    """Raise `InputError` for a name that is none of a card, or where a file is there already, unless forced."""
    if path.suffix != ".toml":
        raise InputError("The name of a card ends in .toml", found=repr(str(path)), next_step="Choose another with --out.")
    if os.path.lexists(path) and not force:
        raise InputError(
            f"The file {path} is there already", next_step="Choose another with --out, or overwrite it with --force."
        )


def write(path: Path, text: str, force: bool) -> None:
    """Write a card; raise `InputError` as `require_writable` does."""
    require_writable(path, force)
    write_atomically(path, text.encode())
