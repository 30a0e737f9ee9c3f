"""Dataclass values as Arrow columns and back, led by their type hints; whole columns at a time, so that it is quick.

Hints may be `str`, `int`, `float`, `bool`, one of these or None, `tuple[X, ...]`, `tuple[X, Y]`, `Mapping[X, Y]` (its
order is kept) and dataclasses of such, so that a new field of a dataclass needs nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import accumulate, chain, pairwise
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pyarrow as pa

PLAIN = {str: pa.large_string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def pack(values: Sequence[Any], hint: Any) -> pa.Array:
    """Return values of the type `hint` as one array; raise `TypeError` for a hint that is not covered."""
    if item := _item(hint):
        rows = [value.items() if isinstance(value, Mapping) else value for value in values]
        ends = list(accumulate(map(len, rows), initial=0))
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pack(list(chain.from_iterable(rows)), item))
    if parts := _parts(hint):
        take = getattr if is_dataclass(hint) else lambda value, place: value[int(place)]
        arrays = [pack([take(value, name) for value in values], part) for name, part in parts.items()]
        return pa.StructArray.from_arrays(arrays, list(parts))
    return pa.array(values, PLAIN[_plain(hint)])


def unpack(array: pa.Array, hint: Any) -> list[Any]:
    """Return the values that `pack` was given; `array` must not be a slice of another one."""
    if item := _item(hint):
        items, ends = unpack(array.values, item), array.offsets.to_numpy().tolist()
        make = tuple if get_origin(hint) is tuple else dict
        return [make(items[start:end]) for start, end in pairwise(ends)]
    if parts := _parts(hint):
        columns = [unpack(array.field(name), part) for name, part in parts.items()]
        rows = zip(*columns, strict=True)
        return [hint(*row) for row in rows] if isinstance(hint, type) and is_dataclass(hint) else list(rows)
    values: list[Any] = array.to_pylist() if array.null_count else array.to_numpy(zero_copy_only=False).tolist()
    return values


def _item(hint: Any) -> Any:
    """The hint of what a tuple of any length or a mapping holds; None for another hint."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is tuple and inside[-1] is ...:
        return inside[0]
    return tuple[inside] if isinstance(origin, type) and issubclass(origin, Mapping) else None  # type: ignore[valid-type]


def _parts(hint: Any) -> dict[str, Any]:
    """The hints of a dataclass by field, or of a tuple of fixed length by place; empty for another hint."""
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return {field.name: hints[field.name] for field in fields(hint)}
    return {str(place): part for place, part in enumerate(get_args(hint))} if get_origin(hint) is tuple else {}


def _plain(hint: Any) -> type:
    """The type of a plain value, which may be None as well."""
    kinds = [kind for kind in (get_args(hint) if isinstance(hint, UnionType) else (hint,)) if kind is not NoneType]
    if len(kinds) != 1 or kinds[0] not in PLAIN:
        raise TypeError(f"no column for values of the type {hint}")
    kind: type = kinds[0]
    return kind
