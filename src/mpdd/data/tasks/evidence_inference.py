"""Evidence Inference 2.0: what a passage of a trial's report says a treatment did to an outcome, against a comparator.

The premise is the passage that an annotator marked, not the article; a prompt with several passages gives several
examples. Only answers and passages that a second annotator accepted are used, and no prompt with two answers.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import csv_table
from mpdd.data.readers.base import Notes, Record, build, read_lines
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

FOLDER = "evidence_inference/annotations"
FILES = (f"{FOLDER}/prompts_merged.csv", f"{FOLDER}/v2_annotations.csv")
PARTS = tuple(f"{FOLDER}/splits/{part}_article_ids.txt" for part in ("train", "validation", "test"))
FIELDS = ("Intervention", "Comparator", "Outcome")
COLUMNS = ("PromptID", "Valid Label", "Valid Reasoning", "Label Code", "Annotations")
LABELS = {"-1": "significantly decreased", "0": "no significant difference", "1": "significantly increased"}


def accepted(annotations: list[Record], notes: Notes) -> list[Record]:
    """Return the annotations that are valid, of one answer, and new."""
    valid = [record for record in annotations if record["Valid Label"] == "True"]
    notes.count("annotations whose answer was rejected", len(annotations) - len(valid))
    sound = [record for record in valid if record["Valid Reasoning"] == "True"]
    notes.count("annotations whose passage was rejected", len(valid) - len(sound))
    answers = defaultdict(set)
    for record in sound:
        answers[record["PromptID"]].add(record["Label Code"])
    clear = [record for record in sound if len(answers[record["PromptID"]]) == 1]
    notes.count("annotations of prompts with two answers", len(sound) - len(clear))
    return distinct(clear, notes)


def distinct(annotations: Iterable[Record], notes: Notes) -> list[Record]:
    """Return the first annotation of each prompt and passage."""
    first: dict[tuple[str, str], Record] = {}
    for record in annotations:
        earlier = first.setdefault((record["PromptID"], splits.fingerprint(record["Annotations"])), record)
        notes.count("repeated annotations", int(earlier is not record))
    return list(first.values())


def example(record: Record, prompts: dict[str, Record]) -> Example:
    """Return one passage with the prompt's question; the document is the article's PMC id."""
    prompt = prompts[record["PromptID"]]
    passage = record.text("Annotations")
    return Example(
        id=f"evidence-inference:{record['PromptID']}/{splits.fingerprint(passage)}",
        document=f"pmc:{prompt['PMCID']}",
        text=passage,
        fields=tuple((name, prompt.text(name)) for name in FIELDS),
        gold=Answer(choice=list(LABELS).index(record["Label Code"])),
    )


def load(root: Path) -> Splits:
    """Return the upstream splits, which are lists of articles."""
    notes = Notes()
    prompts = {record["PromptID"]: record for record in csv_table.read(root / FILES[0], ("PromptID", "PMCID", *FIELDS), notes)}
    annotations = accepted(csv_table.read(root / FILES[1], COLUMNS, notes), notes)
    examples = build(annotations, lambda record: example(record, prompts), notes)
    articles = [{f"pmc:{line.strip()}" for line in read_lines(root / file)} for file in PARTS]
    train, dev, test = ([e for e in examples if e.document in listed] for listed in articles)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="evidence_inference",
        type="nli",
        instruction="How did the intervention change the outcome, compared with the comparator?",
        labels=tuple(LABELS.values()),
        text_field="Evidence",
        fields=FIELDS,
        max_answer_tokens=8,
    ),
    role="source",
    files=(*FILES, *PARTS),
    load=load,
    licence="MIT",
    citation="DeYoung et al. 2020, Evidence Inference 2.0, BioNLP, arXiv:2005.04177",
)
