"""Reads the records of one JSON document: an array, an object that holds one, or a record under each of several ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpdd.data.readers import json_document
from mpdd.data.readers.base import Notes, Record, usable
from mpdd.errors import InputError

_USUAL = ("examples", "documents", "data", "records", "items", "rows")


def read(path: Path, notes: Notes) -> list[Record]:
    """Return the records in the file's order; what is no object is noted as bad.

    Raise `InputError` where the file is no JSON, or where no list or several lists of objects could be the records.
    """
    records = []
    for where, value in _entries(path, json_document.load_any(path)):
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
