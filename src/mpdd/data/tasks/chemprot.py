"""ChemProt in the form of SciBERT: how a chemical and a protein of a sentence are related; positive pairs only.

Upstream repeats a sentence for each pair, with `<< >>` around the mention that comes first and `[[ ]]` around the
second, whichever is the chemical. Here a sentence is one example, without marks, with the first mention as the head.
"""

import re
from pathlib import Path

from mpdd.data import splits
from mpdd.data.arguments import Span, wording_example
from mpdd.data.readers import json_files
from mpdd.data.readers.base import Notes, Record, build
from mpdd.data.task import Example, Splits, Task, TaskCard

FILES = tuple(f"chemprot_scibert/data/text_classification/chemprot/{part}.txt" for part in ("train", "dev", "test"))
FIELDS = {"text": str, "label": str}
MARKED = re.compile(r"(.*?)<< (.+?) >>(.*?)\[\[ (.+?) \]\](.*)", re.DOTALL)
LABELS = {
    "INHIBITOR": "inhibitor",
    "SUBSTRATE": "substrate",
    "INDIRECT-DOWNREGULATOR": "indirect downregulator",
    "INDIRECT-UPREGULATOR": "indirect upregulator",
    "ACTIVATOR": "activator",
    "ANTAGONIST": "antagonist",
    "PRODUCT-OF": "product",
    "AGONIST": "agonist",
    "DOWNREGULATOR": "downregulator",
    "UPREGULATOR": "upregulator",
    "SUBSTRATE_PRODUCT-OF": "substrate and product",
    "AGONIST-ACTIVATOR": "agonist and activator",
    "AGONIST-INHIBITOR": "agonist and inhibitor",
}
Pair = tuple[str, Span, Span]


def unmarked(record: Record) -> tuple[str, Pair]:
    """Return the sentence without marks, and its pair; raise ValueError if it lacks a mark."""
    match = MARKED.fullmatch(record["text"])
    if match is None:
        raise ValueError("marks")
    before, head, between, tail, after = match.groups()
    start, gap = len(before), len(before + head + between)
    pair = (LABELS[record["label"]], (start, start + len(head), head), (gap, gap + len(tail), tail))
    return before + head + between + tail + after, pair


def read_examples(path: Path, notes: Notes) -> list[Example]:
    """Return the sentences of a file, each its own document by hash, as upstream gives no ids."""
    sentences: dict[str, list[Pair]] = {}
    for text, pair in build(json_files.read_jsonl(path, FIELDS, notes), unmarked, notes):
        sentences.setdefault(text, []).append(pair)
    names = {text: f"chemprot:{splits.digest(text)[:12]}" for text in sentences}
    return [wording_example(names[t], names[t], t, pairs, notes, directed=False) for t, pairs in sentences.items()]


def load(root: Path) -> Splits:
    """Return the upstream splits; train without the sentence that test repeats."""
    notes = Notes()
    train, dev, test = (read_examples(root / file, notes) for file in FILES)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="chemprot",
        type="re",
        instruction="List how the chemicals and the proteins of the sentence are related.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=160,
    ),
    role="target",
    files=FILES,
    load=load,
    licence="public domain mark",
    citation="Krallinger et al. 2017, BioCreative VI ChemProt; in the form of SciBERT, Beltagy et al. 2019, arXiv:1903.10676",
)
