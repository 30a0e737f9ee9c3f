"""Writing a task card: what can be guessed from the type of task and the first record, and the ready cards to copy."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from mpdd.data.cards.formats import FORMATS, files
from mpdd.data.cards.layout import Column, has_options, optional, required
from mpdd.data.readers.base import NoRecordError, Notes, nothing_left
from mpdd.data.readers.container import inside
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.files import write_atomically

KEYS = (
    "name", "type", "form", "instruction", "labels", "text_field", "fields", "max_answer_tokens", "licence", "citation",
)  # fmt: skip
DATA_KEYS = ("format", "train", "dev", "test", "strict", "columns", "labels")
PRESETS = Path(__file__).parent / "presets"
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
TEXT_FIELDS = {"nli": "Premise", "qa choice": "Question"}
ANSWER_TOKENS = {"ner": 160, "re": 224, "qa extractive": 96, "qa free": 128, "summarization": 256}
OTHER_NAMES = {
    "text": "note report sentence1 premise context passage abstract dialogue findings content body input document question",
    "id": "noteid recordid rowid uid qid pairid idx index",
    "document": "documentid docid patientid patient subjectid hadmid pmid",
    "entities": "spans mentions annotations ner",
    "relations": "triples pairs",
    "answer": "label labels goldlabel class category codes choice answeridx answerindex cop correct summary target output",
    "choices": "options candidates",
    "answer_start": "start offset",
    "question": "query",
    "hypothesis": "sentence2 statement claim",
}
_OPTION = re.compile(r"(?:op|opt|option|choice|ending|answer)?[ _]?([a-z]|\d)", re.IGNORECASE)


def kind(task_type: str, form: str) -> str:
    """Return a type with its form, as the tables above name it."""
    return f"{task_type} {form}".strip()


def guess_format(paths: Iterable[Path]) -> str:
    """Return the format whose files end like the first of these, or like those of a folder; "" if none does."""
    names = [name for path in paths for name in (inside(path) if os.path.isdir(path) else [path])]
    return next((name for name, known in FORMATS.items() if any(file.suffix.lower() in known.own for file in names)), "")


def columns(file_format: str, paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the first record's fields; raise `InputError` as its reader does, () where it has none."""
    read = FORMATS[file_format].records
    if read is None:
        return ()
    first, notes = next(files(paths, FORMATS[file_format].suffixes)), Notes()
    try:
        return tuple(str(name) for name in read(first, notes)[0].values)
    except NoRecordError as error:
        raise nothing_left(error.what, notes.counts) from error


def proposed(card: TaskCard, there: Sequence[str], known: Collection[str] = ()) -> dict[str, Column]:
    """Return the columns of a file that look like those a task asks for, by our names, but for the `known` ones.

    Each is proposed once.
    """
    found: dict[str, Column] = {}
    free = {_plain(name): name for name in reversed(there)}
    for ours in (name for name in (*required(card), *optional(card)) if name not in known):
        names = (_plain(ours), *OTHER_NAMES.get(ours.lower(), "").split())
        match = next((name for name in names if name in free), None)
        if match is not None:
            found[ours] = free.pop(match)
    if has_options(card) and "choices" not in (*found, *known):
        lettered = tuple(name for name in there if _OPTION.fullmatch(name) and name not in found.values())
        found |= {"choices": lettered} if len(lettered) > 1 else {}
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def named(chosen: Mapping[str, Column]) -> dict[str, Any]:
    """Return the columns that a card has to name: those of another name than ours, and the document's."""
    named = {ours: column for ours, column in chosen.items() if column != ours or ours == "document"}
    return {ours: column if isinstance(column, str) else list(column) for ours, column in named.items()}


def presets() -> dict[str, Path]:
    """Return the ready cards by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.toml"))}


def preset(name: str, changes: Mapping[str, Any]) -> str:
    """Return a ready card's text with other values (empty ones change nothing); raise `InputError` for an unknown name."""
    if name not in presets():
        near = difflib.get_close_matches(name, presets(), n=2)
        raise InputError(
            f"There is no ready card called {name!r}",
            wanted=f"perhaps {' or '.join(near)}" if near else f"one of {', '.join(presets())}",
            next_step="`mpdd task new --list` lists them all.",
        )
    text = presets()[name].read_text(encoding="utf-8")
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


def write(path: Path, text: str, force: bool) -> None:
    """Write a card; raise `InputError` for a name that is none of a card, or where a file is there already, unless forced."""
    if path.suffix != ".toml":
        raise InputError("The name of a card ends in .toml", found=repr(str(path)), next_step="Choose another with --out.")
    if os.path.lexists(path) and not force:
        raise InputError(
            f"The file {path} is there already", next_step="Choose another with --out, or overwrite it with --force."
        )
    write_atomically(path, text.encode())
