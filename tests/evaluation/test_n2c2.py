"""The rules of the n2c2 2018 script, by hand where it differs from our one-to-one matching, and what a run records of them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Entity, Example, Parsed, Relation, Splits, Task, TaskCard
from mpdd.data.tasks import maccrobat_ner
from mpdd.errors import InputError
from mpdd.evaluation import n2c2
from mpdd.evaluation.compare import Pair, bootstrap_interval, holm, mean_difference, paired_difference
from mpdd.evaluation.differences import difference_tables
from mpdd.evaluation.joint import MEAN, comparisons, rows_over_seeds
from mpdd.evaluation.metrics import score
from mpdd.evaluation.n2c2 import other_values
from mpdd.evaluation.report.page import write_report
from mpdd.evaluation.results import write_results
from mpdd.evaluation.row import Row
from tests.evaluation.test_compare import accuracy_counts, ratio

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


# Rows over seeds and paired comparisons of a run's cells, and how the report shows them.

DOCUMENTS = [f"d{i // 2}" for i in range(80)]
VALUES = {"headqa": ratio, "pubmedqa": ratio}


def cell(method: str, target: str, seed: int = 0, shots: Any = 32, right: float = 0.5) -> dict[str, Any]:
    rng = np.random.default_rng([len(method), len(target), seed])
    counts = accuracy_counts(rng.random(80) < right)
    interval = bootstrap_interval(counts, DOCUMENTS, ratio, resamples=100)
    row = Row(
        method=method, backbone="b", backbone_parameters=1000, target=target, task_type="qa", shots=shots, seed=seed,
        metric="accuracy", value=interval.value, ci_low=interval.low, ci_high=interval.high, n_examples=80, chance=25.0,
        unparseable=float(seed), trainable_parameters=10, trainable_fraction=0.01, stored_bytes=100, train_examples_seen=5,
        train_seconds=1.0, tuning_trials=3,
    )  # fmt: skip
    return {"row": asdict(row), "documents": DOCUMENTS, "counts": counts.tolist()}


def counts(*cells: dict[str, Any]) -> list[Any]:
    return [np.asarray(found["counts"], dtype=np.float64) for found in cells]


def test_several_seeds_give_one_row_with_the_interval_over_both() -> None:
    cells = [cell("mpdd", "headqa", seed) for seed in (2, 0, 1)]
    (row,) = rows_over_seeds([*cells, cell("mpdd", "pubmedqa")], VALUES)
    wanted = bootstrap_interval(counts(cells[1], cells[2], cells[0]), DOCUMENTS, ratio)
    assert (row.seed, row.target, row.unparseable) == ("all", "headqa", 1.0)
    assert (row.value, row.ci_low, row.ci_high) == (wanted.value, wanted.low, wanted.high)
    assert row.value == pytest.approx(np.mean([found["row"]["value"] for found in cells]))


def test_each_comparison_is_the_paired_one_and_holm_counts_the_targets() -> None:
    ours = {target: cell("mpdd", target, right=0.9) for target in VALUES}
    theirs = {target: cell("lora", target) for target in VALUES}
    found = {item["target"]: item for item in comparisons([*ours.values(), *theirs.values()], VALUES)}
    each = [paired_difference(counts(ours[t]), counts(theirs[t]), DOCUMENTS, ratio) for t in VALUES]
    for target, wanted, adjusted in zip(VALUES, each, holm([one.p for one in each]), strict=True):
        item = found[target]
        assert (item["method"], item["against"], item["shots"]) == ("mpdd", "lora", 32)
        assert item["value"] == pytest.approx(wanted.value, abs=1e-4)
        assert (item["p"], item["p_holm"]) == (pytest.approx(wanted.p, abs=1e-4), pytest.approx(adjusted, abs=1e-4))
    assert found[MEAN]["value"] == pytest.approx(np.mean([one.value for one in each]), abs=1e-3)
    assert found[MEAN]["low"] > 0 and found[MEAN]["p"] < 0.01


def test_a_method_without_training_stands_against_every_number_of_shots_and_every_seed() -> None:
    cells = [cell("mpdd", "headqa", seed, shots) for seed in (0, 1) for shots in (4, "all")]
    found = comparisons([*cells, cell("zero-shot", "headqa", 0, 0)], VALUES)
    assert {(item["against"], item["shots"]) for item in found} == {("zero-shot", 4), ("zero-shot", "all")}


def test_the_mean_over_one_target_is_that_target() -> None:
    a, b = counts(cell("mpdd", "headqa")), counts(cell("lora", "headqa"))
    assert mean_difference([Pair(a, b, DOCUMENTS, ratio)]) == paired_difference(a, b, DOCUMENTS, ratio)
    with pytest.raises(InputError, match="No target"):
        mean_difference([])


def test_a_system_does_not_differ_from_itself() -> None:
    same = counts(cell("mpdd", "headqa"))
    found = mean_difference([Pair(same, same, DOCUMENTS, ratio)] * 2)
    assert (found.value, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_the_mean_is_covered_about_95_times_in_100() -> None:
    rng, held = np.random.default_rng(3), 0
    for trial in range(200):
        pairs = [
            Pair(accuracy_counts(rng.random(60) < 0.7), accuracy_counts(rng.random(60) < 0.6), range(60), ratio) for _ in range(3)
        ]
        found = mean_difference(pairs, resamples=300, seed=trial)
        held += found.low <= 10 <= found.high
    assert 0.9 <= held / 200 <= 0.985


def test_the_report_shows_differences_with_their_signs(tmp_path: Path) -> None:
    cells = [cell(method, target, right=right) for method, right in (("mpdd", 0.9), ("lora", 0.5)) for target in VALUES]
    write_results(tmp_path / "results.json", [Row.from_dict(found["row"]) for found in cells])
    (tmp_path / "comparisons.json").write_text(json.dumps(comparisons(cells, VALUES)))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    (table,) = difference_tables(tmp_path / "comparisons.json")
    assert table.lines[0][0] == "lora" and table.targets == tuple(VALUES)
    mean = table.lines[0][2]
    assert mean is not None and mean.clear and f"<strong>+{mean.value:.1f}</strong>" in page
    assert "p &lt; 0.001" in page or "p 0.0" in page


def test_a_damaged_record_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "comparisons.json").write_text('[{"shots": 4}]')
    with pytest.raises(InputError, match="comparisons.json is not what a run writes"):
        difference_tables(tmp_path / "comparisons.json")
    assert difference_tables(tmp_path / "none.json") == []


# What a run records beside the metrics of a task.


N2C2 = {f"n2c2_{mode}_{mean}_f1" for mode in ("strict", "lenient") for mean in ("micro", "macro")}


def task(kind, form=""):
    card = TaskCard("t", kind, "Do it.", labels=() if form == "free" else ("Date", "Time"), form=form)
    return Task(card, "target", (), lambda root: Splits((), (), ()), "", "")


def answer_of(*items):
    return Answer(entities=tuple(Entity(*item) for item in items))


@pytest.mark.parametrize(
    ("kind", "form", "names"),
    [("ner", "", N2C2), ("re", "", N2C2), ("qa", "free", set()), ("nli", "", set()), ("classification", "multiple", set())],
)
def test_entities_and_relations_have_the_values_of_n2c2(kind, form, names):
    assert set(other_values(task(kind, form), [Example("e", "d", "", Answer())], [Parsed(Answer())])) == names


def test_maccrobat_is_scored_by_its_groups_too():
    gold = answer_of((0, 4, "Date"), (5, 9, "Duration"), (10, 15, "Medication"))
    answer = answer_of((0, 4, "Duration"), (5, 9, "Duration"), (12, 15, "Dosage"))
    found = other_values(maccrobat_ner.TASK, [Example("e", "d", "", gold)], [Parsed(answer)])
    # Date and Duration are of the group Time, Medication and Dosage of Treatment: 2 of 3 strictly, all leniently.
    assert found["coarse_strict_f1"] == pytest.approx(200 / 3)
    assert found["coarse_lenient_f1"] == 100
    assert found["n2c2_strict_micro_f1"] == pytest.approx(100 / 3)
    assert set(found) == N2C2 | {"coarse_strict_f1", "coarse_lenient_f1"}


def test_spans_that_fall_into_one_group_count_once():
    made = replace(task("ner"), coarse=maccrobat_ner.coarse)
    both = answer_of((0, 4, "Date"), (0, 4, "Time"))
    found = other_values(made, [Example("e", "d", "", both)], [Parsed(answer_of((0, 4, "Date")))])
    assert found["coarse_strict_f1"] == 100
    assert found["n2c2_strict_micro_f1"] == pytest.approx(200 / 3)


def test_coarse_labels_are_the_groups_of_the_card():
    assert {maccrobat_ner.COARSE[label] for label in maccrobat_ner.TASK.card.labels} == set(maccrobat_ner.GROUPS)
