"""Reads a file that is one JSON object or array, and walks the records inside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mpdd.data.readers.base import Notes, Record, complete, decode, read_bytes, usable
from mpdd.errors import InputError

Kind = TypeVar("Kind")


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


def read(path: Path, entries: Iterable[tuple[str, Any]], fields: Mapping[str, type], notes: Notes) -> list[Record]:
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
