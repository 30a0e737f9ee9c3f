"""Reads a user's notes: text files, folders of them, and tables in several formats, whatever their columns are called.

A note without text (an empty cell, null) is a note all the same, so that it is answered, empty, and counted. Messages name
file, row and column, never what stands there.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpdd.annotate.notes import Note
from mpdd.data.readers import compressed, container, csv_table, delimited, json_files, parquet
from mpdd.data.readers.base import Notes as Problems
from mpdd.data.readers.base import Record, check_columns, decode, read_bytes, read_text
from mpdd.errors import InputError

PLAIN = (".txt",)
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
FORMATS = (*PLAIN, *TABLES)
PROMPTS = ".safetensors"
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
USUAL = ("text", "note", "notes", "note_text", "report", "report_text", "content", "body", "document", "narrative", "sentence")
Columns = Mapping[str, str]  # what a column is to us, and what the file calls it


@dataclass(frozen=True)
class Inputs:
    """The notes of all files, and a sentence for each thing in them that a user may not expect."""

    notes: list[Note]
    remarks: tuple[str, ...] = ()


def columns_of(options: Sequence[str]) -> dict[str, str]:
    """Read options NAME=COLUMN; raise `InputError` for anything else, or for a name that comes twice."""
    columns: dict[str, str] = {}
    for option in options:
        name, equals, column = option.partition("=")
        if not equals or not name or not column or name in columns:
            problem = f"{name} twice" if name in columns else option
            raise InputError(
                "A column is not understood", found=problem, wanted="NAME=COLUMN, for example text=TEXT, each name once"
            )
        columns[name] = column
    return columns


def read_inputs(paths: Sequence[Path], columns: Columns | None = None) -> Inputs:
    """Read all notes of some files and folders, in order.

    Each is a text file (one note), a folder of text files, or a table with a column `text` and, as needed, `id`, `choices`
    and fields by name; `columns` says which of the file's columns are meant, where they are called otherwise. Raises
    `InputError` for what cannot be read, for a column that is not there, and for an id that notes of two files have.
    """
    if columns and all(path.is_dir() or _format(path) in PLAIN for path in paths):
        found = ", ".join(sorted({"a folder" if path.is_dir() else _format(path) for path in paths}))
        problem = "--column is for tables, and no input is one"
        raise InputError(problem, found=found, wanted=", ".join(TABLES), next_step="Leave --column out.")
    parts: list[tuple[Path, list[Note]]] = []
    remarks: list[str] = []
    for path in paths:
        notes, left_out = _folder(path) if path.is_dir() else (_file(path, columns or {}, len(paths) > 1), 0)
        twice = len(notes) - len({note.id for note in notes})
        remarks += [f"{path}: files left out that do not end in .txt: {left_out:,}."] if left_out else []
        remarks += [f"{path}: notes with the id of an earlier one: {twice:,}."] if twice else []
        parts.append((path, notes))
    _require_distinct(parts)
    return Inputs([note for _, notes in parts for note in notes], tuple(remarks))


def read_notes(path: Path, columns: Columns | None = None) -> list[Note]:
    """The notes of one file or folder, as `read_inputs` reads them."""
    return read_inputs([path], columns).notes


def is_readable(path: Path) -> bool:
    """Whether a path looks like notes: a folder, or a file with the ending of a format."""
    return path.is_dir() or _format(path) in FORMATS


def note_of(path: Path, row: int, values: Mapping[str, Any]) -> Note:
    """The note of a table's row; `InputError`, naming file, row and what is wrong, where it is none."""
    return _note(Record(f"{path.name}, row {row}", values), str(row), {})


def _folder(folder: Path) -> tuple[list[Note], int]:
    """The texts of a folder and of those below it, called by their paths in it, and how many other files there are."""
    files = container.inside(folder)
    texts = [file for file in files if _format(file) in PLAIN]
    if not texts:
        endings = Counter(_format(file) or "no ending" for file in files)
        content = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(3)) or "an empty folder"
        tables = any(ending in FORMATS for ending in endings)
        step = "Give its prompt files themselves." if PROMPTS in endings else "Give its files themselves." if tables else ""
        raise InputError(f"{folder} is a folder without texts", found=content, wanted="files that end in .txt", next_step=step)
    names = [(file.parent / _stem(file)).relative_to(folder).as_posix() for file in texts]
    twice = {name for name, count in Counter(names).items() if count > 1}  # as of a.txt and a.TXT
    named = [file.relative_to(folder).as_posix() if n in twice else n for file, n in zip(texts, names, strict=True)]
    return [_text(file, name) for file, name in zip(texts, named, strict=True)], len(files) - len(texts)


def _file(path: Path, columns: Columns, is_one_of_many: bool) -> list[Note]:
    """The notes of one file; those without an id are called by their rows, behind the file's name if there are others."""
    if not path.exists():
        raise InputError("There is no such input file", found=str(path), wanted=f"a file ending in {', '.join(FORMATS)}")
    if _format(path) not in FORMATS:
        ending = path.suffix.lower() or "no ending"
        raise InputError(f"The input {path.name} has an unknown format", found=ending, wanted=", ".join(FORMATS))
    notes = (
        [_text(path, _stem(path))]
        if _format(path) in PLAIN
        else _table(path, columns, f"{_stem(path)}:" if is_one_of_many else "")
    )
    if all(note.is_blank for note in notes):
        raise InputError(f"The input {path.name} is empty", wanted="at least one note with text")
    return notes


def _text(path: Path, name: str) -> Note:
    """A text file as a note; line ends, and a byte order mark, stay as they are: offsets refer to them."""
    return Note(name, decode(path, read_bytes(path, may_be_blank=True), keep_mark=True), {})


def _table(path: Path, columns: Columns, prefix: str) -> list[Note]:
    readers: dict[str, Callable[[Path, Columns], Iterator[Record]]] = {
        ".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _delimited, ".tsv": _delimited,
        ".parquet": lambda path, _: iter(parquet.read(path)),
    }  # fmt: skip
    records = list(readers[_format(path)](path, columns))
    missing = [column for column in columns.values() if records and not any(column in record.values for record in records)]
    if missing:
        wanted = f"{', '.join(missing)}, as --column says"
        raise InputError(f"{path.name} lacks a column", found=f"{len(records[0].values)} others", wanted=wanted)
    notes = [_note(record, "", columns) for record in records]
    given = {note.id for note in notes}
    rows = [name if (name := f"{prefix}{row}") not in given else f"{prefix}row {row}" for row in range(1, len(notes) + 1)]
    return [note if note.id else replace(note, id=row) for note, row in zip(notes, rows, strict=True)]


def _note(record: Record, otherwise: str, columns: Columns) -> Note:
    """The note of a row, called `otherwise` where it has no id."""
    meant = {name: record.values.get(column) for name, column in columns.items()}
    others = {name: value for name, value in record.values.items() if name not in columns.values()}
    values = {name: value for name, value in {**others, **meant}.items() if not is_missing(value)}
    _require_text(record, columns.get("text", "text"))
    text = values.get("text", "")
    choices = values.get("choices") or []
    if isinstance(choices, str):
        choices = choices.split("|")
    if not isinstance(text, str):
        raise InputError(f"{record.where}: the text cannot be read", found=type(text).__name__, wanted="a string")
    if not isinstance(choices, list):
        raise InputError(f"{record.where}: choices cannot be read", found=type(choices).__name__, wanted="a list, or a|b|c")
    fields = {name: shown(value) for name, value in values.items() if name not in ("id", "text", "choices")}
    name = shown(values.get("id", ""))
    note = Note(name if name.strip() else otherwise, text, fields, tuple(map(shown, choices)))
    if not note.is_unicode:
        raise InputError(f"{record.where}: not Unicode", found="half a surrogate pair", wanted="valid Unicode text")
    return note


def _require_text(record: Record, column: str) -> None:
    """Raise `InputError` where a row has no such column; names of columns are shown only where they are usual ones."""
    if column in record.values:
        return
    usual = [name for name in record.values if str(name).lower() in USUAL]
    step = f"Perhaps --column text={usual[0]}." if usual else "Name it with --column text=NAME."
    raise InputError(
        f"{record.where}: no text", found=f"{len(record.values)} columns", wanted=f"a column {column}", next_step=step
    )


def is_missing(value: Any) -> bool:
    """Whether a value is null, or no number, as pandas writes null in a column of numbers."""
    return value is None or (isinstance(value, float) and value != value)


def shown(value: Any) -> str:
    """A value as its file shows it: a whole number without a decimal point."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _delimited(path: Path, columns: Columns) -> Iterator[Record]:
    """The rows of a CSV or TSV file, read strictly; those that are blank throughout are passed over."""
    text = read_text(path)
    delimiter = "\t" if _format(path) == ".tsv" else _delimiter(text, columns.get("text", "text"))
    rows = delimited.rows(text, delimiter)
    header = [name.strip() for name in csv_table.header_of(path, rows)]
    check_columns(path, header, ())
    if bad := next((row for row in rows if row.problem), None):
        where = f"{path.name}, row {bad.number - 1} (line {bad.first_line})"
        apart = f", with {DELIMITERS[delimiter]} between cells" if bad.problem == delimited.CELLS else ""
        raise InputError(f"{where} cannot be trusted", found=bad.problem + apart, wanted=bad.wanted)
    for row in rows[1:]:
        if any(row.cells) or len(row.cells) == 1:
            cells = {name: cell for name, cell in zip(header, row.cells, strict=True) if name}
            yield Record(f"{path.name}, row {row.number - 1}", cells)


def _delimiter(text: str, column: str) -> str:
    """What stands between cells: what gives the header the column with the texts, else what gives it the most columns."""
    line = text.lstrip().partition("\n")[0].rstrip("\r")
    headers = {mark: [cell.strip() for cell in next(csv.reader([line], delimiter=mark), [])] for mark in DELIMITERS}
    fitting = [mark for mark in DELIMITERS if column in headers[mark]]
    return fitting[0] if fitting else max(DELIMITERS, key=lambda mark: len(headers[mark]))


def _json(path: Path, columns: Columns) -> Iterator[Record]:
    """The objects of a JSON array, a JSON object that is a note, or JSON lines under the name of JSON."""
    text = read_text(path)
    if _is_json_lines(text):
        yield from json_files.read_jsonl(path, {}, Problems(strict=True))
        return
    content = json_files.load_any(path)
    if isinstance(content, dict) and columns.get("text", "text") in content:
        yield Record(str(path), content)
    else:
        yield from json_files.read_records(path, Problems(strict=True))


def _is_json_lines(text: str) -> bool:
    first, _, others = text.strip().partition("\n")
    try:
        return isinstance(json.loads(first), dict) and bool(others.strip())
    except (ValueError, RecursionError):
        return False


def _json_lines(path: Path, columns: Columns) -> Iterator[Record]:
    """The objects of JSON lines, or of a JSON array under the name of JSON lines."""
    if read_text(path).lstrip().startswith("["):
        yield from _json(path, columns)
    else:
        yield from json_files.read_jsonl(path, {}, Problems(strict=True))


def _require_distinct(parts: Sequence[tuple[Path, list[Note]]]) -> None:
    """Raise `InputError` where notes of two files have the same id: nobody could tell their answers apart."""
    owners: dict[str, int] = {}
    for number, (path, notes) in enumerate(parts):
        for note in notes:
            owner = owners.setdefault(note.id, number)
            if owner != number:
                raise InputError(
                    f"Notes of two inputs have the same id {note.id}",
                    found=f"{parts[owner][0]} and {path}",
                    wanted="ids that differ",
                    next_step="Answer the inputs one at a time; texts may be given as the folder that holds them.",
                )


def _format(path: Path) -> str:
    """The ending that says what a file holds, without that of a compressed one."""
    inner = path.with_suffix("") if path.suffix.lower() == compressed.SUFFIX else path
    return inner.suffix.lower()


def _stem(path: Path) -> str:
    return path.with_suffix("").stem if path.suffix.lower() == compressed.SUFFIX else path.stem
