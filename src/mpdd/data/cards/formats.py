"""The file formats of a card: which types of task each can hold, and how its files become examples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from mpdd.data.cards import sniff, table_files, tables
from mpdd.data.cards.exports import EXPORTS, recognised
from mpdd.data.cards.exports.base import fits
from mpdd.data.cards.layout import Layout, required
from mpdd.data.passages import gold_windows
from mpdd.data.readers import aligned_lines, conll, pubtator, squad, standoff
from mpdd.data.readers.base import RECOGNISED, Notes, Record
from mpdd.data.readers.standoff import Document
from mpdd.data.task import Answer, Example
from mpdd.data.windows import NER_CHARS
from mpdd.errors import InputError

SQUAD_FIELDS = 'one further input in the card: fields = ["Question"]'
LINES = "lines"  # the format of several files whose n-th lines belong together
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


# Tables


def _read_table(name: str, layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    read: list[Record] = []
    for path in table_files.files(paths, FORMATS[name].suffixes):
        read += table_files.with_columns(path, layout, table_files.table_records(name, layout, path, notes), notes)
    layout, read = tables.numbered(layout, read, notes)
    if layout.card.type not in ("ner", "re"):
        return tables.examples(layout, corpus, read, notes)
    ours = {label: label for label in layout.card.labels}
    return _spans(layout, corpus, tables.documents(layout, read, notes), ours, notes)


def _read_lines(layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    """Read files whose n-th lines belong together; without `columns`, one for each that the task asks for, in order."""
    ours = required(layout.card)
    if not layout.columns:
        layout = replace(layout, columns={name: str(number) for number, name in enumerate(ours, 1)})
    if not set(layout.declared) <= {str(number) for number in range(1, len(paths) + 1)}:
        raise InputError(
            f"{paths[0].name}: line-aligned data is one file for each column",
            found=f"{len(paths)} files",
            wanted=f"one each for {', '.join(ours)}, in this order or by number under [data.columns]",
        )
    layout, read = tables.numbered(layout, aligned_lines.read(paths), notes)
    return tables.examples(layout, corpus, read, notes)


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
    return _spans(layout, corpus, found, layout.names_of_labels, notes)


def _spans(
    layout: Layout, corpus: str, found: Sequence[tuple[Document, str]], labels: Mapping[str, str], notes: Notes
) -> list[Example]:
    """Return windows of the documents, which come with their document ids, as examples of an entity or relation task.

    `labels` gives our label for each type that the documents name.
    """
    documents = [document for document, _ in found]
    ids = dict(zip(standoff.keys(documents), (origin for _, origin in found), strict=True))
    is_ner = layout.card.type == "ner"
    make = standoff.ner_examples if is_ner else partial(standoff.re_examples, in_text=True)
    max_chars = layout.card.window or (NER_CHARS if is_ner else standoff.WHOLE)
    return make(documents, labels, notes, corpus=corpus, document=ids.__getitem__, max_chars=max_chars)


def _read_conll(layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    found = list(table_files.files(paths, CONLL_SUFFIXES))
    return _read_standoff("conll", layout, corpus, found, notes, function="documents")


def _read_pubtator(layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    """Read entities by window; relations, which are between concepts, by whole document."""
    found = list(table_files.files(paths, PUBTATOR_SUFFIXES))
    if layout.card.type == "ner":
        return _read_standoff("pubtator", layout, corpus, found, notes, function="documents")
    examples, named = [], layout.names_of_labels
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
    for place, path in enumerate(table_files.files(paths, (".json",))):
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


TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".spacy", ".xml", ".xmi")
_WITHOUT_SPANS = ("qa", "nli", "summarization", "classification")
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
        "xmi": _table("xmi", "UIMA CAS XMI", (".xmi",)),
        **{name: _table(name, export.title, TABLE_SUFFIXES, export.types) for name, export in EXPORTS.items()},
        "table": _table("table", "a plain table", TABLE_SUFFIXES),
        LINES: Format("line-aligned files", _read_lines, (), _WITHOUT_SPANS, is_table=True),
        "brat": Format("brat", partial(_read_standoff, "brat"), (".ann", ".txt"), ("ner", "re")),
        "conll": Format("CoNLL", _read_conll, CONLL_SUFFIXES, ("ner",)),
        "pubtator": Format("PubTator", _read_pubtator, PUBTATOR_SUFFIXES, ("ner", "re")),
        "squad": Format("SQuAD", _read_squad, (".json",), ("qa extractive",)),
        "i2b2-2010": Format("i2b2 2010", partial(_read_standoff, "i2b2_2010"), (".txt", ".con", ".rel"), ("ner", "re")),
        "i2b2-2012": Format("i2b2 2012", partial(_read_standoff, "i2b2_2012"), (".xml",), ("ner", "re")),
    }
)


# Files whose format the card does not say


def recognise(paths: Sequence[Path], task_type: str, form: str, *, headerless: bool = False) -> list[str]:
    """Return the format of each file or folder by its content, "" where it cannot be told; an export by its own name.

    An export that holds no task of this type and form is a table like others. `headerless` is that of `Layout`.
    """
    told = zip(paths, sniff.all_written_as(paths), strict=True)
    return [_named(path, written, task_type, form, headerless) for path, written in told]


def _named(path: Path, written: str, task_type: str, form: str, headerless: bool) -> str:
    if written not in table_files.WRITTEN or not os.path.exists(path):
        return written
    first = next(table_files.files([path], FORMATS[written].suffixes))
    export = recognised(table_files.records_of(written, first, Notes(), headerless))
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
