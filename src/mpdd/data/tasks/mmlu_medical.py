"""MMLU's nine subjects of medicine and the life sciences; train is upstream's small dev set, dev its validation set.

Subjects share questions, so a document is a question without regard to case and punctuation. The repository's test file
on professional medicine has ten questions more than the archive that is mostly used (282, not 272).
"""

from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import csv_table
from mpdd.data.readers.base import Notes, Record, build
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

SUBJECTS = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "human_aging",
    "medical_genetics",
    "nutrition",
    "professional_medicine",
    "virology",
)
PARTS = ("dev", "val", "test")
LETTERS = ("A", "B", "C", "D")
COLUMNS = ("question", *LETTERS, "answer")


def read_part(root: Path, part: str, notes: Notes) -> list[Example]:
    """Return the questions of all subjects of a part."""
    examples = []
    for subject in SUBJECTS:
        records = csv_table.read(root / file(part, subject), COLUMNS, notes, header=COLUMNS, stray_quotes=True)
        examples += build(records, partial(example, f"mmlu:{part}/{subject}", count(1)), notes)
    return examples


def file(part: str, subject: str) -> str:
    """Return the path of a subject's part in the store."""
    return f"mmlu_medical/{part}/{subject}_{part}.csv"


def example(prefix: str, numbers: Iterator[int], record: Record) -> Example:
    """Return one question, called by its place in its file; the answer is given as the letter of an option."""
    return Example(
        id=f"{prefix}/{next(numbers)}",
        document=f"mmlu:{splits.fingerprint(record['question'])}",
        text=record.text("question"),
        choices=tuple(record.text(letter) for letter in LETTERS),
        gold=Answer(choice=LETTERS.index(record["answer"])),
    )


def load(root: Path) -> Splits:
    """Return the upstream splits: dev as train, val as dev, test as test."""
    notes = Notes()
    train, dev, test = (read_part(root, part, notes) for part in PARTS)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="mmlu_medical",
        type="qa",
        instruction="Choose the right answer to the question on medicine or biology.",
        text_field="Question",
        max_answer_tokens=48,
    ),
    role="source",
    files=tuple(file(part, subject) for part in PARTS for subject in SUBJECTS),
    load=load,
    licence="MIT",
    citation="Hendrycks et al. 2021, MMLU, ICLR, arXiv:2009.03300",
)
