"""The file formats of a card: which types of task each can hold, and how its files become examples."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from mpdd.data.cards import tables
from mpdd.data.cards.layout import Layout
from mpdd.data.passages import gold_windows
from mpdd.data.readers import container, csv_table, jsonlines, parquet, squad, standoff
from mpdd.data.readers.base import Notes, Record
from mpdd.data.readers.standoff import Document
from mpdd.data.task import Answer, Example
from mpdd.data.windows import NER_CHARS
from mpdd.errors import InputError

Read = Callable[[Layout, str, Sequence[Path], Notes], list[Example]]
_PLACE = re.compile(r"\d+/\d+")


@dataclass(frozen=True)
class Format:
    """One file format. `read` takes a layout, the start of the example ids, and the files or folders of one split.

    `types` are the types of task, or pairs of type and form, that it can hold (None: all); `suffixes` those of its
    files in a folder. A table has `records` with named columns.
    """

    read: Read
    suffixes: tuple[str, ...]
    types: tuple[str, ...] | None = None
    records: Callable[[Path, Notes], list[Record]] | None = None

    @property
    def own(self) -> tuple[str, ...]:
        """The suffixes that tell this format from others."""
        return tuple(suffix for suffix in self.suffixes if suffix not in (".txt", ".xml", ".json"))

    def holds(self, task_type: str, form: str) -> bool:
        """Say whether a task of this type and form can be in such files."""
        return self.types is None or task_type in self.types or f"{task_type} {form}" in self.types


def _table(records: Callable[[Path, Notes], list[Record]], *suffixes: str) -> Format:
    return Format(partial(_read_table, records, suffixes), suffixes, records=records)


def _read_table(
    records: Callable[[Path, Notes], list[Record]],
    suffixes: tuple[str, ...],
    layout: Layout,
    corpus: str,
    paths: Sequence[Path],
    notes: Notes,
) -> list[Example]:
    read = [record for path in files(paths, suffixes) for record in _with_columns(path, layout, records(path, notes))]
    if layout.card.type not in ("ner", "re"):
        return tables.examples(layout, corpus, read, notes)
    return _spans(layout, corpus, tables.documents(layout, read, notes), {}, notes)


def files(paths: Sequence[Path], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files themselves, and those of folders that end in one of `suffixes`, in order."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = [file for file in container.inside(path) if file.suffix.lower() in suffixes]
        if not inside:
            raise InputError(f"The folder {path} holds no file that ends in {' or '.join(suffixes)}", wanted="at least one")
        yield from inside


def _with_columns(path: Path, layout: Layout, records: list[Record]) -> list[Record]:
    """Return the records; raise `InputError` naming the columns that none of them has, not those that they have."""
    there = {str(name) for record in records for name in record.values}
    missing = [name for name in layout.declared if name not in there]
    if missing:
        near = [match for name in missing for match in difflib.get_close_matches(name, there, n=1, cutoff=0.7)]
        raise InputError(
            f"The table {path} lacks columns",
            found=f"{len(there)} others" + (f", perhaps {' or '.join(near)}" if near else ""),
            wanted=", ".join(missing),
            next_step="Name the file's columns under [data.columns] of the card.",
        )
    return records


def _read_standoff(reader: str, layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    """Read documents by `mpdd.data.readers.<reader>`, whose `read` takes a file or folder and the notes."""
    found: list[tuple[Document, str]] = []
    read = import_module(f"mpdd.data.readers.{reader}").read
    for place, path in enumerate(paths):
        elsewhere = {"others": [other for other in paths if other != path]} if reader == "brat" and len(paths) > 1 else {}
        documents: list[Document] = read(path, notes, **elsewhere)
        numbered = [replace(document, name=f"{place}/{document.name}") for document in documents]
        found += [(document, tables.origin(document.text)) for document in (numbered if place else documents)]
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
    make = standoff.ner_examples if layout.card.type == "ner" else standoff.re_examples
    return make(documents, named, notes, corpus=corpus, document=ids.__getitem__, max_chars=NER_CHARS)


def _read_squad(layout: Layout, corpus: str, paths: Sequence[Path], notes: Notes) -> list[Example]:
    """Read questions, their articles cut to the windows that hold the answers."""
    field = layout.card.fields[0]
    found = []
    for place, path in enumerate(files(paths, (".json",))):
        for number, question in enumerate(squad.read(path, notes), 1):
            example = Example(
                id=f"{corpus}:{place}/{number}",
                document=tables.origin(question.context) if _PLACE.fullmatch(question.document) else question.document,
                text=question.context,
                gold=Answer(text=question.context[question.start : question.end]),
                fields=((field, question.text),),
            )
            found.append((example, question.start, question.end))
    return list(gold_windows(found, notes))


def _csv(delimiter: str) -> Callable[[Path, Notes], list[Record]]:
    return lambda path, notes: csv_table.read(path, (), notes, delimiter=delimiter)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "jsonl": _table(lambda path, notes: jsonlines.read(path, {}, notes), ".jsonl", ".ndjson"),
        "csv": _table(_csv(","), ".csv"),
        "tsv": _table(_csv("\t"), ".tsv"),
        "parquet": _table(lambda path, _: parquet.read(path), ".parquet"),
        "brat": Format(partial(_read_standoff, "brat"), (".ann", ".txt"), ("ner", "re")),
        "squad": Format(_read_squad, (".json",), ("qa extractive",)),
        "i2b2-2010": Format(partial(_read_standoff, "i2b2_2010"), (".txt", ".con", ".rel"), ("ner", "re")),
        "i2b2-2012": Format(partial(_read_standoff, "i2b2_2012"), (".xml",), ("ner", "re")),
    }
)
