"""Small invented data of each type of task, and cards for it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from mpdd.data.cards import card_file
from tests.data import refusals
from tests.data.refusals import SECRET

CARDS: dict[str, dict[str, Any]] = {
    "ner": {"type": "ner", "labels": ["Tumour", "Treatment"]},
    "re": {"type": "re", "labels": ["treats", "causes"]},
    "choice": {"type": "qa"},
    "fixed": {"type": "qa", "labels": ["yes", "no"], "fields": ["Question"]},
    "extractive": {"type": "qa", "form": "extractive", "fields": ["Question"]},
    "free": {"type": "qa", "form": "free", "fields": ["Question"]},
    "nli": {"type": "nli", "labels": ["entailment", "neutral"], "fields": ["Hypothesis"]},
    "summary": {"type": "summarization"},
    "single": {"type": "classification", "labels": ["benign", "malignant"]},
    "multiple": {"type": "classification", "form": "multiple", "labels": ["I10", "E11", "N18"]},
}


def record(kind: str, number: int) -> dict[str, Any]:
    """One record of a type, under our own names for its columns; no two have the same text."""
    text = f"Case {number}: the glioma shrank under temozolomide, {SECRET} {number * 7}."
    start, end = text.index("glioma"), text.index("glioma") + 6
    drug = text.index("temozolomide")
    question = {"Question": f"What shrank in case {number}?"}
    return {
        "ner": {"entities": [{"start": start, "end": end, "label": "Tumour"}, [drug, drug + 12, "Treatment"]]},
        "re": {
            "entities": [{"start": start, "end": end, "id": "a"}, {"start": drug, "end": drug + 12, "id": "b"}],
            "relations": [{"label": "treats", "head": "b", "tail": "a"}],
        },
        "choice": {"choices": ["glioma", "lymphoma", "neither"], "answer": "glioma"},
        "fixed": {**question, "answer": "no"},
        "extractive": {**question, "answer": "glioma"},
        "free": {**question, "answer": "The glioma did."},
        "nli": {"Hypothesis": f"Case {number} got better.", "answer": "entailment"},
        "summary": {"answer": f"Glioma {number} smaller."},
        "single": {"answer": "malignant"},
        "multiple": {"answer": ["N18", "I10"]},
    }[kind] | {"text": text}


def lines(records: list[Any]) -> str:
    """JSON lines."""
    return "".join(json.dumps(one) + "\n" for one in records)


def table(records: list[dict[str, Any]], delimiter: str = ",") -> str:
    """Separated values; lists are JSON in their cells."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]), delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({k: v if isinstance(v, str) else json.dumps(v) for k, v in one.items()} for one in records)
    return stream.getvalue()


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """Write a card of a kind with other values, and the files beside it; give back the card's path."""

    def write(kind: str = "ner", files: dict[str, str | bytes] | None = None, data: dict[str, Any] | None = None, **values: Any):
        for name, content in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        where = {"format": "jsonl", "train": "train.jsonl", **(data or {})}
        card = {"name": "own", "instruction": "Do it.", **CARDS[kind], **values, "data": where}
        path = tmp_path / "own.toml"
        path.write_text(tomli_w.dumps({key: value for key, value in card.items() if value is not None}), encoding="utf-8")
        return path

    return write


def load(path: Path, **options: Any):
    """The splits of a card."""
    return card_file.read(path, **options).load(Path("/nowhere"))


def refusal(path: Path, **options: Any) -> str:
    """The one sentence with which a card or its data is refused; it carries no note text."""
    return refusals.refusal(load, path, **options)
