"""Tables: files of records with named columns, whoever wrote them, read under our names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from mpdd.data.cards import sniff
from mpdd.data.cards.exports import EXPORTS, recognised
from mpdd.data.cards.exports.base import fits
from mpdd.data.cards.layout import Layout
from mpdd.data.cards.names import names_seen, proposed
from mpdd.data.readers import (
    bioc_xml,
    container,
    csv_table,
    docbin,
    json_files,
    parquet,
    saved_dataset,
    xmi,
)
from mpdd.data.readers.base import RECOGNISED, Notes, Record
from mpdd.errors import InputError

DELIMITERS = {"csv": ",", "tsv": "\t"}


def _csv(delimiter: str) -> Callable[[Path, Notes], list[Record]]:
    return lambda path, notes: csv_table.read(path, (), notes, delimiter=delimiter)


WRITTEN: Mapping[str, Callable[[Path, Notes], list[Record]]] = MappingProxyType(
    {
        "jsonl": lambda path, notes: json_files.read_jsonl(path, {}, notes),
        "json": json_files.read_records,
        **{name: _csv(delimiter) for name, delimiter in DELIMITERS.items()},
        "parquet": lambda path, _: parquet.read(path, named_classes=True),
        "arrow": lambda path, _: saved_dataset.read(path),
        "docbin": lambda path, _: docbin.read(path),
        "bioc-xml": lambda path, _: bioc_xml.read(path),
        "xmi": xmi.read,
    }
)


def table_records(name: str, layout: Layout, path: Path, notes: Notes) -> list[Record]:
    """Return the records of a file in the table format `name`: as they are, or as the export that they are says.

    A format that says how the file is written leaves open whose export it is; `table` says that it is nobody's.
    """
    written = name if name in WRITTEN else sniff.written_as(path)
    if written not in WRITTEN:
        raise InputError(f"The file {path} is no known table", found=written or None, wanted=", ".join(WRITTEN))
    records = records_of(written, path, notes, layout.headerless)
    export = EXPORTS.get(name if name in EXPORTS or name == "table" else recognised(records))
    if export is None or not fits(export.types, layout.card.type, layout.card.form):
        return records
    notes.count(f"records {RECOGNISED} {export.title}", len(records))
    return export.convert(layout, records, notes)


def records_of(written: str, path: Path, notes: Notes, headerless: bool) -> list[Record]:
    """Return the records of a file as they are; `written` says how it is written, `headerless` is that of `Layout`."""
    if headerless and written in DELIMITERS:
        return csv_table.read_headerless(path, notes, delimiter=DELIMITERS[written])
    return WRITTEN[written](path, notes)


def files(paths: Sequence[Path], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files themselves, and those of folders that end in one of `suffixes`, in order."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        if xmi.SUFFIX in suffixes and sniff.written_as(path) == "xmi":
            yield path  # each file needs the type system beside it
            continue
        saved = saved_dataset.files(path) if saved_dataset.SUFFIX in suffixes else []
        inside = saved or [file for file in container.inside(path) if file.suffix.lower() in suffixes]
        if not inside:
            raise InputError(f"The folder {path} holds no file that ends in {' or '.join(suffixes)}", wanted="at least one")
        yield from inside


def with_columns(path: Path, layout: Layout, records: list[Record], notes: Notes) -> list[Record]:
    """Return the records, columns of another usual name under ours; raise `InputError` for columns that none has."""
    there = {str(name): None for record in records for name in record.values}
    missing = [name for name in layout.declared if name not in there]
    others = [] if layout.headerless else [name for name in there if name not in layout.declared]
    near = proposed(layout.card, others, tuple(layout.columns))
    renamed = {ours: near[ours] for ours in missing if ours in near and isinstance(near[ours], str)}
    missing = [name for name in missing if name not in renamed]
    if records and missing:
        raise InputError(
            f"The table {path} lacks columns",
            found=names_seen(there, missing),
            wanted=", ".join(missing),
            next_step=_on_missing(layout, missing),
        )
    for ours, theirs in renamed.items():
        notes.count(f"records whose column {theirs} is read as {ours}", len(records))
    return [_renamed(record, renamed) for record in records] if renamed else records


def _on_missing(layout: Layout, missing: Sequence[str]) -> str:
    """Return what to do about columns that are missing."""
    card = layout.card
    asks = card.type == "qa" and card.fields and card.form != "extractive"
    if asks and missing == [layout.name("text")]:
        return "For questions without a context leave fields out of the card, and name the question's column as text."
    return "Name the file's columns under [data.columns] of the card; by number if it has no header and is headerless = true."


def _renamed(record: Record, renamed: Mapping[str, object]) -> Record:
    added = {ours: record.values[str(theirs)] for ours, theirs in renamed.items() if str(theirs) in record.values}
    return Record(record.where, {**record.values, **added})
