"""Reads MIRAGE's benchmark.json: parts of lettered multiple-choice questions (Xiong et al., Findings of ACL 2024)."""

from __future__ import annotations

from pathlib import Path

from mpdd.data.readers import json_files
from mpdd.data.readers.base import Notes, Record, build, tidy
from mpdd.data.task import Answer, Example

_FIELDS = {"question": str, "options": dict, "answer": str}


def read(path: Path, part: str, notes: Notes) -> list[Example]:
    """Return the questions of one part, each a document of its own called `mirage-<part>:<key>`.

    Raise `InputError` if the file is not JSON or has no such part; bad questions are noted.
    """
    entries = json_files.part(path, json_files.load(path), part).items()
    records = json_files.read_entries(path, entries, _FIELDS, notes)
    return build(records, lambda record: _example(record, f"mirage-{part}:{record['key']}"), notes)


def _example(record: Record, name: str) -> Example:
    options = record["options"]
    return Example(
        id=name,
        document=name,
        text=record.text("question"),
        choices=tuple(tidy(text) for text in options.values()),
        gold=Answer(choice=list(options).index(record["answer"])),
    )
