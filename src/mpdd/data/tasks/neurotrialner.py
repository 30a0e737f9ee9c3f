"""NeuroTrialNER: diseases and interventions in titles and summaries of neurological trials; stratified upstream split.

Upstream's tokens and BIO tags (Python lists written as strings) say the same as its character spans, which are read.
"""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import json_files
from mpdd.data.readers.base import Notes, Record, build
from mpdd.data.task import Entity, Example, Splits, Task, TaskCard
from mpdd.data.windows import cut

FILES = tuple(f"neurotrialner/data/annotated_data/bigbio/{part}.json" for part in ("train", "dev", "test"))
FIELDS = {"nctid": str, "text": str, "entities": list}
LABELS = {
    "CONDITION": "Condition",
    "DRUG": "Drug",
    "OTHER": "Other intervention",
    "PHYSICAL": "Physical intervention",
    "CONTROL": "Control",
    "BEHAVIOURAL": "Behavioural intervention",
    "SURGICAL": "Surgical intervention",
    "RADIOTHERAPY": "Radiotherapy",
}


def examples(record: Record, notes: Notes) -> list[Example]:
    """Return windows of one trial's title and summary; raise ValueError if text and offsets disagree."""
    text, entities = record["text"], []
    for item in record["entities"]:
        if text[item["start"] : item["end"]] != item["text"]:
            raise ValueError("offsets")
        entities.append(Entity(item["start"], item["end"], LABELS[item["type"]]))
    return cut(f"nct:{record['nctid']}", text, entities, notes)


def read_examples(path: Path, notes: Notes) -> list[Example]:
    """Return the windows of a file's trials."""
    entries = enumerate(json_files.load_list(path), 1)
    records = json_files.read_entries(path, ((str(number), item) for number, item in entries), FIELDS, notes)
    return [example for windows in build(records, lambda record: examples(record, notes), notes) for example in windows]


def load(root: Path) -> Splits:
    """Return the upstream splits."""
    notes = Notes()
    train, dev, test = (read_examples(root / file, notes) for file in FILES)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="neurotrialner",
        type="ner",
        instruction="List the diseases and the drug, surgical, physical and other interventions named in the text.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=64,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="MIT",
    citation="Doneva et al. 2024, NeuroTrialNER, EMNLP, https://aclanthology.org/2024.emnlp-main.1050",
)
