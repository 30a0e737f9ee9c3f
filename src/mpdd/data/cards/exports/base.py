"""An export: how a tool writes its annotations as records, told by its keys and read under our names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mpdd.data.cards.layout import Layout
from mpdd.data.cards.values import UnfitError
from mpdd.data.readers.base import Notes, Record

_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError)
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Export:
    """One tool's export: `is_in` tells its records from others, `convert` returns those that are gold, with our names.

    What a record has keeps its names too, so that a card may still name columns. `types` are the types of task, or
    pairs of type and form, that such records can hold (None: all). `name` is the format's in a card, and `place` orders
    exports, as those that are told by more come first.
    """

    name: str
    place: int
    title: str
    is_in: Callable[[Sequence[Record]], bool]
    convert: Callable[[Layout, Sequence[Record], Notes], list[Record]]
    types: tuple[str, ...] | None = None


def most(test: Callable[[Values], bool]) -> Callable[[Sequence[Record]], bool]:
    """Return whether more than half of the records pass a test."""
    return lambda records: 2 * sum(test(record.values) for record in records) > len(records)


def converted(records: Iterable[Record], make: Callable[[Values], Values | None], notes: Notes) -> list[Record]:
    """Return each record with the values that `make` adds (None: left out); a malformed one is noted as bad."""
    converted_records = []
    for record in records:
        try:
            added = make(record.values)
        except UnfitError as error:
            notes.bad(record.where, error.problem, wanted=error.wanted)
        except _MALFORMED:
            notes.bad(record.where, "malformed record of an export", wanted="a record as the tool writes it")
        else:
            converted_records += [] if added is None else [Record(record.where, {**record.values, **added})]
    return converted_records


def mappings(value: Any) -> list[Values]:
    """Return the objects of a list; nothing of anything else."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def fits(types: tuple[str, ...] | None, task_type: str, form: str) -> bool:
    """Say whether a task of this type and form is among `types`, as `Export` has them."""
    return types is None or task_type in types or f"{task_type} {form}" in types
