"""Scores by label against scikit-learn's, and errors that add up to what is not right."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from mpdd.data.task import Answer, Entity, Example, Parsed, TaskCard
from mpdd.evaluation.labelled import evaluated
from tests.conftest import tries

LABELS = ("a", "b", "c")
CHOICE = TaskCard("choose", "classification", "Choose.", labels=LABELS)
SEVERAL = TaskCard("several", "classification", "Choose.", labels=LABELS, form="multiple")
NER = TaskCard("find", "ner", "Find.", labels=LABELS)
TEXT = "one two three four five six"
WORDS = [(0, 3), (4, 7), (8, 13), (14, 18), (19, 23), (24, 27)]
choices = st.integers(0, 2)
entities = st.sets(st.builds(lambda place, label: Entity(*place, label), st.sampled_from(WORDS), st.sampled_from(LABELS)))


def example(number, gold):
    return Example(f"x:{number}", f"d{number // 2}", TEXT, gold)


def by_sklearn(gold, predicted, average=None):
    return precision_recall_fscore_support(gold, predicted, labels=range(3), zero_division=0, average=average)


@given(pairs=st.lists(st.tuples(choices, choices), min_size=1, max_size=12))
@settings(max_examples=tries(15), deadline=None)
def test_choices_are_scored_as_by_sklearn(pairs):
    examples = [example(number, Answer(choice=gold)) for number, (gold, _) in enumerate(pairs)]
    found = evaluated(CHOICE, examples, [Parsed(Answer(choice=choice)) for _, choice in pairs])
    expected = zip(*by_sklearn(*zip(*pairs, strict=True)), strict=True)
    for label, (precision, recall, f1, gold) in zip(LABELS, expected, strict=True):
        score = found.labels[label]
        values = (score.precision.value, score.recall.value, score.f1.value)
        assert values == pytest.approx((100 * precision, 100 * recall, 100 * f1))
        assert score.gold == gold
    assert len(found.errors) == sum(gold != choice for gold, choice in pairs)


@given(pairs=st.lists(st.tuples(st.sets(choices), st.sets(choices)), min_size=1, max_size=10))
@settings(max_examples=tries(15), deadline=None)
def test_several_labels_are_scored_as_by_sklearn(pairs):
    examples = [example(number, Answer(labels=tuple(sorted(gold)))) for number, (gold, _) in enumerate(pairs)]
    found = evaluated(SEVERAL, examples, [Parsed(Answer(labels=tuple(sorted(labels)))) for _, labels in pairs])
    matrices = ([[int(label in labels) for label in range(3)] for labels in side] for side in zip(*pairs, strict=True))
    expected = zip(*by_sklearn(*matrices), strict=True)
    for label, (precision, recall, f1, _) in zip(LABELS, expected, strict=True):
        score = found.labels[label]
        values = (score.precision.value, score.recall.value, score.f1.value)
        assert values == pytest.approx((100 * precision, 100 * recall, 100 * f1))


@given(pairs=st.lists(st.tuples(entities, entities), min_size=1, max_size=6))
@settings(max_examples=tries(15), deadline=None)
def test_items_and_errors_add_up(pairs):
    examples = [example(number, Answer(entities=tuple(sorted(gold)))) for number, (gold, _) in enumerate(pairs)]
    found = evaluated(NER, examples, [Parsed(Answer(entities=tuple(sorted(items)))) for _, items in pairs])
    right = sum(len(gold & items) for gold, items in pairs)
    assert sum(label.gold for label in found.labels.values()) == sum(len(gold) for gold, _ in pairs)
    assert sum(label.predicted for label in found.labels.values()) == sum(len(items) for _, items in pairs)
    kept = [error for error in found.errors if error["error"] != "spurious"]
    assert len(kept) == sum(len(gold) for gold, _ in pairs) - right
    assert all(error["end"] - error["start"] > 0 and "text" not in error for error in found.errors)
    for score in (
        *found.metrics.values(),
        *(interval for label in found.labels.values() for interval in (label.f1, label.recall)),
    ):
        assert 0 <= score.low <= score.high <= 100


def test_the_text_of_an_error_is_shown_where_asked():
    gold, items = Answer(entities=(Entity(0, 3, "a"),)), Answer(entities=(Entity(4, 7, "b"),))
    hidden = evaluated(NER, [example(0, gold)], [Parsed(items)])
    shown = evaluated(NER, [example(0, gold)], [Parsed(items)], show_text=True)
    assert "two" not in str(hidden.to_dict()) and [error["text"] for error in shown.errors] == ["one", "two"]
