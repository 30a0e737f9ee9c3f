"""Chia, fifteen entity types in eligibility criteria of 1,000 trials ("without scope"); cut 70/10/20 by trial.

The types that mark errors and criteria which no query can express (Non-query-able, Parsing_Error and so on) are dropped.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import brat, standoff
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

FILES = ("chia/chia_without_scope.zip",)
LABELS = {
    name: name.replace("_", " ")
    for name in (
        "Condition",
        "Qualifier",
        "Value",
        "Drug",
        "Procedure",
        "Temporal",
        "Measurement",
        "Person",
        "Observation",
        "Reference_point",
        "Negation",
        "Multiplier",
        "Mood",
        "Device",
        "Visit",
    )
}


def trial(stem: str) -> str:
    """Return the id of the trial that a file named NCT1_inc or NCT1_exc is about."""
    return f"nct:{stem.partition('_')[0]}"


def load(root: Path) -> Splits:
    """Return the criteria, cut by the rule in `splits`."""
    notes = Notes()
    examples = standoff.ner_examples(
        brat.read(root / FILES[0], notes, nearest=False), LABELS, notes, corpus="chia", document=trial
    )
    train, dev, test = splits.cut(examples, (70, 10, 20))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="chia_ner",
        type="ner",
        instruction="List the conditions, drugs, measurements, values and other parts of the eligibility criteria.",
        labels=tuple(LABELS.values()),
        text_field="Criteria",
        max_answer_tokens=144,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="CC BY 4.0",
    citation="Kury et al. 2020, Chia, Scientific Data, doi:10.1038/s41597-020-00620-0",
)
