"""SciFact as textual entailment: do sentences of an abstract entail a scientific claim.

Upstream has train and dev only: dev is our test, and a tenth of train is our dev. Upstream gives no abstract ids, and
its splits share abstracts, so premises that share a sentence are one document (see `splits.link_documents`).
"""

from dataclasses import replace
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import csv_table
from mpdd.data.readers.base import Notes, Record, build
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

FILES = tuple(f"scifact_rte/RTE-scifact/{part}.tsv" for part in ("train", "dev"))
COLUMNS = ("index", "sentence1", "sentence2", "entailment")
LABELS = {"entailment": "entailment", "not_entailment": "not entailment"}


def example(record: Record, part: str) -> Example:
    """Return one premise and hypothesis; the document is set later."""
    choice = list(LABELS).index(record["entailment"])
    claim = (("Hypothesis", record.text("sentence2")),)
    return Example(f"scifact:{part}/{record['index']}", "", record.text("sentence1"), Answer(choice=choice), claim)


def load(root: Path) -> Splits:
    """Return train and dev cut 90/10 from upstream's train, and upstream's dev as test."""
    notes = Notes()
    tables = [csv_table.read(root / file, COLUMNS, notes, delimiter="\t", quoting=False) for file in FILES]
    first = build(tables[0], lambda record: example(record, "train"), notes)
    both = first + build(tables[1], lambda record: example(record, "dev"), notes)
    documents = splits.link_documents([e.text for e in both])
    linked = [replace(e, document=f"scifact:{document}") for e, document in zip(both, documents, strict=True)]
    train, dev = splits.cut(linked[: len(first)], (90, 10))
    return splits.make(train, dev, linked[len(first) :], notes)


TASK = Task(
    card=TaskCard(
        name="scifact",
        type="nli",
        instruction="Does the premise entail the hypothesis? Answer entailment or not entailment.",
        labels=tuple(LABELS.values()),
        text_field="Premise",
        fields=("Hypothesis",),
        max_answer_tokens=8,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="CC BY 4.0 (claims), ODC-By (abstracts)",
    citation="Wadden et al. 2020, SciFact, EMNLP, arXiv:2004.14974; in the RTE form of Saakyan et al. 2021, ACL",
)
