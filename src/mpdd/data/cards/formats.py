"""The file formats of a card: which types of task each can hold, and how its files become examples."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from mpdd.data.cards import sniff, tables
from mpdd.data.cards.exports import EXPORTS, recognised
from mpdd.data.cards.exports.base import fits
from mpdd.data.cards.layout import Layout
from mpdd.data.cards.names import names_seen, proposed
from mpdd.data.passages import gold_windows
from mpdd.data.readers import (
    bioc_xml,
    conll,
    container,
    csv_table,
    docbin,
    json_records,
    jsonlines,
    parquet,
    pubtator,
    saved_dataset,
    squad,
    standoff,
)
from mpdd.data.readers.base import RECOGNISED, Notes, Record
from mpdd.data.readers.standoff import Document
from mpdd.data.task import Answer, Example
from mpdd.data.windows import NER_CHARS
from mpdd.errors import InputError

SQUAD_FIELDS = 'one further input in the card: fields = ["Question"]'
Read = Callable[[Layout, str, Sequence[Path], Notes], list[Example]]


@dataclass(frozen=True)
class Format:
    """One file format. `read` takes a layout, the start of the example ids, and the files or folders of one split.

    `title` names it for people. `types` are the types of task, or pairs of type and form, that it can hold (None: all);
    `suffixes` those of its files in a folder. A table has records with named columns.
    """

    title: str
    read: Read
    suffixes: tuple[str, ...]
    types: tuple[str, ...] | None = None
    is_table: bool = False

    def holds(self, task_type: str, form: str) -> bool:
        """Say whether a task of this type and form can be in such files."""
        return fits(self.types, task_type, form)


# Tables: records with named columns, whoever wrote them


def table_records(name: str, layout: Layout, path: Path, notes: Notes) -> list[Record]:
    """Return the records of a file in the table format `name`: as they are, or as the export that they are says.

    A format that says how the file is written leaves open whose export it is; `table` says that it is nobody's.
    """
    written = name if name in _WRITTEN else sniff.written_as(path)
    if written not in _WRITTEN:
        raise InputError(f"The file {path} is no known table", found=written or None, wanted=", ".join(_WRITTEN))
    records = _WRITTEN[written](path, notes)
    export = EXPORTS.get(name if name in EXPORTS or name == "table" else recognised(records))
    if export is None or not fits(export.types, layout.card.type, layout.card.form):
        return records
    notes.count(f"records {RECOGNISED} {export.title}", len(records))
    return export.convert(layout, records, notes)


def _read_table(name: str, layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    read: list[Record] = []
    for path in files(paths, FORMATS[name].suffixes):
        read += _with_columns(path, layout, table_records(name, layout, path, notes), notes)
    layout, read = tables.numbered(layout, read, notes)
    if layout.card.type not in ("ner", "re"):
        return tables.examples(layout, corpus, read, notes)
    return _spans(layout, corpus, tables.documents(layout, read, notes), {}, notes)


def files(paths: Sequence[Path], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files themselves, and those of folders that end in one of `suffixes`, in order."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        saved = saved_dataset.files(path) if saved_dataset.SUFFIX in suffixes else []
        inside = saved or [file for file in container.inside(path) if file.suffix.lower() in suffixes]
        if not inside:
            raise InputError(f"The folder {path} holds no file that ends in {' or '.join(suffixes)}", wanted="at least one")
        yield from inside


def _with_columns(path: Path, layout: Layout, records: list[Record], notes: Notes) -> list[Record]:
    """Return the records, columns of another usual name under ours; raise `InputError` for columns that none has."""
    there = {str(name): None for record in records for name in record.values}
    missing = [name for name in layout.declared if name not in there]
    near = proposed(layout.card, [name for name in there if name not in layout.declared], tuple(layout.columns))
    renamed = {ours: near[ours] for ours in missing if ours in near and isinstance(near[ours], str)}
    missing = [name for name in missing if name not in renamed]
    if records and missing:
        raise InputError(
            f"The table {path} lacks columns",
            found=names_seen(there, missing),
            wanted=", ".join(missing),
            next_step="Name the file's columns under [data.columns] of the card.",
        )
    for ours, theirs in renamed.items():
        notes.count(f"records whose column {theirs} is read as {ours}", len(records))
    return [_renamed(record, renamed) for record in records] if renamed else records


def _renamed(record: Record, renamed: Mapping[str, object]) -> Record:
    added = {ours: record.values[str(theirs)] for ours, theirs in renamed.items() if str(theirs) in record.values}
    return Record(record.where, {**record.values, **added})


# Texts with annotations beside them


def _read_standoff(
    reader: str, layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes, *, function: str = "read"
) -> list[Example]:
    """Read documents by a function of `mpdd.data.readers.<reader>` that takes a file or folder and the notes."""
    read = getattr(import_module(f"mpdd.data.readers.{reader}"), function)
    options = {"relations": layout.card.type == "re"} if function == "read" else {}
    found: list[tuple[Document, str]] = []
    for place, path in enumerate(paths):
        elsewhere = {"others": [other for other in paths if other != path]} if reader == "brat" and len(paths) > 1 else {}
        documents: list[Document] = read(path, notes, **options, **elsewhere)
        numbered = [replace(document, name=f"{place}/{document.name}") if place else document for document in documents]
        found += [(document, tables.origin(document.text)) for document in numbered]
    return _spans(layout, corpus, found, layout.labels, notes)


def _spans(
    layout: Layout, corpus: str, found: Sequence[tuple[Document, str]], labels: Mapping[str, str], notes: Notes
) -> list[Example]:
    """Return windows of the documents, which come with their document ids, as examples of an entity or relation task.

    `labels` gives our label for those types that the documents call by another name.
    """
    documents = [document for document, _ in found]
    ids = dict(zip(standoff.keys(documents), (origin for _, origin in found), strict=True))
    named = {label: label for label in layout.card.labels} | dict(labels)
    is_ner = layout.card.type == "ner"
    make = standoff.ner_examples if is_ner else partial(standoff.re_examples, in_text=True)
    max_chars = layout.card.window or (NER_CHARS if is_ner else standoff.WHOLE)
    return make(documents, named, notes, corpus=corpus, document=ids.__getitem__, max_chars=max_chars)


def _read_conll(layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    return _read_standoff("conll", layout, corpus, list(files(paths, CONLL_SUFFIXES)), notes, function="documents")


def _read_pubtator(layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    """Read entities by window; relations, which are between concepts, by whole document."""
    found = list(files(paths, PUBTATOR_SUFFIXES))
    if layout.card.type == "ner":
        return _read_standoff("pubtator", layout, corpus, found, notes, function="documents")
    named = {label: label for label in layout.card.labels} | dict(layout.labels)
    examples = []
    for place, path in enumerate(found):
        for example in pubtator.re_examples(path, named, notes, corpus=f"{corpus}:{place}/" if place else f"{corpus}:"):
            examples.append(replace(example, document=tables.origin(example.text)))
    return examples


def _read_squad(layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    """Read questions, their articles cut to the windows that hold the answers."""
    if len(layout.card.fields) != 1:
        raise InputError(
            f"{paths[0]} holds questions, as SQuAD files do",
            found=f"{len(layout.card.fields)} fields",
            wanted=SQUAD_FIELDS,
        )
    (field,) = layout.card.fields
    found = []
    for place, path in enumerate(files(paths, (".json",))):
        for number, question in enumerate(squad.read(path, notes), 1):
            example = Example(
                id=f"{corpus}:{place}/{number}",
                document=tables.origin(question.context) if question.is_numbered else question.document,
                text=question.context,
                gold=Answer(text=question.context[question.start : question.end]),
                fields=((field, question.text),),
            )
            found.append((example, question.start, question.end))
    return list(gold_windows(found, notes))


# The formats


def _csv(delimiter: str) -> Callable[[Path, Notes], list[Record]]:
    return lambda path, notes: csv_table.read(path, (), notes, delimiter=delimiter)


_WRITTEN: Mapping[str, Callable[[Path, Notes], list[Record]]] = MappingProxyType(
    {
        "jsonl": lambda path, notes: jsonlines.read(path, {}, notes),
        "json": json_records.read,
        "csv": _csv(","),
        "tsv": _csv("\t"),
        "parquet": lambda path, _: parquet.read(path, named_classes=True),
        "arrow": lambda path, _: saved_dataset.read(path),
        "docbin": lambda path, _: docbin.read(path),
        "bioc-xml": lambda path, _: bioc_xml.read(path),
    }
)
TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".spacy", ".xml")
CONLL_SUFFIXES = (*conll.SUFFIXES, ".tsv", ".txt")
PUBTATOR_SUFFIXES = (".pubtator", ".txt")


def _table(name: str, title: str, suffixes: tuple[str, ...], types: tuple[str, ...] | None = None) -> Format:
    return Format(title, partial(_read_table, name), suffixes, types, is_table=True)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "jsonl": _table("jsonl", "JSON lines", (".jsonl", ".ndjson")),
        "json": _table("json", "JSON", (".json",)),
        "csv": _table("csv", "CSV", (".csv",)),
        "tsv": _table("tsv", "TSV", (".tsv",)),
        "parquet": _table("parquet", "Parquet", (".parquet",)),
        "arrow": _table("arrow", "Arrow", (".arrow",)),
        "docbin": _table("docbin", "spaCy DocBin", (".spacy",)),
        "bioc-xml": _table("bioc-xml", "BioC XML", (".xml",)),
        **{name: _table(name, export.title, TABLE_SUFFIXES, export.types) for name, export in EXPORTS.items()},
        "table": _table("table", "a plain table", TABLE_SUFFIXES),
        "brat": Format("brat", partial(_read_standoff, "brat"), (".ann", ".txt"), ("ner", "re")),
        "conll": Format("CoNLL", _read_conll, CONLL_SUFFIXES, ("ner",)),
        "pubtator": Format("PubTator", _read_pubtator, PUBTATOR_SUFFIXES, ("ner", "re")),
        "squad": Format("SQuAD", _read_squad, (".json",), ("qa extractive",)),
        "i2b2-2010": Format("i2b2 2010", partial(_read_standoff, "i2b2_2010"), (".txt", ".con", ".rel"), ("ner", "re")),
        "i2b2-2012": Format("i2b2 2012", partial(_read_standoff, "i2b2_2012"), (".xml",), ("ner", "re")),
    }
)


# Files whose format the card does not say


def recognise(paths: Sequence[Path], task_type: str, form: str) -> list[str]:
    """Return the format of each file or folder by its content, "" where it cannot be told; an export by its own name.

    An export that holds no task of this type and form is a table like others.
    """
    told = zip(paths, sniff.all_written_as(paths), strict=True)
    return [_named(path, written, task_type, form) for path, written in told]


def _named(path: Path, written: str, task_type: str, form: str) -> str:
    if written not in _WRITTEN or not os.path.exists(path):
        return written
    first = next(files([path], FORMATS[written].suffixes))
    export = recognised(_WRITTEN[written](first, Notes()))
    return export if export and FORMATS[export].holds(task_type, form) else written


def read(name: str, layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    """Return the examples of files in the format `name`; where that is "", each file is told by its content."""
    if name:
        return FORMATS[name].read(layout, corpus, paths, notes)
    groups: dict[str, list[Path]] = {}
    for path, written in zip(paths, sniff.all_written_as(paths), strict=True):
        _check(path, written, layout)
        groups.setdefault(written, []).append(path)
    examples: list[Example] = []
    for place, (written, those) in enumerate(groups.items()):
        new = FORMATS[written].read(layout, f"{corpus}+{place}" if place else corpus, those, notes)
        notes.count(f"examples {RECOGNISED} {FORMATS[written].title}", 0 if FORMATS[written].is_table else len(new))
        examples += new
    return examples


def _check(path: Path, written: str, layout: Layout) -> None:
    """Raise `InputError` where it cannot be told how a file is written, or where that does not hold the card's task."""
    card = layout.card
    if not written:
        raise InputError(
            f"The format of {path} cannot be told from its content",
            wanted=f"one of {', '.join(FORMATS)}",
            next_step="Name it as format under [data] of the card, or as --format.",
        )
    if not FORMATS[written].holds(card.type, card.form):
        raise InputError(
            f"{path} was recognised as {FORMATS[written].title}",
            found="files that hold no task of this type",
            wanted=f"a format for tasks of type {card.kind}",
            next_step="If it is something else, name that as format under [data] of the card.",
        )
