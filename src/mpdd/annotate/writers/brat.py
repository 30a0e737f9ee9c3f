"""brat standoff: a folder of `.txt` and `.ann` files, with `annotation.conf` and `visual.conf` for brat itself.

Format: https://brat.nlplab.org/standoff.html. A mention over a line end is written in pieces, one a line, as brat wants it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mpdd.annotate.answers.marks import Link, Mark, Marked, marked
from mpdd.annotate.answers.types import AnnotatedNote, Span
from mpdd.annotate.writers.base import File, Origin, Writer, file_names, without_spaces

_LINE = re.compile(r"[^\r\n]+")


def files(notes: Sequence[AnnotatedNote], origin: Origin) -> Iterator[File]:
    """Yield a text and its annotations for each note, then the configuration."""
    marked_notes = [marked(note) for note in notes]
    entities = without_spaces(mark.label for each in marked_notes for mark in each.marks)
    relations = without_spaces(link.label for each in marked_notes for link in each.links)
    for name, note, each in zip(file_names([note.id for note in notes]), notes, marked_notes, strict=True):
        yield f"{name}.txt", note.text.encode()
        yield f"{name}.ann", "".join(f"{line}\n" for line in _lines(each, entities, relations)).encode()
    yield "annotation.conf", _configuration(entities, relations).encode()
    shown = [f"{name} | {label}\n" for label, name in {**entities, **relations}.items()]
    yield "visual.conf", ("[labels]\n" + "".join(shown) + "[drawing]\n").encode()


def _lines(items: Marked, entities: Mapping[str, str], relations: Mapping[str, str]) -> Iterator[str]:
    for mark in items.marks:
        pieces = _pieces(mark.span)
        places = ";".join(f"{start} {end}" for start, end, _ in pieces)
        words = " ".join(re.sub(r"\s", " ", text) for _, _, text in pieces)
        yield f"{mark.id}\t{entities[mark.label]} {places}\t{words}"
    for link in items.links:
        yield f"{link.id}\t{relations[link.label]} Arg1:{link.head.id} Arg2:{link.tail.id}"
    both: list[Mark | Link] = [*items.marks, *items.links]
    sure = [(item.id, item.confidence) for item in both if item.confidence is not None]
    for number, (key, confidence) in enumerate(sure, start=1):
        yield f"#{number}\tAnnotatorNotes {key}\tconfidence {confidence:.4f}"


def _pieces(span: Span) -> list[tuple[int, int, str]]:
    """The piece of a span on each line, without white space around it; the whole span where there is nothing else."""
    pieces = []
    for match in _LINE.finditer(span.text):
        text = match[0].strip()
        if text:
            start = span.start + match.start() + match[0].index(text)
            pieces.append((start, start + len(text), text))
    return pieces or [(span.start, span.end, span.text)]


def _configuration(entities: Mapping[str, str], relations: Mapping[str, str]) -> str:
    pairs = [f"{name}\tArg1:<ENTITY>, Arg2:<ENTITY>\n" for name in relations.values()]
    listed = "".join(f"{name}\n" for name in entities.values())
    return f"[entities]\n{listed}[relations]\n{''.join(pairs)}[events]\n[attributes]\n"


WRITER = Writer("brat", "", files, "labels of whole notes, answers and summaries")
