"""Reads files of JSON: one document and the records inside it, an array of records, or a record a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mpdd.data.readers.base import Notes, Record, complete, decode, read_bytes, read_lines, usable
from mpdd.errors import InputError

Kind = TypeVar("Kind")
_USUAL = ("examples", "documents", "data", "records", "items", "rows")  # keys of a list of records


def load(path: Path) -> dict[str, Any]:
    """Return the file's object; raise `InputError` naming the line where the JSON breaks off or goes wrong."""
    return parse(path, read_bytes(path))


def load_list(path: Path) -> list[Any]:
    """Return the items of a file that is one JSON array; raise `InputError` as `load` does."""
    return _parse(path, read_bytes(path), list, "one JSON array")


def load_any(path: Path) -> Any:
    """Return what a file holds as JSON, whatever it is; raise `InputError` as `load` does."""
    return _parse(path, read_bytes(path), object, "one JSON array or object")


def parse(path: Path, content: bytes) -> dict[str, Any]:
    """Return the object that a file's content is, say of one in an archive; raise `InputError` as `load` does."""
    return _parse(path, content, dict, "one JSON object")


def _parse(path: Path, raw: bytes, kind: type[Kind], wanted: str) -> Kind:
    text = decode(path, raw)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"The file {path} is not valid JSON",
            found=f"an error on line {error.lineno}, column {error.colno}",
            wanted=wanted,
            next_step="Fetch it again if it was cut short.",
        ) from None
    except (ValueError, RecursionError):
        raise InputError(
            f"The file {path} is not JSON that can be read", found="a number too long, or nesting too deep", wanted=wanted
        ) from None
    if not isinstance(content, kind):
        raise InputError(f"The file {path}", found=f"a JSON {type(content).__name__}", wanted=wanted)
    return content


def part(path: Path, content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the object under `key`; raise `InputError` if it is not there."""
    value = content.get(key)
    if not isinstance(value, dict):
        raise InputError(f"The file {path} has no object {key!r}", found=f"{len(content)} other keys", wanted=repr(key))
    return value


def read_entries(path: Path, entries: Iterable[tuple[str, Any]], fields: Mapping[str, type], notes: Notes) -> list[Record]:
    """Return the (key, object) `entries` of a file that have all `fields`, each with its key as field `key`."""
    records = []
    for key, value in entries:
        where = f"{path} record {key}"
        if not isinstance(value, dict):
            notes.bad(where, f"a JSON {type(value).__name__}", wanted="a JSON object")
            continue
        record = Record(where, {**value, "key": key})
        if complete(record, fields, notes):
            records.append(record)
    return usable(path, records)


def read_records(path: Path, notes: Notes) -> list[Record]:
    """Return the records in the file's order; what is no object is noted as bad.

    Raise `InputError` where the file is no JSON, or where no list or several lists of objects could be the records.
    """
    records = []
    for where, value in _entries(path, load_any(path)):
        if isinstance(value, dict):
            records.append(Record(where, value))
        else:
            notes.bad(where, f"a JSON {type(value).__name__}", wanted="a JSON object")
    return usable(path, records)


def _entries(path: Path, content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, list):
        yield from ((f"{path} record {number}", value) for number, value in enumerate(content, 1))
        return
    if not isinstance(content, dict):
        raise InputError(f"The file {path}", found=f"a JSON {type(content).__name__}", wanted="records in an array")
    key = list_key(content)
    if key:
        yield from ((f"{path} {key} {number}", value) for number, value in enumerate(content[key], 1))
    elif holds_records(content):
        yield from ((f"{path} record {n}", {"id": name, **value}) for n, (name, value) in enumerate(content.items(), 1))
    else:
        raise InputError(f"The file {path} has no list of records", wanted="an array of objects, or one in an object")


def holds_records(content: Mapping[str, Any]) -> bool:
    """Say whether an object holds a list of records, or a record under each of several ids."""
    return bool(list_key(content)) or (len(content) > 1 and all(isinstance(value, dict) for value in content.values()))


def list_key(content: Mapping[str, Any]) -> str:
    """Return the key of an object's list of objects, a usual one if there are several; "" where none can be chosen."""
    lists = {key: value for key, value in content.items() if isinstance(value, list)}
    keys = [key for key, value in lists.items() if any(isinstance(item, dict) for item in value)]
    usual = [key for key in _USUAL if key in keys]
    return keys[0] if len(keys) == 1 else usual[0] if usual else ""


def read_jsonl(path: Path, fields: Mapping[str, type], notes: Notes) -> list[Record]:
    """Return the objects that have all `fields` (name to type); bad lines are noted.

    Raise `InputError` if the file is missing, empty, not UTF-8 or without a usable record.
    """
    records = []
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            record = _record(f"{path} line {number}", line, notes)
            if record is not None and complete(record, fields, notes):
                records.append(record)
    return usable(path, records)


def _record(where: str, line: str, notes: Notes) -> Record | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        notes.bad(where, "not valid JSON (truncated?)", wanted="one JSON object on a line")
        return None
    if isinstance(values, dict):
        return Record(where, values)
    notes.bad(where, f"a JSON {type(values).__name__}", wanted="one JSON object on a line")
    return None
