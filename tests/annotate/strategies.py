"""Annotated notes as Hypothesis makes them: texts with emoji, CRLF and combining marks, items at exact offsets."""

from __future__ import annotations

from hypothesis import strategies as st

from mpdd.annotate.answers.types import AnnotatedNote, Entity, Relation, Span, TaskAnswer
from mpdd.data.task import TaskCard

LABELS = ("Drug", "Side effect", "größe:x")
RELATIONS = ("treats", "may cause")
NER = TaskCard("find", "ner", "Find them.", labels=LABELS, window=100_000)
RE = TaskCard("pairs", "re", "Find pairs.", labels=RELATIONS, window=100_000)
# No word stands in a text twice, so that quoted words tell how offsets are counted.
MARKS = ("", "e\u0301", "💊", "👩🏽‍⚕️", "ß", "ﬁ", "\u200b")
GAPS = (" ", "  ", "\r\n", "\n", "\t", ", ", " 🤒 ", "\u00a0", " (", ") ", "\u2028", "\x0c", " <b> & ", '"')
confidences = st.none() | st.floats(0, 1).map(lambda p: round(p, 4))


@st.composite
def spans(draw, text, places):
    """A run of one to three words of a text."""
    first = draw(st.integers(0, len(places) - 1))
    last = min(len(places) - 1, first + draw(st.integers(0, 2)))
    start, end = places[first][0], places[last][1]
    return Span(start, end, text[start:end])


@st.composite
def notes(draw, name="n1"):
    """A note with an answer for each of two tasks, NER and RE, and one label of the whole."""
    text, places = draw(st.sampled_from(("", "\r\n", " "))), []
    for number in range(draw(st.integers(1, 8))):
        word = f"w{number}{draw(st.sampled_from(MARKS))}q"
        places.append((len(text), len(text) + len(word)))
        text += word + draw(st.sampled_from(GAPS))
    found = {}
    for span in draw(st.lists(spans(text, places), max_size=5)):
        label = draw(st.sampled_from(LABELS))
        found[span.start, span.end, label] = Entity(label, span.start, span.end, span.text, draw(confidences))
    pairs = {}
    for head, tail in draw(st.lists(st.tuples(spans(text, places), spans(text, places)), max_size=3)):
        label = draw(st.sampled_from(RELATIONS))
        pairs[label, head, tail] = Relation(label, head, tail, draw(confidences))
    answers = (
        TaskAnswer(NER.name, "entities", entities=tuple(found.values()), confidence=draw(confidences)),
        TaskAnswer(RE.name, "relations", relations=tuple(pairs.values()), cut_characters=draw(st.integers(0, 3))),
        TaskAnswer("urgency", "answer", answer=draw(st.none() | st.sampled_from(("urgent", "<routine>")))),
    )
    return AnnotatedNote(name, text, answers)


@st.composite
def batches(draw):
    """One to three notes with their own ids."""
    return [draw(notes(name=f"n{number}")) for number in range(1, draw(st.integers(1, 3)) + 1)]


def entities_of(note):
    """What a reader must find again: label and offsets."""
    return {(entity.label, entity.start, entity.end) for entity in note.entities}


def relations_of(note):
    """Label and words of both ends."""
    return {(r.label, " ".join(r.head.text.split()), " ".join(r.tail.text.split())) for r in note.relations}
