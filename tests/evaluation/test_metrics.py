"""Scores against independent implementations, gold in gives 100, and every count is a sum over examples."""

import re
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator
from rouge_score.rouge_scorer import RougeScorer
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from sklearn.metrics import accuracy_score, f1_score

from mpdd.data.task import Answer, Entity, Example, Parsed, Relation, TaskCard
from mpdd.errors import InputError
from mpdd.evaluation.metrics import chance, metrics_for, score
from tests.conftest import tries

LABELS = ("Drug", "Disease", "Gene")
NER = TaskCard("t", "ner", "Find.", labels=LABELS)
RE = TaskCard("t", "re", "Find.", labels=LABELS)
NLI = TaskCard("t", "nli", "Compare.", labels=("entailment", "neutral", "contradiction"))
QA = TaskCard("t", "qa", "Answer.", labels=("yes", "no", "maybe"))
SUMMARY = TaskCard("t", "summarization", "Summarise.")
EXTRACT = TaskCard("t", "qa", "Answer.", form="extractive")
FREE = TaskCard("t", "qa", "Answer.", form="free")
CLASS = TaskCard("t", "classification", "Classify.", labels=NLI.labels)
CODES = TaskCard("t", "classification", "Code.", labels=("I10", "E11", "J45", "N18"), form="multiple")
UNREAD = Parsed(Answer(), unparseable=True)


def example(lost=0, choices=(), document="d", **gold):
    return Example("e", document, "", Answer(**gold), choices=choices, lost=lost)


def values(card, pairs, field, lost=0):
    """Score (gold, predicted) pairs of one field of an answer."""
    examples = [example(lost=lost, **{field: gold}) for gold, _ in pairs]
    return score(card, examples, [Parsed(Answer(**{field: answer})) for _, answer in pairs]).values


def entities(*spans):
    return tuple(Entity(*span) for span in spans)


GOLD = {
    "ner": (NER, example(entities=entities((0, 4, "Drug"), (0, 4, "Gene"), (2, 3, "Drug")))),
    "re": (RE, example(relations=(Relation("Drug", "a", "b"), Relation("Drug", "b", "a")))),
    "qa": (QA, example(choice=2)),
    "qa with options": (QA, example(choice=3, choices=("a", "b", "c", "d"))),
    "extractive qa": (EXTRACT, Example("e", "d", "Fever of 39 C.", Answer(text="39 C"))),
    "free qa": (FREE, Example("e", "d", "Fever of 39 C.", Answer(text="It is high."))),
    "summarization": (SUMMARY, Example("e", "d", "Long.", Answer(text="No acute disease today."))),
}


@pytest.mark.parametrize("kind", GOLD)
def test_gold_in_gives_100(kind):
    card, gold = GOLD[kind]
    scored = score(card, [gold] * 3, [Parsed(gold.gold)] * 3)
    assert scored.values == {metric.name: pytest.approx(100) for metric in metrics_for(card)}
    assert (scored.unparseable, scored.ungrounded, scored.n_examples) == (0, 0, 3)


@pytest.mark.parametrize("card", [NLI, CLASS])
def test_gold_in_gives_100_for_choices_with_every_label(card):
    examples = [example(choice=choice) for choice in (0, 1, 2)]
    assert score(card, examples, [Parsed(e.gold) for e in examples]).values == {"macro_f1": 100, "accuracy": 100}


def test_gold_in_gives_100_for_multiple_labels_with_every_label():
    examples = [example(labels=labels) for labels in ((0, 2), (), (1, 3))]
    scored = score(CODES, examples, [Parsed(e.gold) for e in examples])
    assert scored.values == {"micro_f1": 100, "macro_f1": 100, "exact_match": 100}


@pytest.mark.parametrize(
    ("card", "names"),
    [
        (NER, ["strict_f1", "lenient_f1", "strict_precision", "strict_recall"]),
        (RE, ["strict_f1", "strict_precision", "strict_recall"]),
        (QA, ["accuracy"]),
        (EXTRACT, ["token_f1", "exact_match"]),
        (FREE, ["token_f1", "exact_match"]),
        (NLI, ["macro_f1", "accuracy"]),
        (CLASS, ["macro_f1", "accuracy"]),
        (CODES, ["micro_f1", "macro_f1", "exact_match"]),
        (SUMMARY, ["rougeL", "rouge1", "rouge2"]),
    ],
)
def test_the_headline_comes_first(card, names):
    assert [metric.name for metric in metrics_for(card)] == names


# Entities and relations

SPANS = st.tuples(st.integers(0, 30), st.integers(1, 8), st.sampled_from(LABELS)).map(
    lambda span: Entity(span[0], span[0] + span[1], span[2])
)
ANSWERS = st.lists(SPANS, max_size=12, unique=True).map(tuple)


def flat(spans):
    """Keep spans that overlap no earlier one."""
    kept = []
    for span in sorted(spans):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return tuple(kept)


def nervaluated(pairs, strategy):
    """Score with nervaluate, whose ends are inclusive."""
    as_dicts = [
        [[{"label": e.label, "start": e.start, "end": e.end - 1} for e in pair[side]] for pair in pairs] for side in (0, 1)
    ]
    result = Evaluator(*as_dicts, tags=list(LABELS), loader="dict").evaluate()["overall"][strategy]
    return {name: 100 * getattr(result, name) for name in ("f1", "precision", "recall")}


@settings(max_examples=tries(40), deadline=None)
@given(st.lists(st.tuples(ANSWERS.map(flat), ANSWERS.map(flat)), min_size=1, max_size=4))
def test_strict_scores_are_nervaluates_for_flat_spans(pairs):
    # For spans that overlap others of their side the two differ: nervaluate lets a wrong span use up the gold span
    # that it overlaps, before the right span has been seen (pinned below).
    ours, theirs = values(NER, pairs, "entities"), nervaluated(pairs, "strict")
    for name in ("f1", "precision", "recall"):
        assert ours[f"strict_{name}"] == pytest.approx(theirs[name])


def test_strict_differs_from_nervaluate_where_predictions_overlap():
    pairs = [(entities((2, 6, "Drug")), entities((0, 3, "Drug"), (2, 6, "Drug")))]
    assert values(NER, pairs, "entities")["strict_f1"] == pytest.approx(200 / 3)
    assert nervaluated(pairs, "strict")["f1"] == 0


@settings(max_examples=tries(40), deadline=None)
@given(st.lists(st.tuples(SPANS | st.none(), SPANS | st.none()), min_size=1, max_size=8))
def test_lenient_f1_is_nervaluates_ent_type_for_spans_with_one_partner(slots):
    # Each slot of 40 characters holds at most one gold and one predicted span, so no span can choose its partner.
    pair = tuple(
        tuple(Entity(40 * i + e.start, 40 * i + e.end, e.label) for i, e in enumerate(side) if e)
        for side in zip(*slots, strict=True)
    )
    assert values(NER, [pair], "entities")["lenient_f1"] == pytest.approx(nervaluated([pair], "ent_type")["f1"])


def test_lenient_f1_differs_from_nervaluate_where_its_greedy_choice_is_not_the_best():
    # The first prediction is nearer to the first gold span, the only partner of the second prediction.
    pairs = [(entities((0, 10, "Drug"), (10, 30, "Drug")), entities((1, 11, "Drug"), (0, 2, "Drug")))]
    assert values(NER, pairs, "entities")["lenient_f1"] == 100
    assert nervaluated(pairs, "ent_type")["f1"] == 50


@settings(deadline=None)
@given(ANSWERS, ANSWERS)
def test_lenient_matching_is_the_maximum(gold, predicted):
    overlaps = [[g.label == p.label and g.start < p.end and p.start < g.end for p in predicted] for g in gold]
    matched = 0
    if gold and predicted:
        matched = int((maximum_bipartite_matching(csr_array(np.array(overlaps, dtype=int))) >= 0).sum())
    counts = next(m for m in metrics_for(NER) if m.name == "lenient_f1").counts
    found = counts(NER, example(entities=gold), Parsed(Answer(entities=predicted)))
    assert found.tolist() == [matched, len(predicted), len(gold)]


@settings(deadline=None)
@given(st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=4))
def test_strict_is_never_above_lenient(pairs):
    found = values(NER, pairs, "entities")
    assert 0 <= found["strict_f1"] <= found["lenient_f1"] <= 100


def test_lost_items_count_as_missed():
    spans = entities((0, 4, "Drug"))
    found = values(NER, [(spans, spans)], "entities", lost=3)
    assert found["strict_recall"] == 25 and found["strict_precision"] == 100
    assert found["strict_f1"] == found["lenient_f1"] == pytest.approx(40)
    pairs = (Relation("Drug", "a", "b"),)
    assert values(RE, [(pairs, pairs)], "relations", lost=1)["strict_recall"] == 50


@pytest.mark.parametrize(("card", "field"), [(NER, "entities"), (RE, "relations")])
def test_nothing_to_find_and_nothing_found_is_zero(card, field):
    assert set(values(card, [((), ())], field).values()) == {0.0}


def test_relations_are_directed_and_typed():
    gold = (Relation("Drug", "a", "b"), Relation("Gene", "a", "b"))
    predicted = (Relation("Drug", "b", "a"), Relation("Gene", "a", "b"), Relation("Disease", "a", "b"))
    found = values(RE, [(gold, predicted)], "relations")
    assert found == {
        "strict_f1": pytest.approx(40),
        "strict_precision": pytest.approx(100 / 3),
        "strict_recall": pytest.approx(50),
    }


# Choices

CHOICES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2) | st.none()), min_size=1, max_size=20)


@settings(max_examples=tries(40), deadline=None)
@given(CHOICES)
def test_choices_score_as_in_sklearn(pairs):
    gold = [choice for choice, _ in pairs]
    predicted = [-1 if choice is None else choice for _, choice in pairs]
    macro = f1_score(gold, predicted, labels=[0, 1, 2], average="macro", zero_division=0)
    found = values(NLI, pairs, "choice")
    assert found["macro_f1"] == pytest.approx(100 * macro)
    assert found["accuracy"] == values(QA, pairs, "choice")["accuracy"]
    assert found["accuracy"] == pytest.approx(100 * accuracy_score(gold, predicted))
    assert values(CLASS, pairs, "choice") == found


def test_an_unparseable_choice_is_a_miss_and_is_counted():
    scored = score(QA, [example(choice=0)] * 4, [Parsed(Answer(choice=0))] * 3 + [UNREAD])
    assert scored.values["accuracy"] == 75
    assert scored.unparseable == 25


@pytest.mark.parametrize("card", [QA, NLI])
def test_a_gold_choice_must_be_valid(card):
    with pytest.raises(InputError, match="no valid choice"):
        score(card, [example()], [UNREAD])


# Multiple labels

SETS = st.sets(st.integers(0, 3)).map(lambda labels: tuple(sorted(labels)))


def indicators(answers):
    """One row for each answer, one column for each label, as scikit-learn takes them."""
    return np.array([[label in labels for label in range(4)] for labels in answers], dtype=int)


@settings(max_examples=tries(40), deadline=None)
@given(st.lists(st.tuples(SETS, SETS), min_size=1, max_size=20))
def test_multiple_labels_score_as_in_sklearn(pairs):
    gold, predicted = (indicators(side) for side in zip(*pairs, strict=True))
    found = values(CODES, pairs, "labels")
    for average in ("micro", "macro"):
        f1 = f1_score(gold, predicted, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(100 * f1)
    assert found["exact_match"] == pytest.approx(100 * accuracy_score(gold, predicted))


def test_multiple_labels_by_hand():
    pairs = [((0, 1), (0,)), ((), ()), ((2,), (1, 2))]  # 2 of 3 gold labels found, and 1 wrong one: P = R = 2/3
    found = values(CODES, pairs, "labels")
    assert found["micro_f1"] == pytest.approx(200 / 3)
    assert found["macro_f1"] == pytest.approx((100 + 0 + 100 + 0) / 4)  # E11 once missed, once wrong; N18 nowhere
    assert found["exact_match"] == pytest.approx(100 / 3)


def test_unknown_labels_are_counted_among_the_predicted_ones():
    parsed = [Parsed(Answer(labels=(0, 1)), ungrounded=1), Parsed(Answer(), ungrounded=1), UNREAD]
    scored = score(CODES, [example(labels=(0,))] * 3, parsed)
    assert scored.ungrounded == 50
    assert scored.unparseable == pytest.approx(100 / 3)
    assert scored.headline == "micro_f1"
    assert scored.counts.tolist() == [[1, 2, 1], [0, 0, 1], [0, 0, 1]]


def test_no_labels_are_right_only_where_the_output_says_so():
    scored = score(CODES, [example()] * 2, [Parsed(Answer()), UNREAD])
    assert scored.values["exact_match"] == 50


@pytest.mark.parametrize("labels", [(4,), (-1,), (0, 9)])
def test_gold_labels_must_be_valid(labels):
    with pytest.raises(InputError, match="Example e of task t has labels that its card lacks"):
        score(CODES, [example(labels=labels)], [UNREAD])


# Extracted and free answers

PIECES = ["the", "The", "a", "An", "fever", "FEVER", "fevers", "39", "can", "theme", "\u2019s", "ß", "İ", *".,-'(%", " "]
EXTRACTED = st.lists(st.sampled_from(PIECES), max_size=10).map("".join) | st.text(max_size=12)


class SquadTokens:
    """SQuAD's normalisation the long way round, for rouge-score, whose ROUGE-1 is then the F1 of token counts."""

    def tokenize(self, text):
        kept = "".join(char for char in text.lower() if not (char.isascii() and char in string.punctuation))
        parts = re.split(r"(\W+)", kept)  # words at even places, what lies between them at odd ones
        return "".join(" " if part in ("a", "an", "the") else part for part in parts).split()


@settings(deadline=None)
@given(st.lists(st.tuples(EXTRACTED, EXTRACTED), min_size=1, max_size=4))
def test_extracted_answers_score_as_rouge_1_of_squads_tokens(pairs):
    tokens = SquadTokens().tokenize
    scorer = RougeScorer(["rouge1"], tokenizer=SquadTokens())
    found = values(EXTRACT, pairs, "text")
    empty = [not tokens(gold) and not tokens(predicted) for gold, predicted in pairs]  # equal for SQuAD 2, 0 for ROUGE
    f1 = [scorer.score(*pair)["rouge1"].fmeasure + both for pair, both in zip(pairs, empty, strict=True)]
    assert found["token_f1"] == pytest.approx(100 * np.mean(f1))
    assert found["exact_match"] == pytest.approx(100 * np.mean([tokens(a) == tokens(b) for a, b in pairs]))
    assert found["exact_match"] <= found["token_f1"] + 1e-9
    assert values(FREE, pairs, "text") == found


@pytest.mark.parametrize(
    ("gold", "predicted", "exact", "f1"),
    [  # what transformers 4.57's squad_metrics gives, too
        ("The fever.", "a FEVER", 100, 100),
        ("COVID-19", "covid 19", 0, 0),
        ("fever fever chills", "fever", 0, 50),
        ("high fever", "fever of 39", 0, 40),
        ("the", "an", 100, 100),
        ("the", "fever", 0, 0),
        ("39 %", "39", 100, 100),
        ("theme", "the me", 0, 0),
        ("patient\u2019s", "patient's", 0, 0),
    ],
)
def test_extracted_answers_are_normalised_as_in_squad(gold, predicted, exact, f1):
    found = values(EXTRACT, [(gold, predicted)], "text")
    assert found == {"exact_match": exact, "token_f1": pytest.approx(f1)}


def test_an_extracted_answer_outside_the_text_is_scored_and_counted():
    parsed = [Parsed(Answer(text="39 C")), Parsed(Answer(text="39 C"), ungrounded=1), UNREAD]
    scored = score(EXTRACT, [example(text="39 C")] * 3, parsed)
    assert scored.values["exact_match"] == pytest.approx(200 / 3)
    assert scored.headline == "token_f1"
    assert scored.ungrounded == 50
    assert scored.unparseable == pytest.approx(100 / 3)


# Summaries

WORDS = st.lists(st.sampled_from(["the", "lung", "lungs", "is", "clear", "clearing", ".", "no"]), max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS.map(" ".join), WORDS.map(" ".join)), min_size=1, max_size=4))
def test_summaries_score_as_in_rouge_score(pairs):
    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(names, use_stemmer=True)
    found = values(SUMMARY, pairs, "text")
    for name in names:
        mean = np.mean([scorer.score(gold, predicted)[name].fmeasure for gold, predicted in pairs])
        assert found[name] == pytest.approx(100 * mean)


# Scored


def test_counts_are_one_row_for_each_example_and_sum_to_the_headline():
    examples = [example(document=name, choice=choice) for name, choice in zip("aab", (0, 1, 2), strict=True)]
    scored = score(NLI, examples, [Parsed(Answer(choice=0))] * 3)
    assert scored.counts.shape == (3, 9)
    assert scored.documents == ("a", "a", "b")
    assert scored.headline == "macro_f1"
    assert metrics_for(NLI)[0].value(scored.counts.sum(axis=0)) == scored.values["macro_f1"]


def test_ungrounded_is_a_share_of_the_predicted_items():
    parsed = [Parsed(Answer(entities=entities((0, 1, "Drug"))), ungrounded=2), Parsed(Answer(), ungrounded=1), UNREAD]
    scored = score(NER, [example()] * 3, parsed)
    assert scored.ungrounded == 75
    assert scored.unparseable == pytest.approx(100 / 3)


@pytest.mark.parametrize(("n_examples", "n_parsed"), [(0, 0), (2, 1), (1, 2)])
def test_scoring_needs_one_output_for_each_example(n_examples, n_parsed):
    with pytest.raises(InputError, match=f"found {n_parsed} outputs for {n_examples} examples"):
        score(QA, [example(choice=0)] * n_examples, [UNREAD] * n_parsed)


# Chance


@pytest.mark.parametrize("kind", ["ner", "re", "extractive qa", "free qa"])
def test_chance_of_items_is_zero(kind):
    card, gold = GOLD[kind]
    assert chance(card, [gold]) == 0


@settings(max_examples=tries(40), deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=20))
def test_chance_of_labels_is_the_best_constant(gold):
    examples = [example(choice=choice) for choice in gold]
    constant = [f1_score(gold, [label] * len(gold), labels=[0, 1, 2], average="macro", zero_division=0) for label in (0, 1, 2)]
    assert chance(NLI, examples) == chance(CLASS, examples) == pytest.approx(100 * max(constant))
    assert chance(QA, examples) == pytest.approx(100 * max(map(gold.count, gold)) / len(gold))


@settings(max_examples=tries(40), deadline=None)
@given(st.lists(SETS, min_size=1, max_size=20))
def test_chance_of_multiple_labels_is_the_best_of_none_and_the_constants(gold):
    constant = [
        f1_score(indicators(gold), indicators([always] * len(gold)), average="micro", zero_division=0)
        for always in ((), (0,), (1,), (2,), (3,))
    ]
    assert chance(CODES, [example(labels=labels) for labels in gold]) == pytest.approx(100 * max(constant))


def test_chance_of_options_is_a_random_guess():
    examples = [example(choice=0, choices=tuple("abcd")), example(choice=0, choices=tuple("ab"))]
    assert chance(QA, examples) == 37.5


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        ("Lungs are clear. No effusion.", "Lungs are clear."),
        (" Is 2.5 mg\nenough? Yes. ", "Is 2.5 mg\nenough?"),
        ("FINDINGS\n \nClear.", "FINDINGS"),
        ("no full stop", "no full stop"),
    ],
)
def test_chance_of_a_summary_is_its_lead(text, lead):
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    gold = "The lungs are clear, 2.5 findings, no enough stop."
    found = chance(SUMMARY, [Example("e", "d", text, Answer(text=gold))])
    assert found == pytest.approx(100 * scorer.score(gold, lead)["rougeL"].fmeasure)


def test_chance_needs_examples():
    with pytest.raises(InputError, match="no examples"):
        chance(NLI, [])


def test_an_unknown_type_is_an_error():
    with pytest.raises(InputError, match="unknown type"):
        metrics_for(TaskCard("t", "poetry", "Write."))
