"""NLI4CT (SemEval 2023 task 7): does a section of one or two breast cancer trial records entail a statement.

The premise is the whole named section of the primary trial, and of the secondary one where two are compared. Upstream
splits share trials: statements on a trial that a later split holds, as either of the two, are dropped; so are those
that upstream gives twice with opposite answers.
"""

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from mpdd.data import splits
from mpdd.data.readers import container, json_files
from mpdd.data.readers.base import Notes, Record, build, tidy
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

FILES = ("nli4ct_2023/Complete_dataset.zip",)
PARTS = {"train": "train.json", "dev": "dev.json", "test": "Gold_test.json"}
FIELDS = {"Section_id": str, "Primary_id": str, "Statement": str, "Label": str}
LABELS = {"Entailment": "entailment", "Contradiction": "contradiction"}
Trials = dict[str, dict[str, Any]]


def trials(record: Record) -> list[str]:
    """Return the ids of the trials that a statement is about, the primary one first."""
    return [record[key] for key in ("Primary_id", "Secondary_id") if record.values.get(key)]


def premise(record: Record, reports: Trials) -> str:
    """Return the named section of each trial under a line that says whose it is."""
    section = record["Section_id"]
    parts = zip(("Primary trial", "Secondary trial"), trials(record), strict=False)
    return tidy("\n".join(f"{name}, {section}:\n" + "\n".join(reports[trial][section]) for name, trial in parts))


def example(record: Record, reports: Trials) -> Example:
    """Return one statement; the document is the primary trial."""
    return Example(
        id=f"nli4ct:{record['key']}",
        document=f"nct:{record['Primary_id']}",
        text=premise(record, reports),
        fields=(("Statement", record.text("Statement")),),
        gold=Answer(choice=list(LABELS).index(record["Label"])),
    )


def consistent(examples: list[Example], notes: Notes) -> list[Example]:
    """Return the examples whose input has one answer only."""
    answers = defaultdict(set)
    for e in examples:
        answers[e.text, e.fields].add(e.gold.choice)
    unambiguous = [e for e in examples if len(answers[e.text, e.fields]) == 1]
    notes.count("statements with both answers", len(examples) - len(unambiguous))
    return unambiguous


def load(root: Path) -> Splits:
    """Return the upstream splits, each without the trials of those after it."""
    notes = Notes()
    path = root / FILES[0]
    files = {PurePosixPath(name).name: content for name, content in container.read(path, (".json",)).items()}
    reports = {name.removesuffix(".json"): json_files.parse(path / name, raw) for name, raw in files.items()}
    held: set[str] = set()
    parts = {}
    for part in reversed(PARTS):
        entries = json_files.parse(path / PARTS[part], files[PARTS[part]]).items()
        records = json_files.read_entries(path / PARTS[part], entries, FIELDS, notes)
        apart = [record for record in records if held.isdisjoint(trials(record))]
        notes.count(f"{part}: statements on a trial that a later split holds", len(records) - len(apart))
        parts[part] = consistent(build(apart, lambda record: example(record, reports), notes), notes)
        held.update(trial for record in apart for trial in trials(record))
    return splits.make(parts["train"], parts["dev"], parts["test"], notes)


TASK = Task(
    card=TaskCard(
        name="nli4ct",
        type="nli",
        instruction="Does the trial report entail or contradict the statement?",
        labels=tuple(LABELS.values()),
        text_field="Report",
        fields=("Statement",),
        max_answer_tokens=8,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="not stated (premises: ClinicalTrials.gov, public)",
    citation="Jullien et al. 2023, NLI4CT, EMNLP, arXiv:2305.03598; SemEval-2023 task 7, arXiv:2305.02993",
)
