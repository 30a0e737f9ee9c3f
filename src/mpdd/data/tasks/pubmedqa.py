"""PubMedQA, expert-labelled part: does the abstract, without its conclusion, answer the question yes, no or maybe.

Test is the 500 official ids; a tenth of the other 500 becomes dev by rule.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import json_files
from mpdd.data.readers.base import Notes, Record, build, tidy
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

FILES = ("pubmedqa/ori_pqal.json", "pubmedqa/test_ground_truth.json")
FIELDS = {"QUESTION": str, "CONTEXTS": list, "final_decision": str}
LABELS = ("yes", "no", "maybe")


def example(record: Record) -> Example:
    """Return one question with its context; gold is an index into the card's labels."""
    name = f"pmid:{record['key']}"
    return Example(
        id=name,
        document=name,
        text=" ".join(tidy(context) for context in record["CONTEXTS"]),
        fields=(("Question", record.text("QUESTION")),),
        gold=Answer(choice=LABELS.index(record["final_decision"])),
    )


def load(root: Path) -> Splits:
    """Return the official test set, and train and dev cut 90/10 from the rest."""
    notes = Notes()
    path = root / FILES[0]
    official = {f"pmid:{key}" for key in json_files.load(root / FILES[1])}
    examples = build(json_files.read_entries(path, json_files.load(path).items(), FIELDS, notes), example, notes)
    train, dev = splits.cut([e for e in examples if e.document not in official], (90, 10))
    return splits.make(train, dev, [e for e in examples if e.document in official], notes)


TASK = Task(
    card=TaskCard(
        name="pubmedqa",
        type="qa",
        instruction="Answer the question from the context with yes, no or maybe.",
        labels=LABELS,
        text_field="Context",
        fields=("Question",),
        max_answer_tokens=8,
    ),
    role="target",
    files=FILES,
    load=load,
    licence="MIT",
    citation="Jin et al. 2019, PubMedQA, EMNLP, arXiv:1909.06146",
)
