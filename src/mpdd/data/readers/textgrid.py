"""Reads Praat TextGrids in the long text form: stretches of time and what is said in them.

Format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html; a quote inside a text is doubled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mpdd.data.readers.base import Notes, read_text, usable
from mpdd.errors import InputError

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


def read(path: Path, notes: Notes) -> list[Interval]:
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
