"""The rules of the n2c2 2018 script, by hand where it differs from our one-to-one matching."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Entity, Example, Parsed, Relation, TaskCard
from mpdd.evaluation import n2c2
from mpdd.evaluation.metrics import score

LABELS = ("Drug", "Dose")
NER = TaskCard("t", "ner", "Find.", labels=LABELS)


def spans(*places, label="Drug"):
    return Answer(entities=tuple(Entity(start, end, label) for start, end in places))


def pairs(*relations, label="treats"):
    return Answer(relations=tuple(Relation(label, head, tail) for head, tail in relations))


def example(gold, document="d", name="d@0", offset=0, lost=0):
    return Example(name, document, "", gold, offset=offset, lost=lost)


def scores(*sides):
    """The script's values for (gold, predicted) answers, each a document of its own."""
    examples = [example(gold, f"d{i}", f"d{i}@0") for i, (gold, _) in enumerate(sides)]
    return n2c2.scores(examples, [Parsed(predicted) for _, predicted in sides])


def f1(values, mode="lenient", mean="micro"):
    return values[f"n2c2_{mode}_{mean}_f1"]


@pytest.mark.parametrize(
    ("gold", "predicted", "script", "one_to_one"),
    [
        # Two predictions on one gold span. Script: the second is left out, 1 of 1 and 1 of 1. Ours: it is wrong, 2*1/(2+1).
        ([(0, 10)], [(0, 4), (5, 10)], 100, 200 / 3),
        # One prediction on two gold spans: 1 matched, 1 predicted, 2 gold for both.
        ([(0, 4), (5, 10)], [(0, 10)], 200 / 3, 200 / 3),
        # The first prediction uses up both gold spans, so the second, though exact, is left out: 2*1/(1+2). Ours: 2 of 2.
        ([(0, 4), (5, 10)], [(0, 10), (5, 10)], 200 / 3, 100),
        # (3, 5) is left out and still uses up (4, 8), so (6, 8) is left out, too: 2*1/(1+2). Ours: 2 of 3, 2*2/(3+2).
        ([(0, 4), (4, 8)], [(0, 2), (3, 5), (6, 8)], 200 / 3, 80),
        # Spans that only touch do not overlap.
        ([(0, 4)], [(4, 8)], 0, 0),
    ],
)
def test_lenient_matching_is_not_one_to_one(gold, predicted, script, one_to_one):
    gold, predicted = spans(*gold), spans(*predicted)
    assert f1(scores((gold, predicted))) == pytest.approx(script)
    ours = score(NER, [example(gold)], [Parsed(predicted)]).values
    assert ours["lenient_f1"] == pytest.approx(one_to_one)


def test_types_must_be_the_same():
    assert set(scores((spans((0, 4)), spans((0, 4), label="Dose"))).values()) == {0.0}


def test_micro_pools_and_macro_is_the_mean_over_documents():
    # Documents: right; missed; (0, 4) found with one wrong span, 2*1/(2+1); nothing to find and nothing found, so 0.
    values = scores(
        (spans((0, 4)), spans((0, 4))),
        (spans((0, 4)), spans()),
        (spans((0, 4)), spans((0, 4), (6, 8))),
        (spans(), spans()),
    )
    for mode in ("strict", "lenient"):
        assert f1(values, mode, "micro") == pytest.approx(200 * 2 / (3 + 3))
        assert f1(values, mode, "macro") == pytest.approx((100 + 0 + 200 / 3 + 0) / 4)


def test_gold_in_gives_100():
    answers = [spans((0, 4), (6, 8)), pairs(("0:4", "6:8"), ("6:8", "0:4")), pairs(("D1", "C1"), ("D1", "C2"))]
    assert set(scores(*((gold, gold) for gold in answers)).values()) == {100.0}


def test_gold_in_gives_less_by_lenient_where_gold_spans_of_a_type_overlap():
    gold = spans((0, 11), (5, 11))  # the first uses up both, the second is left out: 1 matched, 1 predicted, 2 gold
    assert f1(scores((gold, gold)), "strict") == 100
    assert f1(scores((gold, gold)), "lenient") == pytest.approx(200 / 3)


SPANS = st.tuples(st.integers(0, 30), st.integers(1, 8), st.sampled_from(LABELS)).map(lambda s: Entity(s[0], s[0] + s[1], s[2]))
ANSWERS = st.lists(SPANS, max_size=12, unique=True).map(lambda found: Answer(entities=tuple(found)))


@settings(deadline=None)
@given(st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=4))
def test_strict_micro_f1_is_ours_and_all_values_are_percentages(sides):
    values = scores(*sides)
    ours = score(NER, [example(gold) for gold, _ in sides], [Parsed(predicted) for _, predicted in sides]).values
    assert f1(values, "strict") == pytest.approx(ours["strict_f1"])
    assert all(0 <= value <= 100 for value in values.values())


def test_windows_of_a_document_are_joined_by_their_offsets():
    examples = [example(spans((0, 4)), name="d@0"), example(spans((0, 4), (8, 9)), name="d@100", offset=100)]
    gold = n2c2.documents(examples, [e.gold for e in examples], [0, 0])
    places = sorted((item.places[0].start, item.places[0].end) for item in gold["d"].items)
    assert places == [(0, 4), (100, 104), (108, 109)]
    swapped = [Parsed(examples[1].gold), Parsed(examples[0].gold)]
    assert f1(n2c2.scores(examples, swapped), mean="macro") == pytest.approx(200 * 2 / (3 + 3))


def test_texts_of_one_document_are_not_mixed_up():
    examples = [example(spans((0, 4)), name="one"), example(spans((5, 8)), name="two")]
    assert set(n2c2.scores(examples, [Parsed(spans((5, 8))), Parsed(spans((0, 4)))]).values()) == {0.0}


def test_documents_of_one_side_are_skipped():
    examples = [example(spans((0, 4)), "a"), example(spans((0, 4)), "b")]
    gold = n2c2.documents(examples, [e.gold for e in examples], [0, 0])
    assert set(n2c2.compare(gold, {"a": gold["a"]}).values()) == {100.0}
    assert set(n2c2.compare(gold, {**gold, "c": gold["a"]}).values()) == {100.0}
    assert set(n2c2.compare(gold, {}).values()) == {0.0}


def test_lost_gold_items_are_missed():
    values = n2c2.scores([example(spans((0, 4)), lost=1)], [Parsed(spans((0, 4)))])
    assert list(values.values()) == pytest.approx([200 / 3] * 4)


@pytest.mark.parametrize(
    ("gold", "predicted", "strict", "lenient"),
    [
        (("0:4", "10:14"), ("0:4", "10:14"), 100, 100),
        (("0:4", "10:14"), ("0:3", "12:20"), 0, 100),  # both arguments overlap
        (("0:4", "10:14"), ("0:3", "15:20"), 0, 0),  # one does not
        (("0:4", "10:14"), ("10:14", "0:4"), 0, 0),  # the other way round
        (("0:4#1", "10:14"), ("0:4#1", "10:14"), 100, 100),
        (("0:4#1", "10:14"), ("2:9", "10:14"), 0, 100),
        (("D1", "C1"), ("D1", "C1"), 100, 100),
        (("D1", "C1"), ("D1", "C2"), 0, 0),  # concepts have no offsets
        (("D1", "10:14"), ("D1", "12:20"), 0, 100),
        (("D1", "10:14"), ("0:4", "10:14"), 0, 0),
    ],
)
def test_relations_match_by_both_arguments(gold, predicted, strict, lenient):
    values = scores((pairs(gold), pairs(predicted)))
    assert (f1(values, "strict"), f1(values, "lenient")) == (strict, lenient)
    assert set(scores((pairs(gold), pairs(predicted, label="causes"))).values()) == {0.0}


def test_a_relation_on_a_used_one_is_left_out():
    gold, predicted = pairs(("0:4", "10:14")), pairs(("0:2", "10:14"), ("3:4", "10:14"))
    values = scores((gold, predicted))  # lenient: 1 matched, 1 predicted (the other is left out), 1 gold
    assert (f1(values, "strict"), f1(values, "lenient")) == (0, 100)


def test_concepts_are_one_for_all_windows_of_a_document():
    examples = [example(pairs(("D1", "C1")), name="d@0"), example(pairs(("D1", "C1")), name="d@50", offset=50)]
    values = n2c2.scores(examples, [Parsed(pairs(("D1", "C1"))), Parsed(Answer())])
    assert set(values.values()) == {100.0}
