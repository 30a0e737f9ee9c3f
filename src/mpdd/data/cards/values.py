"""Values of a user's table, whatever the file writes them as; what does not fit raises `UnfitError`, never with content."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mpdd.data.readers.base import Record, is_unicode
from mpdd.data.types.choice import letter
from mpdd.data.types.spans import fold

_UNREADABLE = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError)
_BETWEEN = re.compile(r"[;|]")
_OPTION_KEYS = (("text", "value", "texts", "option", "content"), ("key", "label", "name", "id", "letter"))
_DIGITS = re.compile(r"-?[0-9]{1,9}")


class UnfitError(Exception):
    """Why a record, or an item in it, cannot be used."""

    def __init__(self, problem: str, *, wanted: str) -> None:
        super().__init__(problem)
        self.problem, self.wanted = problem, wanted


def filled(record: Record, column: str) -> Any:
    """Return a field's value; raise `UnfitError` if it is not there or blank."""
    value = _given(record, column)
    if value is None:
        raise UnfitError(f"field {column!r} is missing", wanted="a value")
    if isinstance(value, str) and not value.strip():
        raise UnfitError(f"field {column!r} is empty", wanted="a value that is not blank")
    return value


def _given(record: Record, column: str) -> Any:
    """Return a field's value, None where there is none or it is no number (as some tools write what is missing)."""
    value = record.values.get(column)
    return None if isinstance(value, float) and value != value else value


def is_blank(record: Record, column: str) -> bool:
    """Say whether a field is not there or holds nothing."""
    value = _given(record, column)
    return value is None or (isinstance(value, str) and not value.strip())


def text(record: Record, column: str) -> str:
    """Return a field that is text, as it stands there; offsets may refer to it."""
    return _text(filled(record, column), column)


def quoted(record: Record, column: str) -> str:
    """Return a field of words that are taken from a text, as they stand there; a list of one is that one."""
    return _text(_sole(record, column), column)


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise UnfitError(f"field {column!r} is a {type(value).__name__}", wanted="text")
    return _valid(value, column)


def words(record: Record, column: str) -> str:
    """Return a field as words: text without outer whitespace, a number or true and false as JSON writes them.

    A list of one, as annotation tools write a single choice, is that one.
    """
    return _words(_sole(record, column), column)


def _sole(record: Record, column: str) -> Any:
    """Return a field's value, or the only one of its list, as annotation tools write a single answer."""
    value = filled(record, column)
    if not isinstance(value, list | tuple):
        return value
    if len(value) != 1:
        raise UnfitError(f"field {column!r} {'holds several values' if value else 'is empty'}", wanted="one value")
    return value[0]


def _words(value: Any, column: str) -> str:
    if isinstance(value, str):
        return _valid(value.strip(), column)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, Mapping | Sequence):
        raise UnfitError(f"field {column!r} is a {type(value).__name__}", wanted="text or a number")
    return str(value)


def _valid(value: str, column: str) -> str:
    if not is_unicode(value):
        raise UnfitError(f"field {column!r} is not Unicode", wanted="whole characters, no half surrogate pair")
    return value


def listed(record: Record, column: str) -> list[Any]:
    """Return a field that is a list, or holds one as JSON."""
    value = parsed(filled(record, column))
    if not isinstance(value, list):
        raise UnfitError(f"field {column!r} is not a list", wanted="a list, [] where there is nothing; as JSON in a table's cell")
    return value


def parsed(value: Any) -> Any:
    """Return the list or mapping that a cell holds as JSON, or as Python writes it; other values as they are."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            return read(value.strip())
        except _UNREADABLE:
            continue
    return value


def as_list(value: Any) -> list[Any]:
    """Return the items of a list or of a cell that holds one, nothing for a blank cell, else the value alone."""
    value = parsed(value)
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None or value == "" else [value]


def several(record: Record, column: str) -> list[str]:
    """Return the words of a list, of `a;b` or of `a|b`; a blank cell has none."""
    value = record.values.get(column)
    if isinstance(value, str) and not value.strip():
        return []
    return _parts(parsed(filled(record, column)), column)


def options(record: Record, columns: Sequence[str]) -> tuple[str, ...]:
    """Return a question's options: several columns (blank ones at the end are left out), or one with a list or `a|b`."""
    if len(columns) > 1:
        texts = [_words("" if _given(record, column) is None else record[column], column) for column in columns]
        texts = texts[: max((place for place, option in enumerate(texts, 1) if option), default=0)]
    else:
        value = parsed(filled(record, columns[0]))
        texts = [_words(text, columns[0]) for text in named_options(value).values()] or _parts(value, columns[0], "|")
    if len(texts) < 2 or not all(texts):
        raise UnfitError(f"field {columns[0]!r} has no two options, or a blank one", wanted="a list, a|b|c, or a column for each")
    return tuple(texts)


def named_options(value: Any) -> dict[str, Any]:
    """Return options by name: of an object, a list of objects, or lists of names and of texts; {} for others."""
    if isinstance(value, Mapping):
        lists = {key: item for key, item in value.items() if isinstance(item, list)}
        texts, names = (next((lists[key] for key in keys if key in lists), None) for keys in _OPTION_KEYS)
        pairs = zip(names, texts, strict=False) if texts and names else value.items()
        return {str(name): text for name, text in pairs if text is not None}
    if isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
        text_keys, name_keys = _OPTION_KEYS
        return {str(_first(item, name_keys, place)): _first(item, text_keys, None) for place, item in enumerate(value)}
    return {}


def _first(item: Mapping[str, Any], names: Sequence[str], other: Any) -> Any:
    value = next((item[name] for name in names if name in item), other)
    if value is None:
        raise UnfitError("option without the key 'text'", wanted="an object with its words under 'text' or 'value'")
    return value


def _parts(value: Any, column: str, between: str = "") -> list[str]:
    if isinstance(value, list | tuple):
        return [_words(item, column) for item in value]
    whole = _words(value, column)
    return [part.strip() for part in (whole.split(between) if between else _BETWEEN.split(whole)) if part.strip()]


def chosen(answer: str | int, options: Sequence[str], names: Sequence[str] = ()) -> int | None:
    """Return the index that an answer names: by an option's words, its own name, its letter, or its number from 0 on."""
    if isinstance(answer, int):
        return answer if 0 <= answer < len(options) else None
    letters, numbers = ([name(place) for place in range(len(options))] for name in (letter, str))
    for kind in (options, names, letters, numbers):
        folded = [fold(name) for name in kind]
        if fold(answer) in folded:
            return folded.index(fold(answer))
    return None


def place(record: Record, column: str) -> int | None:
    """Return a field that is a whole number, or one in digits; None where it is not there or blank."""
    if is_blank(record, column):
        return None
    number = whole(record[column])
    if number is None:
        raise UnfitError(f"field {column!r} is no whole number", wanted="a number of characters, from 0 on")
    return number


def whole(value: Any) -> int | None:
    """Return a whole number, or one in digits, as int; None for anything else."""
    return number(int(value) if isinstance(value, str) and _DIGITS.fullmatch(value.strip()) else value)


def number(value: Any) -> int | None:
    """Return a whole number as int, None for anything else."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
