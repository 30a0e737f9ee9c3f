"""ACI-Bench, staged visits: a whole conversation of doctor and patient to the whole note. A spare, not one of the 31.

Test is test set 1, that of MEDIQA-Chat 2023 task B; sets 2 and 3 are not used. Conversations have some 1,300 words and
are given whole: where that does not fit the context, `data.batch` cuts the end and counts it.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import csv_table
from mpdd.data.readers.base import Notes, Record, build
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

FILES = tuple(f"aci_bench/{part}.csv" for part in ("train", "valid", "clinicalnlp_taskB_test1"))


def example(record: Record) -> Example:
    """Return one visit, which is its own document; turns stay on lines of their own, speakers tagged as upstream."""
    name = f"aci-bench:{record['encounter_id']}"
    return Example(name, name, record.text("dialogue"), Answer(text=record.text("note")))


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()
    tables = (csv_table.read(root / file, ("encounter_id", "dialogue", "note"), notes) for file in FILES)
    train, dev, test = (build(records, example, notes) for records in tables)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="aci_bench",
        type="summarization",
        instruction="Write the whole clinical note of the visit.",
        text_field="Dialogue",
        max_answer_tokens=1344,
    ),
    role="spare",
    files=FILES,
    load=load,
    licence="CC BY 4.0",
    citation="Yim et al. 2023, ACI-BENCH, Scientific Data 10, arXiv:2306.02022",
)
