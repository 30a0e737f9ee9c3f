"""MEDIQA 2019 RQE, question entailment: is every answer to question 2 also an answer, at least in part, to question 1.

Train pairs doctors' questions with their short forms; dev and test pair consumers' questions with FAQs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers.base import Notes, Record, build, complete, read_bytes, texts, usable
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard
from mpdd.errors import InputError

PARTS = {
    "train": "mediqa2019_rqe/MEDIQA2019-Task2-RQE-TrainingSet-AMIA2016.xml",
    "dev": "mediqa2019_rqe/MEDIQA2019-Task2-RQE-ValidationSet-AMIA2016.xml",
    "test": "mediqa2019_rqe/MEDIQA2019-Task2-RQE-TestSet-wLabels.xml",
}
LABELS = {"true": "yes", "false": "no"}


def example(record: Record, part: str) -> Example:
    """Return one pair; the document is the first question, by hash, as upstream gives it no id."""
    return Example(
        id=f"rqe:{part}/{record['pid']}",
        document=f"rqe:{splits.digest(record['chq'])[:12]}",
        text=record["chq"],
        fields=(("Question 2", record["faq"]),),
        gold=Answer(choice=list(LABELS).index(record["value"])),
    )


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()

    def read_part(part: str) -> list[Example]:
        records = read_elements(root / PARTS[part], "pair", ("pid", "value"), ("chq", "faq"), notes)
        return build(records, lambda record: example(record, part), notes)

    return splits.make(read_part("train"), read_part("dev"), read_part("test"), notes)


def read_elements(path: Path, tag: str, attributes: Sequence[str], children: Sequence[str], notes: Notes) -> list[Record]:
    """Return the elements called `tag` as records of their attributes and children, whitespace collapsed.

    Elements that lack one are noted as bad. Entities are not resolved and nothing is loaded from a network.
    Raise `InputError` naming the line where the XML is broken or cut short.
    """
    from lxml import etree  # type: ignore[import-untyped]

    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        root = etree.fromstring(read_bytes(path), parser)
    except etree.XMLSyntaxError as error:
        raise InputError(
            f"The file {path} is not valid XML", found=f"an error on line {error.lineno}", wanted="a complete XML file"
        ) from None
    records = []
    for element in root.iter(tag):
        values = {name: element.get(name) for name in attributes}
        values |= {name: _text(element.find(name)) for name in children}
        record = Record(f"{path} line {element.sourceline}", values)
        if complete(record, texts((*attributes, *children)), notes):
            records.append(record)
    return usable(path, records)


def _text(element: object) -> str | None:
    return None if element is None else " ".join("".join(element.itertext()).split())  # type: ignore[attr-defined]


TASK = Task(
    card=TaskCard(
        name="rqe",
        type="nli",
        instruction="Does every answer to question 2 also answer question 1, at least in part? Answer yes or no.",
        labels=tuple(LABELS.values()),
        text_field="Question 1",
        fields=("Question 2",),
        max_answer_tokens=8,
    ),
    role="target",
    files=tuple(PARTS.values()),
    load=load,
    licence="CC BY 4.0 (train, dev); test: not stated",
    citation="Ben Abacha and Demner-Fushman 2016, AMIA; Ben Abacha et al. 2019, MEDIQA, doi:10.18653/v1/W19-5039",
)
