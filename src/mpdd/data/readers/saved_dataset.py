"""Reads folders that `save_to_disk` of Hugging Face datasets wrote, and Arrow files, with the names of their classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mpdd.data.readers import container, json_files
from mpdd.data.readers.base import Record, read_bytes
from mpdd.data.readers.parquet import features_of, records, rows_of
from mpdd.errors import InputError, in_words

SUFFIX = ".arrow"
STARTS = (b"\xff\xff\xff\xff", b"ARROW1")  # of a stream, of a file
SPLITS = "dataset_dict.json"  # names the folders of several splits
_INFO, _STATE = "dataset_info.json", "state.json"
ABOUT = {_INFO, _STATE}  # the files beside the rows of each dataset
_NAMES = {"train": ("train",), "dev": ("validation", "dev", "valid", "val"), "test": ("test",)}


def splits_in(path: Path) -> dict[str, Path]:
    """Return the folders of our splits (train, dev, test) in a folder of several splits; none of anything else."""
    if not (path / SPLITS).is_file():
        return {}
    there = {ours: [path / name for name in names if (path / name / _STATE).is_file()] for ours, names in _NAMES.items()}
    return {ours: folders[0] for ours, folders in there.items() if folders}


def split_of(path: Path, split: str) -> Path:
    """Return the folder of one of our splits in a folder of several splits, and the path itself if it is anything else.

    Raise `InputError` where that split is not there.
    """
    if not (path / SPLITS).is_file():
        return path
    if split not in splits_in(path):
        raise InputError(
            f"The datasets saved in {path} have no split for {split}",
            found=f"{sum(1 for _ in path.glob(f'*/{_STATE}'))} folders of other names",
            wanted=f"a folder {' or '.join(_NAMES[split])}",
            next_step=f"Name the folder of a split as data.{split} of the card.",
        )
    return splits_in(path)[split]


def files(folder: Path) -> list[Path]:
    """Return the Arrow files in a folder and below, sorted: those that the state of a dataset lists, and no cached ones."""
    inside = container.inside(folder)
    states = {file.parent: _listed(file) for file in inside if file.name == _STATE}
    loose = [file for file in inside if file.suffix.lower() == SUFFIX and file.parent not in states]
    return sorted([*loose, *(parent / name for parent, names in states.items() for name in names)])


def _listed(state: Path) -> list[str]:
    """Return the names of a dataset's files; none of a file that is another tool's."""
    content = json_files.load_any(state)
    listed = content.get("_data_files") if isinstance(content, dict) else None
    if isinstance(content, dict) and content.get("_indices_data_files"):
        raise InputError(
            f"The dataset in {state.parent} is saved with an index that chooses its rows",
            wanted="the chosen rows themselves",
            next_step="Call flatten_indices on it, and save it again.",
        )
    items = listed if isinstance(listed, list) else []
    return [Path(str(item["filename"])).name for item in items if isinstance(item, dict) and "filename" in item]


def read(path: Path) -> list[Record]:
    """Return the rows of an Arrow file, counted from 1, classes by the names in `dataset_info.json` or in the file itself.

    Raise `InputError` if the file is missing, empty, no whole Arrow file, or unpacks to far too much.
    """
    import pyarrow as arrow

    content = read_bytes(path)
    features = _features(path)
    try:
        schema, batches = _opened(content)
        rows = rows_of(path, len(content), batches)
    except (arrow.ArrowException, ValueError, OSError, OverflowError) as error:
        raise InputError(
            f"The file {path} cannot be read as Arrow",
            found=in_words(error),
            wanted="a whole file, as save_to_disk writes it",
            next_step="Save the dataset again, or copy it again if it was cut short.",
        ) from None
    return records(path, rows, features or features_of(schema.metadata or {}))


def _opened(content: bytes) -> tuple[Any, Iterable[Any]]:
    """Return the schema and the batches of a stream or a file of Arrow."""
    import pyarrow as arrow

    buffer = arrow.BufferReader(content)
    if content.startswith(STARTS[0]):
        stream = arrow.ipc.open_stream(buffer)
        return stream.schema, stream
    reader = arrow.ipc.open_file(buffer)
    return reader.schema, (reader.get_batch(number) for number in range(reader.num_record_batches))


def _features(path: Path) -> Mapping[str, Any]:
    """Return the features of the dataset to which a file belongs; none where nothing says them."""
    info = path.parent / _INFO
    content = json_files.load_any(info) if info.is_file() else None
    features = content.get("features") if isinstance(content, dict) else None
    return features if isinstance(features, dict) else {}
