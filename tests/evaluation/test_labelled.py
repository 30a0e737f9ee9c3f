"""Scores by label against scikit-learn's, and errors that add up to what is not right."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from mpdd.data.task import Answer, Entity, Example, Parsed, TaskCard
from mpdd.errors import InputError
from mpdd.evaluation.labelled import evaluated
from mpdd.evaluation.reliability import reliability, reliability_of, reliability_tables
from mpdd.inference.confidence import fit
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


# Reliability: by hand, exact where confidence is honest, and how the report words it.

UNITS = [(0.9, True), (0.9, False), (0.1, False), (0.3, True)]


def test_bins_and_error_by_hand():
    found = reliability(UNITS, {})
    assert [(one["from"], one["count"], one["right"]) for one in found["bins"]] == [(0.0, 1, 0.0), (0.2, 1, 1.0), (0.8, 2, 0.5)]
    assert (found["error"], found["error_raw"]) == pytest.approx((100 * (0.1 + 0.7 + 0.8) / 4,) * 2)
    assert (found["units"], found["dev_units"]) == (4, 0)


def test_honest_confidence_has_no_error_and_a_fitted_scale_makes_it_so():
    honest = [(0.75, n % 4 != 0) for n in range(400)]
    assert reliability(honest, {})["error"] == pytest.approx(0)
    boastful = [(0.99, right) for _, right in honest]
    scale = fit([p for p, _ in boastful], [right for _, right in boastful])
    found = reliability(boastful, {"slope": scale.slope, "shift": scale.shift, "units": 400})
    assert found["error_raw"] == pytest.approx(24) and found["error"] < 2


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
def test_every_unit_is_in_one_bin(known):
    found = reliability(known, {"slope": 0.5, "shift": 0.1, "units": 3})
    assert sum(one["count"] for one in found["bins"]) == len(known)
    assert 0 <= found["error"] <= 100
    assert all(one["from"] <= one["mean"] + 1e-9 for one in found["bins"])


def test_nothing_to_say_without_units():
    row = {"target": "t", "method": "mpdd", "shots": 4, "seed": 0, "value": 1.0}
    assert reliability([], {}) == {}
    assert reliability_of([{"row": row}, {"row": row, "reliability": {}}]) == []
    (found,) = reliability_of([{"row": row, "reliability": {"units": 1}}])
    assert found == {"target": "t", "method": "mpdd", "shots": 4, "seed": 0, "units": 1}


def test_the_best_method_at_its_most_shots_speaks_for_a_target(tmp_path):
    path = tmp_path / "reliability.json"
    assert reliability_tables(path, ["mpdd"]) == []
    record = reliability(UNITS, {"slope": 1.0, "shift": 0.0, "units": 7})
    names = [("lora", "all", 0), ("mpdd", 32, 0), ("mpdd", "all", 1), ("mpdd", "all", 0)]
    path.write_text(json.dumps([{"target": "t", "method": m, "shots": k, "seed": s, **record} for m, k, s in names]))
    (table,) = reliability_tables(path, ["mpdd", "lora"])
    assert table.run.startswith("mpdd, ") and table.run.endswith("seed 0") and "32" not in table.run
    assert table.lines[-1] == ("90\u00a0%", "2", "50\u00a0%")
    assert table.summary == "Confidence is off by 40.0 points on average; before it was scaled on 7 of dev, by 40.0."
    assert reliability_tables(path, ["ia3"]) == []
    path.write_text('[{"target": "t"}]')
    with pytest.raises(InputError, match="not what a run writes"):
        reliability_tables(path, ["mpdd"])
