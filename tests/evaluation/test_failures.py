"""Errors counted by kind: by hand, against the metrics, and none where gold goes in; and how the report words them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Entity, Example, Parsed, Relation, TaskCard
from mpdd.errors import InputError
from mpdd.evaluation.failures import ERRORS, at_most_shots, failures, failures_of, instructive_examples
from mpdd.evaluation.metrics import metrics_for, score
from mpdd.evaluation.report.failure_tables import failure_tables
from tests.conftest import tries

LABELS = ("Drug", "Gene")
NER = TaskCard("t", "ner", "Find.", labels=LABELS)
RE = TaskCard("t", "re", "Find.", labels=LABELS)
CODES = TaskCard("t", "classification", "Code.", labels=LABELS, form="multiple")
NLI = TaskCard("t", "nli", "Compare.", labels=("yes", "no", "maybe"))
CLASS = replace(NLI, type="classification", form="single")
FIXED = TaskCard("t", "qa", "Answer.", labels=("yes", "no"))
OPTIONS = TaskCard("t", "qa", "Answer.")
EXTRACT = TaskCard("t", "qa", "Answer.", form="extractive")
FREE = TaskCard("t", "qa", "Answer.", form="free")
SUMMARY = TaskCard("t", "summarization", "Summarise.")
UNREAD = Parsed(Answer(), unparseable=True)


def example(passage: str = "", *, lost: int = 0, choices: tuple[str, ...] = (), **gold: Any) -> Example:
    return Example("e", "d", passage, Answer(**gold), choices=choices, lost=lost)


def counts(card: TaskCard, field: str, *pairs: tuple[Any, Any]) -> dict[str, dict[str, int]]:
    """What is not 0, for each label, of (gold, predicted) pairs of one field of an answer."""
    found = failures(card, [example(**{field: gold}) for gold, _ in pairs], [Parsed(Answer(**{field: its})) for _, its in pairs])
    return {label: {name: n for name, n in by_name.items() if n} for label, by_name in found["labels"].items()}


def spans(*items: tuple[int, int, str]) -> tuple[Entity, ...]:
    return tuple(Entity(*item) for item in items)


def relations(*items: tuple[str, str, str]) -> tuple[Relation, ...]:
    return tuple(Relation(*item) for item in items)


# Items


def test_outputs_that_say_none_are_counted_beside_examples_without_gold():
    drug = spans((0, 4, "Drug"))
    examples = [example(), example(), example(entities=drug), example(entities=drug)]
    outputs = [Parsed(Answer()), Parsed(Answer(), ungrounded=1), UNREAD, Parsed(Answer())]  # two say none
    assert failures(NER, examples, outputs)["none"] == {"gold": 2, "predicted": 2}


@pytest.mark.parametrize(
    ("gold", "predicted", "drug", "gene"),
    [
        ([(0, 4, "Drug")], [(0, 4, "Drug")], {"gold": 1, "right": 1}, {}),
        ([(0, 4, "Drug")], [(2, 6, "Drug")], {"gold": 1, "wrong_boundary": 1}, {}),
        ([(0, 4, "Drug")], [(4, 6, "Drug")], {"gold": 1, "missed": 1, "spurious": 1}, {}),  # touching is not overlapping
        ([(0, 4, "Drug")], [(0, 4, "Gene")], {"gold": 1, "wrong_label": 1}, {}),
        ([(0, 4, "Drug")], [(0, 5, "Gene")], {"gold": 1, "missed": 1}, {"spurious": 1}),
        ([(0, 4, "Drug")], [], {"gold": 1, "missed": 1}, {}),
        ([], [(0, 4, "Gene")], {}, {"spurious": 1}),
        # one prediction is used once: by the gold item that is right, else by one of the two it overlaps
        ([(0, 4, "Drug"), (2, 6, "Drug")], [(0, 4, "Drug")], {"gold": 2, "right": 1, "missed": 1}, {}),
        ([(0, 4, "Drug"), (4, 8, "Drug")], [(0, 8, "Drug")], {"gold": 2, "wrong_boundary": 1, "missed": 1}, {}),
        ([(0, 8, "Drug")], [(0, 4, "Drug"), (4, 8, "Drug")], {"gold": 1, "wrong_boundary": 1, "spurious": 1}, {}),
        # the same span speaks more for a wrong label than an overlap for a wrong boundary
        ([(0, 4, "Drug")], [(0, 4, "Gene"), (0, 5, "Drug")], {"gold": 1, "wrong_label": 1, "spurious": 1}, {}),
        ([(0, 4, "Drug"), (0, 4, "Gene")], [(0, 4, "Gene")], {"gold": 1, "missed": 1}, {"gold": 1, "right": 1}),
        # as many as can find a partner do: the long prediction is left to the second gold item
        ([(0, 3, "Drug"), (7, 8, "Drug")], [(1, 9, "Drug"), (2, 5, "Drug")], {"gold": 2, "wrong_boundary": 2}, {}),
    ],
)  # fmt: skip
def test_entities(gold: Any, predicted: Any, drug: dict[str, int], gene: dict[str, int]) -> None:
    assert counts(NER, "entities", (spans(*gold), spans(*predicted))) == {"Drug": drug, "Gene": gene}


@pytest.mark.parametrize(
    ("gold", "predicted", "drug", "gene"),
    [
        ([("Drug", "a", "b")], [("Drug", "a", "b")], {"gold": 1, "right": 1}, {}),
        ([("Drug", "a", "b")], [("Gene", "a", "b")], {"gold": 1, "wrong_label": 1}, {}),
        ([("Drug", "a", "b")], [("Drug", "b", "a")], {"gold": 1, "turned_round": 1}, {}),
        ([("Drug", "a", "b")], [("Gene", "b", "a")], {"gold": 1, "missed": 1}, {"spurious": 1}),
        ([("Drug", "a", "b")], [("Drug", "a", "c")], {"gold": 1, "missed": 1, "spurious": 1}, {}),
        ([("Drug", "a", "b"), ("Drug", "b", "a")], [("Drug", "b", "a")], {"gold": 2, "right": 1, "missed": 1}, {}),
        ([("Drug", "a", "b")], [("Drug", "b", "a"), ("Gene", "a", "b")], {"gold": 1, "wrong_label": 1, "spurious": 1}, {}),
        ([("Drug", "a", "a")], [("Drug", "a", "a")], {"gold": 1, "right": 1}, {}),
    ],
)  # fmt: skip
def test_relations(gold: Any, predicted: Any, drug: dict[str, int], gene: dict[str, int]) -> None:
    assert counts(RE, "relations", (relations(*gold), relations(*predicted))) == {"Drug": drug, "Gene": gene}


def test_several_labels() -> None:
    found = counts(CODES, "labels", ((0,), (0, 1)), ((0, 1), ()), ((), ()))
    assert found == {"Drug": {"gold": 2, "right": 1, "missed": 1}, "Gene": {"gold": 1, "missed": 1, "spurious": 1}}


SPANS = st.tuples(st.integers(0, 20), st.integers(1, 8), st.sampled_from(LABELS)).map(lambda s: Entity(s[0], s[0] + s[1], s[2]))
PAIRS = st.builds(Relation, st.sampled_from(LABELS), st.sampled_from("abc"), st.sampled_from("abc"))
ITEMS = {
    "ner": (NER, "entities", st.lists(SPANS, max_size=10)),
    "re": (RE, "relations", st.lists(PAIRS, max_size=10)),
    "codes": (CODES, "labels", st.lists(st.integers(0, 1), max_size=2)),
}


@pytest.mark.parametrize("kind", ITEMS)
@settings(deadline=None)
@given(data=st.data())
def test_counts_add_up_and_right_is_what_the_strict_metric_matches(kind: str, data: st.DataObject) -> None:
    card, field, answers = ITEMS[kind]
    drawn = data.draw(st.lists(st.tuples(answers, answers, st.integers(0, 2)), min_size=1, max_size=4))
    examples = [example(lost=lost, **{field: tuple(gold)}) for gold, _, lost in drawn]
    parsed = [Parsed(Answer(**{field: tuple(sorted(set(its)))})) for _, its, _ in drawn]
    found = failures(card, examples, parsed)
    errors = ERRORS[found["kind"]]
    for by_name in found["labels"].values():
        assert by_name["gold"] == by_name["right"] + sum(by_name[name] for name in errors if name != "spurious")
    whole = {name: sum(by_name[name] for by_name in found["labels"].values()) for name in ("gold", "right", *errors)}
    matched, predicted, gold = score(card, examples, parsed).counts.sum(axis=0)
    assert whole["right"] == matched
    assert whole["gold"] + found["lost"] == gold
    assert predicted == whole["right"] + whole["spurious"] + sum(whole[name] for name in errors[:-2])
    if kind == "ner":
        lenient = next(metric for metric in metrics_for(card) if metric.name == "lenient_f1")
        overlapping = sum(lenient.counts(card, e, p)[0] for e, p in zip(examples, parsed, strict=True))
        assert whole["right"] + whole["wrong_boundary"] <= overlapping


@settings(deadline=None)
@given(st.lists(SPANS, max_size=8), st.lists(SPANS, max_size=8))
def test_as_many_boundaries_are_wrong_as_the_lenient_metric_can_match(gold: list[Entity], predicted: list[Entity]) -> None:
    """With one label and no span in common, where nothing else takes a prediction away."""
    ours = {replace(e, label="Drug") for e in gold}
    theirs = {replace(e, label="Drug") for e in predicted if (e.start, e.end) not in {(g.start, g.end) for g in gold}}
    asked, answered = example(entities=tuple(ours)), Parsed(Answer(entities=tuple(sorted(theirs))))
    lenient = next(metric for metric in metrics_for(NER) if metric.name == "lenient_f1")
    found = failures(NER, [asked], [answered])["labels"]["Drug"]
    assert found["wrong_boundary"] == lenient.counts(NER, asked, answered)[0]


# Choices, extracts and texts


@pytest.mark.parametrize("card", [NLI, CLASS])
def test_choices_are_counted_by_gold_and_predicted(card: TaskCard) -> None:
    examples = [example(choice=gold) for gold in (0, 0, 0, 1, 2)]
    parsed = [*(Parsed(Answer(choice=choice)) for choice in (0, 1, 1)), UNREAD, Parsed(Answer(choice=2))]
    found = failures(card, examples, parsed)
    assert found["confusion"] == [[1, 2, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    assert found["outcomes"] == {"right": 2, "wrong": 2, "unparseable": 1}
    assert (found["kind"], found["labels"], found["unparseable"]) == ("choices", list(card.labels), 1)


def test_options_of_each_example_have_no_confusion_table() -> None:
    examples = [example(choice=gold, choices=("w", "x", "y")) for gold in (0, 1, 2)]
    found = failures(OPTIONS, examples, [Parsed(Answer(choice=0)), Parsed(Answer(choice=0)), UNREAD])
    assert "confusion" not in found and found["kind"] == "options"
    assert found["outcomes"] == {"right": 1, "wrong": 1, "unparseable": 1}
    assert failures(FIXED, [example(choice=1)], [Parsed(Answer(choice=1))])["confusion"] == [[0, 0, 0], [0, 1, 0]]


@settings(max_examples=tries(50), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(0, 2)), min_size=1, max_size=12))
def test_right_choices_are_those_of_accuracy(pairs: list[tuple[int, int | None]]) -> None:
    examples = [example(choice=gold) for gold, _ in pairs]
    parsed = [Parsed(Answer(choice=choice), choice is None) for _, choice in pairs]
    found = failures(NLI, examples, parsed)
    assert sum(found["outcomes"].values()) == sum(map(sum, found["confusion"])) == len(pairs)
    assert 100 * found["outcomes"]["right"] / len(pairs) == pytest.approx(score(NLI, examples, parsed).values["accuracy"])
    assert sum(found["confusion"][i][i] for i in range(3)) == found["outcomes"]["right"]


def test_extracts() -> None:
    examples = [example("A fever of 39 C.", text="a fever of 39 C")] * 4
    parsed = [*(Parsed(Answer(text=text)) for text in ("Fever of 39 C.", "39 C", "cough")), UNREAD]
    found = failures(EXTRACT, examples, parsed)
    assert found["outcomes"] == {"exact": 1, "overlapping": 1, "wrong": 1, "unparseable": 1}
    assert 100 * found["outcomes"]["exact"] / 4 == score(EXTRACT, examples, parsed).values["exact_match"]


@pytest.mark.parametrize("card", [SUMMARY, FREE])
def test_texts(card: TaskCard) -> None:
    text = "Fever since\n Monday. No cough."
    examples = [example(text, text=gold) for gold in ("No cough.", "one two", "one two three four", "one")]
    outputs = ("No  cough.", "one two three", "Fever since Monday.", "")
    found = failures(card, examples, [Parsed(Answer(text=output), not output) for output in outputs])
    assert found == {
        "kind": "texts", "median_ratio": 1.0, "empty": 1, "copied": 2, "gold_copied": 1,
        "examples": 4, "unparseable": 1, "ungrounded": 0, "cut_inputs": None,
    }  # fmt: skip
    assert failures(card, examples[:1], [UNREAD])["median_ratio"] is None


def test_a_question_is_an_input_too() -> None:
    asked = replace(example("Note.", text="gold"), fields=(("question", "What is a fever?"),))
    assert failures(FREE, [asked], [Parsed(Answer(text="a fever"))])["copied"] == 1


def test_every_kind_counts_what_could_not_be_read_or_was_cut() -> None:
    parsed = [Parsed(Answer(), ungrounded=2), UNREAD]
    for card in (NER, RE, CODES, EXTRACT, FREE):
        found = failures(card, [example(text="gold")] * 2, parsed, cut_inputs=1)
        assert (found["examples"], found["unparseable"], found["ungrounded"], found["cut_inputs"]) == (2, 1, 2, 1)


GOLD = {
    "ner": (NER, example(entities=spans((0, 4, "Drug"), (0, 4, "Gene"), (2, 3, "Drug")))),
    "re": (RE, example(relations=relations(("Drug", "a", "b"), ("Drug", "b", "a"), ("Gene", "a", "b")))),
    "codes": (CODES, example(labels=(0, 1))),
    "nli": (NLI, example(choice=2)),
    "options": (OPTIONS, example(choice=1, choices=("x", "y"))),
    "extract": (EXTRACT, example("Fever of 39 C.", text="39 C")),
}


@pytest.mark.parametrize("kind", GOLD)
def test_gold_in_no_failure_out(kind: str, tmp_path: Path) -> None:
    card, asked = GOLD[kind]
    found = failures(card, [asked] * 3, [Parsed(asked.gold)] * 3)
    by_label = found["labels"].values() if found["kind"] in ERRORS else ()
    wrong = [by_name[name] for by_name in by_label for name in ERRORS[found["kind"]]]
    wrong += list(found.get("outcomes", {}).values())[1:]
    assert wrong and not any(wrong)
    assert json.loads(json.dumps(found)) == found
    (tmp_path / "failures.json").write_text(json.dumps([named(**found)]))
    (table,) = failure_tables(tmp_path / "failures.json", ["mpdd"])
    assert table.view.summary.endswith(" are right (100\u00a0%), without an error.") and table.notes == ()
    assert not any(count.tint for _, line in table.view.lines for count in line)


def test_no_word_of_a_text_is_in_what_is_counted() -> None:
    secret = "Jane Roe has a fever"
    asked = Example("Jane", "Jane", secret, Answer(text=secret), (("question", secret),), choices=(secret, "x"))
    for card in (EXTRACT, FREE, SUMMARY):
        assert "Jane" not in json.dumps(failures(card, [asked], [Parsed(asked.gold)]))
    asked = replace(asked, gold=Answer(choice=0, relations=relations(("Drug", "Jane", "Roe"))))
    for card in (OPTIONS, RE):
        assert "Jane" not in json.dumps(failures(card, [asked], [Parsed(Answer(choice=1))]))


# Examples worth a look, and the record of a run


def test_one_right_and_two_wrong_examples_are_shown_in_their_order() -> None:
    examples = [replace(example(choice=0), id=str(number)) for number in range(6)]

    def shown(*answers: int) -> str:
        scored = score(NLI, examples, [Parsed(Answer(choice=answer)) for answer in answers]).counts.tolist()
        return "".join(e.id for e in instructive_examples(NLI, examples, scored, 3))

    assert shown(0, 0, 0, 1, 0, 1) == "035"
    assert shown(1, 1, 1, 0, 0, 0) == "013"
    assert shown(0, 0, 0, 0, 0, 1) == "015"
    assert shown(0, 0, 0, 0, 0, 0) == shown(1, 1, 1, 1, 1, 1) == "012"
    assert instructive_examples(NLI, examples, None, 3) == examples[:3]
    assert instructive_examples(NLI, examples[:1], [[1.0]], 3) == examples[:1]


@pytest.mark.parametrize(
    ("card", "gold", "wrong"),
    [
        (NER, {"entities": spans((0, 4, "Drug"))}, {"entities": spans((0, 4, "Drug"), (5, 6, "Drug"))}),
        (NER, {}, {"entities": spans((0, 4, "Drug"))}),
        (EXTRACT, {"text": "39 C"}, {"text": "39"}),
        (CODES, {"labels": (0,)}, {"labels": (0, 1)}),
    ],
)
def test_right_is_what_counts_as_gold_does(card: TaskCard, gold: dict[str, Any], wrong: dict[str, Any]) -> None:
    examples = [replace(example("Fever of 39 C.", **gold), id=str(number)) for number in range(3)]
    scored = score(card, examples, [Parsed(Answer(**one)) for one in (wrong, wrong, gold)]).counts.tolist()
    assert [e.id for e in instructive_examples(card, examples, scored, 2)] == ["0", "2"]


def test_the_first_seed_of_the_most_shots_speaks_for_a_method() -> None:
    rows = [{"method": m, "shots": shots, "seed": seed} for m in ("mpdd", "lora") for shots in (32, "all", 4) for seed in (7, 3)]
    found = at_most_shots([{"method": "zero-shot", "shots": 0, "seed": 7}, *rows])
    assert {method: place and (rows[place - 1]["shots"], rows[place - 1]["seed"]) for method, place in found.items()} == {
        "zero-shot": 0, "mpdd": ("all", 7), "lora": ("all", 7),
    }  # fmt: skip


def test_cells_of_older_runs_have_no_failures() -> None:
    row = {"target": "t", "method": "mpdd", "shots": 4, "seed": 0, "value": 1.0}
    assert failures_of([{"row": row}]) == []
    (found,) = failures_of([{"row": row}, {"row": row, "failures": {"kind": "texts"}}])
    assert found == {"target": "t", "method": "mpdd", "shots": 4, "seed": 0, "kind": "texts"}


# For the report


def named(**found: Any) -> dict[str, Any]:
    return {"target": "t", "method": "mpdd", "shots": 32, "seed": 0, **found}


def table_of(tmp_path: Path, card: TaskCard, examples: list[Example], answers: list[Parsed]) -> Any:
    (tmp_path / "failures.json").write_text(json.dumps([named(**failures(card, examples, answers, 0))]))
    (table,) = failure_tables(tmp_path / "failures.json", ["mpdd"])
    return table


def test_the_most_frequent_error_is_said_and_tinted(tmp_path: Path) -> None:
    gold = spans((0, 4, "Drug"), (5, 9, "Drug"), (10, 14, "Gene"))
    answer = Parsed(Answer(entities=spans((0, 5, "Drug"), (5, 9, "Gene"), (10, 14, "Gene"))), ungrounded=3)
    table = table_of(tmp_path, NER, [example(entities=gold, lost=1)] * 2, [answer, UNREAD])
    assert table.view.summary == (
        "1 of 6 gold entities are right (17\u00a0%). The most frequent error: nothing found where gold has something (3 of 5)."
    )
    assert table.view.head == ("label", "gold", "right", "wrong boundary", "wrong label", "missed", "spurious")
    assert [(name, [count.text for count in line]) for name, line in table.view.lines] == [
        ("Drug", ["4", "0", "1", "1", "2", "0"]),
        ("Gene", ["2", "1", "0", "0", "1", "0"]),
        ("all", ["6", "1", "1", "1", "3", "0"]),
    ]
    assert [count.tint for count in table.view.lines[0][1]] == [0, 0, 20, 20, 40, 0]
    assert len(table.notes) == 3 and table.notes[1] == "Outputs that cannot be read: 1."


def test_rare_labels_stand_together(tmp_path: Path) -> None:
    card = replace(CODES, labels=tuple(f"label {number}" for number in range(30)))
    examples = [example(labels=tuple(range(number, 20))) for number in range(20)]
    table = table_of(tmp_path, card, examples, [UNREAD] * 20)
    assert [name for name, _ in table.view.lines] == [*(f"label {n}" for n in range(19, 7, -1)), "8 others", "all"]
    assert [count.text for count in table.view.lines[-2][1]] == ["36", "0", "36", "0"]
    assert [count.text for count in table.view.lines[-1][1]] == ["210", "0", "210", "0"]


def test_a_confusion_is_named(tmp_path: Path) -> None:
    examples = [example(choice=gold) for gold in (0, 0, 0, 1)]
    table = table_of(tmp_path, NLI, examples, [Parsed(Answer(choice=choice)) for choice in (1, 1, 2, 1)])
    assert table.view.summary.endswith("25\u00a0%). The most frequent error: yes taken for no (2 of 3).")
    assert table.view.head == ("gold", "as yes", "as no", "as maybe", "unread")
    assert [count.tint for count in table.view.lines[0][1]] == [0, 40, 20, 0]
    assert table.view.lines[1][1][1].right and table.view.lines[1][1][1].tint == 0
    table = table_of(tmp_path, NLI, examples, [UNREAD] * 4)
    assert table.view.summary.endswith("yes without an answer that can be read (3 of 4).")


def test_many_labels_are_not_shown_against_each_other(tmp_path: Path) -> None:
    card = replace(CLASS, labels=tuple("abcdefghijkl"))
    table = table_of(tmp_path, card, [example(choice=n) for n in (0, 0, 1)], [Parsed(Answer(choice=n)) for n in (0, 1, 1)])
    assert table.view.head == ("label", "gold", "right", "missed", "spurious")
    assert [(name, [count.text for count in line]) for name, line in table.view.lines] == [
        ("a", ["2", "1", "1", "0"]),
        ("b", ["1", "1", "0", "1"]),
        ("all", ["3", "2", "1", "1"]),
    ]
    assert table.view.summary == "2 of 3 examples are right (67\u00a0%). The most frequent error: a taken for b (1 of 1)."


def test_outcomes_and_words_are_tables_too(tmp_path: Path) -> None:
    asked = example("Fever of 39 C.", text="39 C")
    table = table_of(tmp_path, EXTRACT, [asked] * 2, [Parsed(asked.gold), Parsed(Answer(text="39"))])
    assert [(name, [count.text for count in line]) for name, line in table.view.lines] == [
        ("exact", ["1", "50\u00a0%"]), ("overlapping", ["1", "50\u00a0%"]), ("wrong", ["0", "0\u00a0%"]),
        ("unparseable", ["0", "0\u00a0%"]),
    ]  # fmt: skip
    table = table_of(tmp_path, SUMMARY, [asked] * 2, [Parsed(Answer(text="39")), Parsed(Answer(text="It is high, by far."))])
    assert table.view.summary == "An output has 1.50 times the words of its gold answer (median)."
    assert table_of(tmp_path, SUMMARY, [asked], [UNREAD]).view.summary == "No output has a word."


def test_without_gold_items_there_is_no_share(tmp_path: Path) -> None:
    assert (
        table_of(tmp_path, NER, [example()], [Parsed(Answer())]).view.summary
        == "0 of 0 gold entities are right, without an error."
    )


def test_the_first_method_that_was_run_speaks_for_a_target(tmp_path: Path) -> None:
    found = failures(EXTRACT, [example("a b", text="a b")], [UNREAD])
    items = [named(**found, method=method, shots=shots) for method in ("zero-shot", "lora") for shots in (4, 32)]
    (tmp_path / "failures.json").write_text(json.dumps(items))
    for methods, wanted in ((["mpdd", "lora"], "lora"), (["mpdd"], "zero-shot"), ([], "zero-shot")):
        (table,) = failure_tables(tmp_path / "failures.json", methods)
        assert (table.method, table.run) == (wanted, "32 training examples, seed 0")


@pytest.mark.parametrize(
    "content", ['{"target": 1}', '[{"target": "rqe"}]', "[3]", '[{"target": "t", "method": "mpdd", "shots": 4}]']
)
def test_a_damaged_record_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "failures.json").write_text(content)
    with pytest.raises(InputError, match="failures.json is not what a run writes"):
        failure_tables(tmp_path / "failures.json", ["mpdd"])
    assert failure_tables(tmp_path / "none.json", ["mpdd"]) == []
