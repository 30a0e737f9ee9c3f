"""The report of annotation: counts, means and shares that were counted by hand, and the order of doubt."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from mpdd.annotate.answers.review import LabelCount, certainty, least_certain_first, review
from mpdd.annotate.answers.types import Entity, Relation, Span, TaskAnswer

SECRET = "Quimby"


def entity(label, confidence):
    return Entity(label, 0, len(SECRET), SECRET, confidence)


def ner(*items, **more):
    known = [item.confidence for item in items if item.confidence is not None]
    return TaskAnswer("find", "entities", entities=items, confidence=min(known, default=None), **more)


PAIR = Relation("treats", Span(0, 6, SECRET), Span(0, 6, SECRET), 0.6)
ANSWERS = [
    ("a", ner(entity("Drug", 0.9), entity("Drug", 0.5), entity("Sign", None))),
    ("b", ner(entity("Drug", 0.7), ungrounded=2)),
    ("c", ner(unparseable=True, cut_characters=5)),
    ("d", ner()),
    ("a", TaskAnswer("pairs", "relations", relations=(PAIR,), confidence=0.6)),
    ("b", TaskAnswer("kinds", "labels", labels=("x", "y"), confidence=0.2)),
    ("a", TaskAnswer("rqe", "answer", answer="yes", confidence=0.8)),
    ("b", TaskAnswer("free", "answer", answer=f"It was {SECRET}.", confidence=0.3)),
    ("a", TaskAnswer("say", "summary", answer=SECRET)),
]


def test_labels_confidences_and_shares_are_counted():
    report = review(ANSWERS, classes={"rqe": ("yes", "no")})
    assert (report.notes, report.answers) == (4, 9)
    by_task = {task.task: task for task in report.tasks}
    find = by_task["find"]
    assert find.labels == {"Drug": LabelCount(3, 2, 0.7), "Sign": LabelCount(1, 1, None)}
    assert (find.answers, find.without, find.unparseable, find.ungrounded, find.cut, find.confidence) == (4, 2, 1, 1, 1, 0.6)
    assert by_task["pairs"].labels == {"treats": LabelCount(1, 1, 0.6)}
    assert by_task["kinds"].labels == {"x": LabelCount(1, 1, 0.2), "y": LabelCount(1, 1, 0.2)}
    assert by_task["rqe"].labels == {"yes": LabelCount(1, 1, 0.8)}
    values = report.to_dict()["tasks"][0]
    assert (values["unparseable_share"], values["ungrounded_share"], values["cut_share"]) == (0.25, 0.25, 0.25)


def test_notes_that_could_not_be_read_come_first_and_unknown_ones_are_left_out():
    found = [(doubt.id, doubt.task, doubt.confidence) for doubt in review(ANSWERS).least_certain]
    assert found == [("c", "find", 0.0), ("b", "kinds", 0.2), ("a", "find", 0.5)]
    assert [doubt.id for doubt in review(ANSWERS, first=1).least_certain] == ["c"]


def test_text_is_only_in_a_report_that_was_asked_for_it():
    assert SECRET not in json.dumps(review(ANSWERS).to_dict())
    shown = review(ANSWERS, show_text=True)
    assert [doubt.text for doubt in shown.least_certain] == ["", "x; y", SECRET]
    assert {task.task: task for task in shown.tasks}["free"].labels == {f"It was {SECRET}.": LabelCount(1, 1, 0.3)}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.floats(0, 1), st.booleans())))
def test_the_order_keeps_notes_together_and_loses_nothing(items):
    ordered = least_certain_first(items, lambda item: item[0], lambda item: certainty(*item[1:]))
    assert sorted(map(repr, ordered)) == sorted(map(repr, items))
    names = [name for name, _, _ in ordered]
    groups = list(dict.fromkeys(names))
    assert names == sorted(names, key=groups.index)  # a note's answers stand together
    least = [min(certainty(c, u) for name, c, u in items if name == group) for group in groups]
    assert least == sorted(least)
    for group in groups:
        assert [item for item in ordered if item[0] == group] == [item for item in items if item[0] == group]
