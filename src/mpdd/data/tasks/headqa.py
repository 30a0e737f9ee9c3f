"""HEAD-QA in English, exams for Spanish healthcare posts; train has five options, dev and test four.

Questions that go with an image are dropped.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import json_files
from mpdd.data.readers.base import Notes, Record, build, tidy
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

FILES = tuple(f"headqa_en/{part}_HEAD_EN.json" for part in ("train", "dev", "test"))
FIELDS = {"qid": str, "qtext": str, "ra": str, "answers": list}


def read_examples(path: Path, notes: Notes) -> list[Example]:
    """Return the questions of all exams of a file."""
    content = json_files.part(path, json_files.load(path), "exams")
    exams = json_files.read_entries(path, content.items(), {"data": list}, notes)
    entries = [(f"{exam['key']}/{number}", item) for exam in exams for number, item in enumerate(exam["data"], 1)]
    records = json_files.read_entries(path, entries, FIELDS, notes)
    plain = [record for record in records if not record.values.get("image")]
    notes.count("questions with an image", len(records) - len(plain))
    return build(plain, example, notes)


def example(record: Record) -> Example:
    """Return one question, called by its exam and its number there; `ra` is the id of the right answer."""
    name = f"headqa:{record['key'].split('/')[0]}/{record['qid']}"
    ids = [str(answer["aid"]) for answer in record["answers"]]
    choices = tuple(tidy(answer["atext"]) for answer in record["answers"])
    return Example(name, name, record.text("qtext"), Answer(choice=ids.index(record["ra"])), choices=choices)


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()
    train, dev, test = (read_examples(root / file, notes) for file in FILES)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="headqa",
        type="qa",
        instruction="Choose the right answer to the healthcare exam question.",
        text_field="Question",
        max_answer_tokens=64,
    ),
    role="target",
    files=FILES,
    load=load,
    licence="MIT; questions: reuse terms of the Spanish Ministry of Health (cite the source, do not distort)",
    citation="Vilares and Gomez-Rodriguez 2019, HEAD-QA, ACL, arXiv:1906.04701; exams last updated 2019-01-14",
)
