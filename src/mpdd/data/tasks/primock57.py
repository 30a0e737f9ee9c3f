"""PriMock57, mock consultations in primary care: a transcript to the note that the clinician wrote.

What both speakers say is merged by the time when it starts, one line for each turn; marks of the transcriber are left
out. Transcripts have 600 to 2,800 words and are given whole: where that does not fit the context, `data.batch` cuts the
end and counts it. Upstream has no split: consultations are cut 70/10/20 by rule. Some were played from the same case
card, but upstream does not say which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import json_files
from mpdd.data.readers.base import Notes, read_text, usable
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard
from mpdd.errors import InputError

DAYS = {1: 15, 2: 10, 3: 10, 4: 10, 5: 12}
NAMES = tuple(f"day{day}_consultation{number:02}" for day, last in DAYS.items() for number in range(1, last + 1))
SPEAKERS = ("Doctor", "Patient")
MARK = re.compile(r"<[^<>]*>")
BEFORE_STOP = re.compile(r" +(?=[.,?!])")


def note_file(name: str) -> str:
    """Return the path of a consultation's note in the store."""
    return f"primock57/notes/{name}.json"


def transcript_file(name: str, speaker: str) -> str:
    """Return the path of what one speaker says in a consultation."""
    return f"primock57/transcripts/{name}_{speaker.lower()}.TextGrid"


def dialogue(root: Path, name: str, notes: Notes) -> str:
    """Return the turns of a consultation, a line each, called by their speaker."""
    intervals = [(i, speaker) for speaker in SPEAKERS for i in read_text_grid(root / transcript_file(name, speaker), notes)]
    stretches = [(speaker, words(interval.text)) for interval, speaker in sorted(intervals)]
    heard = [piece for piece in stretches if piece[1]]
    notes.count("stretches of speech without a clear word", len(stretches) - len(heard))
    turns = groupby(heard, key=lambda piece: piece[0])
    return "\n".join(f"{speaker}: {' '.join(text for _, text in pieces)}" for speaker, pieces in turns)


def words(text: str) -> str:
    """Return what is stretches on one line and without marks, or nothing where no letter or digit is left."""
    plain = BEFORE_STOP.sub("", " ".join(MARK.sub(" ", text).split()))
    return plain if any(map(str.isalnum, plain)) else ""


def example(root: Path, name: str, notes: Notes) -> Example:
    """Return one consultation, which is its own document."""
    path = root / note_file(name)
    (record,) = json_files.read_entries(path, [(name, json_files.load(path))], {"note": str}, notes)
    document = f"primock57:{name}"
    return Example(document, document, dialogue(root, name, notes), Answer(text=record.text("note")))


def load(root: Path) -> Splits:
    """Return the consultations, cut by the rule in `splits`."""
    notes = Notes()
    train, dev, test = splits.cut([example(root, name, notes) for name in NAMES], (70, 10, 20))
    return splits.make(train, dev, test, notes)


_TITLE = re.compile(r'\s*File type\s*=\s*"ooTextFile"\s+Object class\s*=\s*"TextGrid"')
_STATED = re.compile(r"^\s*intervals:\s*size\s*=\s*(\d+)", re.MULTILINE)
_HEAD = re.compile(r"^[ \t]*intervals\s*\[\d+\]:?", re.MULTILINE)
_NUMBER = r"(\d+(?:\.\d+)?(?:e-?\d+)?)"
_BODY = re.compile(rf'\s*xmin = {_NUMBER}\s+xmax = {_NUMBER}\s+text = "((?:[^"]|"")*)"[ \t]*\r?$', re.MULTILINE)


@dataclass(frozen=True, order=True)
class Interval:
    """What is said from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


def read_text_grid(path: Path, notes: Notes) -> list[Interval]:
    """Return the intervals of all tiers that are not silent, in the file's order.

    Intervals that are broken or missing are noted as bad. Raise `InputError` if the file is no TextGrid in the long
    text form, or has no usable interval.
    """
    text = read_text(path)
    if not _TITLE.match(text):
        raise InputError(f"The file {path} is not a TextGrid", wanted='"ooTextFile" and "TextGrid" in its first lines')
    heads = list(_HEAD.finditer(text))
    missing = sum(map(int, _STATED.findall(text))) - len(heads)
    if missing > 0:
        notes.bad(str(path), "fewer intervals than it states (cut short?)", wanted=f"{missing} more")
    intervals = []
    for head in heads:
        body = _BODY.match(text, head.end())
        if body is None or float(body[1]) >= float(body[2]):
            line = text.count("\n", 0, head.start()) + 1
            notes.bad(f"{path} line {line}", "interval without its times or text", wanted="xmin < xmax and a quoted text")
        elif body[3].strip():
            intervals.append(Interval(float(body[1]), float(body[2]), body[3].replace('""', '"')))
    return usable(path, intervals)


TASK = Task(
    card=TaskCard(
        name="primock57",
        type="summarization",
        instruction="Write the clinician's note of the consultation.",
        text_field="Dialogue",
        max_answer_tokens=512,
    ),
    role="source",
    files=(*map(note_file, NAMES), *(transcript_file(name, speaker) for name in NAMES for speaker in SPEAKERS)),
    load=load,
    licence="CC BY 4.0",
    citation="Papadopoulos Korfiatis et al. 2022, PriMock57, ACL, arXiv:2204.00333",
)
