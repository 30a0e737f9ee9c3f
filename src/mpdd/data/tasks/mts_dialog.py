"""MTS-Dialog: a conversation of doctor and patient to the section of the note it leads to; test is test set 1.

The input is the dialogue alone: in MEDIQA-Chat 2023 the section's name is part of the answer, so it is not given here.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import csv_table
from mpdd.data.readers.base import Notes, Record, build
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

PARTS = {
    "train": "mts_dialog/MTS-Dialog-TrainingSet.csv",
    "dev": "mts_dialog/MTS-Dialog-ValidationSet.csv",
    "test": "mts_dialog/MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv",
}


def example(record: Record, part: str) -> Example:
    """Return one dialogue, which is its own document; turns stay on lines of their own."""
    name = f"mts-dialog:{part}/{record['ID']}"
    return Example(name, name, record.text("dialogue"), Answer(text=record.text("section_text")))


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()

    def read_part(part: str) -> list[Example]:
        records = csv_table.read(root / PARTS[part], ("ID", "section_text", "dialogue"), notes)
        return build(records, lambda record: example(record, part), notes)

    return splits.make(read_part("train"), read_part("dev"), read_part("test"), notes)


TASK = Task(
    card=TaskCard(
        name="mts_dialog",
        type="summarization",
        instruction="Write the section of the clinical note that the dialogue leads to.",
        text_field="Dialogue",
        max_answer_tokens=512,
    ),
    role="target",
    files=tuple(PARTS.values()),
    load=load,
    licence="CC BY 4.0",
    citation="Ben Abacha et al. 2023, MTS-Dialog, EACL, https://aclanthology.org/2023.eacl-main.168",
)
