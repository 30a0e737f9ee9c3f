"""PGxCorpus: how drugs, genes, variants and phenotypes are related in sentences of abstracts; cut 70/10/20 by abstract.

Entities may nest and be discontinuous. Relations noted as negated or hypothetical count like others.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import brat, standoff
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

FILES = ("pgxcorpus/PGxCorpus.tar",)
LABELS = {
    "influences": "influences",
    "isAssociatedWith": "is associated with",
    "isEquivalentTo": "is equivalent to",
    "decreases": "decreases",
    "increases": "increases",
    "treats": "treats",
    "causes": "causes",
}


def abstract(stem: str) -> str:
    """Return the id of the abstract whose n-th sentence a file named 1_n is."""
    return f"pmid:{stem.partition('_')[0]}"


def load(root: Path) -> Splits:
    """Return the sentences, cut by the rule in `splits`."""
    notes = Notes()
    examples = standoff.re_examples(brat.read(root / FILES[0], notes), LABELS, notes, corpus="pgxcorpus", document=abstract)
    train, dev, test = splits.cut(examples, (70, 10, 20))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="pgxcorpus",
        type="re",
        instruction="List how the drugs, genes, variants and phenotypes of the sentence are related.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=192,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="CC BY-NC 4.0",
    citation="Legrand et al. 2020, PGxCorpus, Scientific Data, doi:10.1038/s41597-019-0342-9",
)
