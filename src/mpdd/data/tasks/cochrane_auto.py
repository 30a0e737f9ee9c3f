"""Cochrane-auto: paragraphs of technical abstracts of systematic reviews, aligned with their plain-language versions.

Paragraphs that the plain-language summary leaves out (an empty target) are dropped.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import csv_table
from mpdd.data.readers.base import Notes, Record, build
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

FILES = tuple(f"cochrane_auto/cochraneauto_para_{part}.csv" for part in ("train", "val", "test"))


def read_examples(path: Path, notes: Notes) -> list[Example]:
    """Return the paragraphs of a file that have a plain-language version."""
    records = csv_table.read(path, ("pair_id", "para_id", "complex"), notes, optional=("simple",))
    filled = [record for record in records if record["simple"].strip()]
    notes.count("paragraphs without a plain-language version", len(records) - len(filled))
    return build(filled, example, notes)


def example(record: Record) -> Example:
    """Return one paragraph; the document is the review's id."""
    document = f"cochrane:{record['pair_id']}"
    return Example(f"{document}/{record['para_id']}", document, record.text("complex"), Answer(text=record.text("simple")))


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()
    train, dev, test = (read_examples(root / file, notes) for file in FILES)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="cochrane_auto",
        type="summarization",
        instruction="Rewrite the text in plain language for people without medical training.",
        max_answer_tokens=384,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="not stated",
    citation="Bakker and Kamps 2024, Cochrane-auto, TSAR, https://aclanthology.org/2024.tsar-1.5",
)
