"""PHEE, pharmacovigilance events in sentences of case reports: which treatment has which effect.

An event's Treatment and Effect become one relation, labelled by the event's type; an event without an effect gives
none. Negated and speculated events count like others. A discontinuous span is named by its fragments joined.
"""

from itertools import product
from pathlib import Path
from typing import Any

from mpdd.data import splits
from mpdd.data.arguments import Span, wording_example
from mpdd.data.readers import json_files
from mpdd.data.readers.base import Notes, Record, build
from mpdd.data.task import Example, Splits, Task, TaskCard

FILES = tuple(f"phee/data/json/{part}.json" for part in ("train", "dev", "test"))
FIELDS = {"id": str, "context": str, "annotations": list}
LABELS = {"Adverse_event": "adverse effect", "Potential_therapeutic_event": "potential therapeutic effect"}


def spans(argument: dict[str, Any], text: str, notes: Notes) -> list[Span]:
    """Return an argument's spans as (start, end, form); raise ValueError if text and offsets disagree."""
    argument_spans = []
    for fragments, starts in zip(argument["text"], argument["start"], strict=True):
        pieces = sorted((s, s + len(piece)) for piece, s in zip(fragments, starts, strict=True))
        if sorted(fragments) != sorted(text[start:end] for start, end in pieces):
            raise ValueError("offsets")
        form = " ".join(text[start:end] for start, end in pieces)
        notes.count("discontinuous arguments", int(len(pieces) > 1))
        argument_spans.append((pieces[0][0], max(end for _, end in pieces), form))
    return argument_spans


def example(record: Record, notes: Notes) -> Example:
    """Return one sentence; spans with the same wording are one argument, whose key is the first one's place."""
    text = record["context"]
    pairs: list[tuple[str, Span, Span]] = []
    for event in (event for annotation in record["annotations"] for event in annotation["events"]):
        sides = [spans(event[side], text, notes) if side in event else [] for side in ("Treatment", "Effect")]
        notes.count("events without a treatment or an effect", int(not all(sides)))
        pairs += [(LABELS[event["event_type"]], head, tail) for head, tail in product(*sides)]
    name = f"pmid:{record['id']}"
    return wording_example(name, name.split("_")[0], text, pairs, notes)


def load(root: Path) -> Splits:
    """Return the upstream splits; the document is the case report's PMID."""
    notes = Notes()
    rows = (json_files.read_jsonl(root / file, FIELDS, notes) for file in FILES)
    train, dev, test = (build(records, lambda record: example(record, notes), notes) for records in rows)
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="phee",
        type="re",
        instruction="List which treatment has which adverse or potential therapeutic effect.",
        labels=tuple(LABELS.values()),
        max_answer_tokens=64,
    ),
    role="target",
    files=FILES,
    load=load,
    licence="MIT",
    citation="Sun et al. 2022, PHEE, EMNLP, arXiv:2210.12560",
)
