"""PriMock57, mock consultations in primary care: a transcript to the note that the clinician wrote.

What both speakers say is merged by the time when it starts, one line for each turn; marks of the transcriber are left
out. Transcripts have 600 to 2,800 words and are given whole: where that does not fit the context, `data.batch` cuts the
end and counts it. Upstream has no split: consultations are cut 70/10/20 by rule. Some were played from the same case
card, but upstream does not say which.
"""

import re
from itertools import groupby
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import json_document, textgrid
from mpdd.data.readers.base import Notes
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

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
    intervals = [(i, speaker) for speaker in SPEAKERS for i in textgrid.read(root / transcript_file(name, speaker), notes)]
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
    (record,) = json_document.read(path, [(name, json_document.load(path))], {"note": str}, notes)
    document = f"primock57:{name}"
    return Example(document, document, dialogue(root, name, notes), Answer(text=record.text("note")))


def load(root: Path) -> Splits:
    """Return the consultations, cut by the rule in `splits`."""
    notes = Notes()
    train, dev, test = splits.cut([example(root, name, notes) for name in NAMES], (70, 10, 20))
    return splits.make(train, dev, test, notes)


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
