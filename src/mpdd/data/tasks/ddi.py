"""DDI corpus 2013: which drugs of a sentence interact, and how the text puts it; head is the drug named first.

Sentences without two drugs are dropped, those whose drugs do not interact stay. A tenth of train becomes dev by rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpdd.data import splits
from mpdd.data.arguments import Span, wording_example
from mpdd.data.readers import container
from mpdd.data.readers.base import Notes, Record, build, complete, texts, usable
from mpdd.data.task import Example, Splits, Task, TaskCard
from mpdd.errors import InputError

FILES = ("ddi_corpus/DDICorpus-2013.zip",)
FOLDERS = ("DDICorpus/Train", "DDICorpus/Test/Test for DDI Extraction task")
LABELS = {"effect": "effect", "mechanism": "mechanism", "advise": "advice", "int": "interaction"}


def load(root: Path) -> Splits:
    """Return train and dev cut 90/10 from upstream's train, and the test set for interactions."""
    notes = Notes()
    first, test = (re_examples(root / FILES[0], folder, LABELS, notes) for folder in FOLDERS)
    train, dev = splits.cut(first, (90, 10))
    return splits.make(train, dev, test, notes)


_PLACES = re.compile(r"\d+-\d+(;\d+-\d+)*")


def re_examples(path: Path, folder: str, labels: Mapping[str, str], notes: Notes) -> list[Example]:
    """Return the sentences with two drugs or more of the files below `folder` in an archive.

    The head is the drug named first. Drugs of the same wording are one argument. The document is named by `document_of`.
    """
    files = {name: content for name, content in container.read(path, (".xml",)).items() if name.startswith(f"{folder}/")}
    records = [record for name, content in files.items() for record in _sentences(f"{path}/{name}", name, content, notes)]
    paired = [record for record in records if record["pair"]]
    notes.count("sentences without two drugs", len(records) - len(paired))
    return usable(path, build(paired, lambda record: _example(record, labels, notes), notes))


def document_of(name: str) -> str:
    """Return the document id for a file's path: `pmid:` for an abstract, else `drugbank:` and the drug's name."""
    stem = name.rpartition("/")[2].removesuffix(".xml").removesuffix("_ddi")
    return f"pmid:{stem}" if stem.isdecimal() else f"drugbank:{stem.lower()}"


def _sentences(where: str, name: str, content: bytes, notes: Notes) -> list[Record]:
    from lxml import etree  # type: ignore[import-untyped]

    try:
        root = etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise InputError(
            f"The file {where} is not valid XML", found=f"an error on line {error.lineno}", wanted="a complete XML file"
        ) from None
    records = []
    for element in root.iter("sentence"):
        values: dict[str, Any] = {**element.attrib, "document": document_of(name)}
        values |= {tag: [_inside(where, child) for child in element.iter(tag)] for tag in ("entity", "pair")}
        record = Record(f"{where} line {element.sourceline}", values)
        if complete(record, texts(("id", "text")), notes):
            records.append(record)
    return records


def _inside(where: str, element: Any) -> Record:
    return Record(f"{where} line {element.sourceline}", dict(element.attrib))


def _example(record: Record, labels: Mapping[str, str], notes: Notes) -> Example:
    drugs = {entity["id"]: span for entity in record["entity"] if (span := _span(record["text"], entity, notes))}
    pairs: list[tuple[str, Span, Span]] = []
    for pair in record["pair"]:
        kind = pair.values.get("type")
        if pair["ddi"] != "true":
            continue
        if kind in labels and pair["e1"] in drugs and pair["e2"] in drugs:
            pairs.append((labels[kind], drugs[pair["e1"]], drugs[pair["e2"]]))
        else:
            notes.bad(pair.where, "interaction without a known type or drug", wanted=f"one of {sorted(labels)} and two drugs")
    return wording_example(record["id"], record["document"], record["text"].strip(), pairs, notes, directed=False)


def _span(text: str, entity: Record, notes: Notes) -> Span | None:
    """Return a drug's span, or None if offsets and text disagree."""
    places = entity["charOffset"] if _PLACES.fullmatch(entity["charOffset"]) else ""
    pieces = sorted((int(first), int(last) + 1) for first, last in (part.split("-") for part in places.split(";") if part))
    surface = " ".join(text[start:end].strip() for start, end in pieces)
    if not pieces or "".join(surface.split()) != "".join(entity["text"].split()):
        notes.bad(entity.where, "drug that its offsets do not give", wanted="first and last character, as 'first-last'")
        return None
    notes.count("discontinuous arguments", int(len(pieces) > 1))
    return pieces[0][0], pieces[-1][1], surface


TASK = Task(
    card=TaskCard(
        name="ddi",
        type="re",
        instruction="List which drugs interact, by whether the text gives an effect, a mechanism, advice or neither.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=96,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="CC BY-NC 4.0",
    citation="Herrero-Zazo et al. 2013, DDI corpus, Journal of Biomedical Informatics, doi:10.1016/j.jbi.2013.07.011",
)
