"""Reads parquet tables; the classes of Hugging Face datasets by the names that their metadata give."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpdd.data.readers.base import Record, read_bytes, usable
from mpdd.data.readers.compressed import require_modest
from mpdd.errors import InputError, in_words

_UNLABELLED = -1
_ROWS_AT_A_TIME = 64  # few, as a value that is stored once may stand in many rows


def read(path: Path, *, named_classes: bool = False) -> list[Record]:
    """Return the rows, counted from 1; raise `InputError` if the file is missing, empty, no parquet, or unpacks to far too much.

    With `named_classes`, numbers of classes that the file's Hugging Face metadata name are given as these names.
    """
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    content = read_bytes(path)
    try:
        table = parquet.ParquetFile(arrow.BufferReader(content))
        require_modest(path, len(content), sum(table.metadata.row_group(i).total_byte_size for i in range(table.num_row_groups)))
        rows = rows_of(path, len(content), table.iter_batches(_ROWS_AT_A_TIME))
    except (arrow.ArrowException, ValueError, OSError, OverflowError) as error:  # the last: a time out of Python's range
        dated = isinstance(error, OverflowError) or "out of range" in str(error)
        problem, wanted = ("a date or time out of range", "years 1 to 9999") if dated else (in_words(error), "a whole file")
        raise InputError(f"The file {path} cannot be read as parquet", found=problem, wanted=wanted) from None
    features = features_of(table.schema_arrow.metadata or {}) if named_classes else {}
    return records(path, rows, features)


def rows_of(path: Path, size: int, batches: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the rows of Arrow's batches; raise `InputError` where they unpack to far more than texts do from `size` bytes."""
    rows: list[dict[str, Any]] = []
    unpacked = 0
    for batch in batches:
        unpacked += batch.nbytes
        require_modest(path, size, unpacked)
        rows += batch.to_pylist()
    return rows


def records(path: Path, rows: Sequence[Mapping[str, Any]], features: Mapping[str, Any]) -> list[Record]:
    """Return the rows as records, counted from 1, with the names of the classes that `features` know."""
    if features:
        rows = [{name: named(value, features.get(name)) for name, value in row.items()} for row in rows]
    return usable(path, [Record(f"{path} row {number}", row) for number, row in enumerate(rows, 1)])


def features_of(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """Return the features of a Hugging Face dataset by column; none where the metadata are another's or damaged."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def named(value: Any, feature: Any) -> Any:
    """Return a value with the names of classes for their numbers, at any depth; -1 stands for no class."""
    if isinstance(feature, list) and len(feature) == 1:  # as old versions write a list
        feature = {"_type": "List", "feature": feature[0]}
    if not isinstance(feature, dict):
        return value
    if feature.get("_type") == "ClassLabel":
        return _class_name(value, feature.get("names"))
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        inner = feature.get("feature")
        if isinstance(value, list):
            return [named(item, inner) for item in value]
        parts = inner.items() if isinstance(inner, dict) else ()
        return named(value, {name: {"_type": "List", "feature": part} for name, part in parts})
    if isinstance(value, dict):
        return {name: named(item, feature.get(name)) for name, item in value.items()}
    return value


def _class_name(value: Any, names: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool) or not isinstance(names, list):
        return value
    if value == _UNLABELLED:
        return None
    return names[value] if 0 <= value < len(names) else value
