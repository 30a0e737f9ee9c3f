"""Chia, eleven relation types between parts of eligibility criteria ("without scope"); cut 70/10/20 by trial.

A group of alternatives (`* OR`) becomes pairs of neighbours. Relations with an error label (see `chia_ner`) and those
that only serve the annotation tool (multi, v-AND and the like) are dropped.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import brat, standoff
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard
from mpdd.data.tasks import chia_ner
from mpdd.data.windows import NER_CHARS

LABELS = {
    "Has_value": "has value",
    "Has_qualifier": "has qualifier",
    "Has_temporal": "has time",
    "Has_index": "has reference point",
    "Has_negation": "has negation",
    "Has_multiplier": "has multiplier",
    "Has_mood": "has mood",
    "Has_context": "has context",
    "Subsumes": "subsumes",
    "AND": "and",
    "OR": "or",
}


def load(root: Path) -> Splits:
    """Return windows of the criteria, cut by the rule in `splits`."""
    notes = Notes()
    examples = standoff.re_examples(
        brat.read(root / chia_ner.FILES[0], notes, nearest=False),
        LABELS,
        notes,
        corpus="chia",
        document=chia_ner.trial,
        arguments=tuple(chia_ner.LABELS),
        max_chars=NER_CHARS,
    )
    train, dev, test = splits.cut(examples, (70, 10, 20))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="chia_re",
        type="re",
        instruction="List how the parts of the eligibility criteria are related, such as a measurement and its value.",
        labels=tuple(LABELS.values()),
        text_field="Criteria",
        max_answer_tokens=224,
    ),
    role="source",
    files=chia_ner.FILES,
    load=load,
    licence="CC BY 4.0",
    citation="Kury et al. 2020, Chia, Scientific Data, doi:10.1038/s41597-020-00620-0",
)
