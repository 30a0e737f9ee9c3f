"""A note as HTML with its entities highlighted, its relations and its other answers listed; everything is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from html import escape

from mpdd.annotate.answers.marks import ARGUMENT, Link, Mark, marked
from mpdd.annotate.answers.types import AnnotatedNote, TaskAnswer

STYLE = (
    ".mpdd-note{white-space:pre-wrap;line-height:2;font-family:system-ui,sans-serif}"
    ".mpdd-note mark{padding:.15em .2em;border-radius:.3em;color:inherit}"
    ".mpdd-note small{margin-left:.3em;font-size:.7em;font-weight:700;vertical-align:middle}"
    ".mpdd-answers{font-family:system-ui,sans-serif;margin:.3em 0 1em}"
)
DOUBTFUL = 0.5  # below this confidence an entity is pale


def note_as_html(note: AnnotatedNote) -> str:
    """A piece of HTML that stands by itself: style, the note's text, and what cannot be marked in it."""
    items = marked(note)
    body = "".join(_text(note.text, items.marks))
    return f'<style>{STYLE}</style><div class="mpdd-note">{body}</div>{_list(_lines(note, items.links))}'


def page(notes: Iterable[AnnotatedNote], title: str) -> str:
    """One HTML page with all notes."""
    sections = "".join(f"<section><h2>{escape(note.id)}</h2>{note_as_html(note)}</section>\n" for note in notes)
    head = f'<meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>{escape(title)}</title>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>\n{sections}</body></html>\n'


def _text(text: str, marks: Sequence[Mark]) -> Iterator[str]:
    """The text in pieces, cut where any mark starts or ends; a mark's label stands behind its last piece."""
    edges = sorted({0, len(text), *(edge for mark in marks for edge in (mark.span.start, mark.span.end))})
    for start, end in zip(edges, edges[1:], strict=False):
        over = [mark for mark in marks if mark.span.start <= start and end <= mark.span.end]
        piece = escape(text[start:end])
        if not over:
            yield piece
            continue
        labels = "".join(f"<small>{escape(mark.label)}</small>" for mark in over if mark.span.end == end)
        title = "; ".join(map(_title, over))
        yield f'<mark style="background:{_colour(over[-1])}" title="{escape(title)}">{piece}{labels}</mark>'


def _title(mark: Mark) -> str:
    return mark.label if mark.confidence is None else f"{mark.label}, confidence {mark.confidence:.2f}"


def _colour(mark: Mark) -> str:
    """The same colour for the same label everywhere; pale where the confidence is low."""
    hue = int.from_bytes(sha256(mark.label.encode("utf-8", "surrogatepass")).digest()[:2], "big") % 360
    is_pale = mark.label == ARGUMENT or (mark.confidence is not None and mark.confidence < DOUBTFUL)
    return f"hsl({hue} 80% 50% / {0.15 if is_pale else 0.4})"


def _lines(note: AnnotatedNote, links: Sequence[Link]) -> Iterator[str]:
    for link in links:
        yield f"{_short(link.head.span.text)} <b>{escape(link.label)}</b> {_short(link.tail.span.text)}{_sure(link.confidence)}"
    for answer in note.answers:
        if answer.kind not in ("entities", "relations"):
            yield f"<b>{escape(answer.task)}</b>: {_words(answer)}{_sure(answer.confidence)}"
        if answer.cut_characters:
            yield f"<b>{escape(answer.task)}</b>: {answer.cut_characters} characters at the end were not read"


def _words(answer: TaskAnswer) -> str:
    return escape("; ".join(answer.labels) if answer.kind == "labels" else answer.answer or "") or "<i>none</i>"


def _short(text: str) -> str:
    return escape(" ".join(text.split()))


def _sure(confidence: float | None) -> str:
    return "" if confidence is None else f" <small>{confidence:.2f}</small>"


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f'<ul class="mpdd-answers">{items}</ul>' if items else ""
