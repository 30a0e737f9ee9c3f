"""Names of columns and keys: which other names stand for ours, and which names a message may show."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence

from mpdd.data.cards.layout import Column, has_options, optional, required
from mpdd.data.task import TaskCard

OTHER_NAMES = {
    "text": "note report sentence1 premise context passage abstract dialogue findings content body input document question",
    "id": "noteid recordid rowid uid qid pairid idx index",
    "document": "documentid docid patientid patient subjectid hadmid pmid",
    "entities": "spans mentions annotations ner labels label",
    "relations": "triples pairs",
    "answer": "label labels goldlabel class category codes choice answeridx answerindex cop correct summary target output",
    "choices": "options candidates",
    "answer_start": "start offset",
    "question": "query",
    "hypothesis": "sentence2 statement claim",
}
_OPTION = re.compile(r"(?:op|opt|option|choice|ending|answer)?[ _]?([a-z]|\d)", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_$@][\w.$@/-]{0,39}")
_MOST_SHOWN = 20


def proposed(card: TaskCard, there: Sequence[str], named: Collection[str] = ()) -> dict[str, Column]:
    """Return the columns of a file that look like those a task asks for, by our names, but for the `named` ones.

    Each is proposed once.
    """
    columns: dict[str, Column] = {}
    free = {_plain(name): name for name in reversed(there)}
    for ours in (name for name in (*required(card), *optional(card)) if name not in named):
        asked = ["question"] if ours == "text" and has_options(card) and not card.fields else []
        names = (_plain(ours), *asked, *OTHER_NAMES.get(ours.lower(), "").split())
        match = next((name for name in names if name in free), None)
        if match is not None:
            columns[ours] = free.pop(match)
    if has_options(card) and "choices" not in (*columns, *named):
        lettered = tuple(name for name in there if _OPTION.fullmatch(name) and name not in columns.values())
        columns |= {"choices": lettered} if len(lettered) > 1 else {}
    return columns


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def names_seen(there: Iterable[object], wanted: Sequence[str]) -> str:
    """Return the words, for a message, that say which names are there, and which of them are near to `wanted`.

    They are named if all look like names, else only counted: the first line of a table without names is a note.
    """
    names = sorted({str(name) for name in there})
    likely = [name for name in names if _NAME.fullmatch(name)]
    near = dict.fromkeys(match for name in wanted for match in difflib.get_close_matches(name, likely, n=1, cutoff=0.7))
    seen = ", ".join(names) if len(likely) == len(names) <= _MOST_SHOWN else f"{len(names)} others"
    return f"{seen or 'none'}, perhaps {' or '.join(near)}" if near else seen or "none"
