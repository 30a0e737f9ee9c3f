"""What a new card proposes from a first record, and copies of the ready cards."""

import tomllib

import pytest

from mpdd.data.cards import card_file, new, sniff
from mpdd.data.cards.names import proposed
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from tests.data.cards.conftest import CARDS, lines, record


def card(kind):
    values = {"name": "own", "instruction": "Do it.", **CARDS[kind]}
    return TaskCard.from_dict(values)


@pytest.mark.parametrize(
    ("kind", "there", "wanted"),
    [
        ("nli", ["sentence1", "sentence2", "gold_label", "pairID"],
         {"text": "sentence1", "Hypothesis": "sentence2", "answer": "gold_label", "id": "pairID"}),
        ("choice", ["id", "question", "opa", "opb", "opc", "cop", "exp"],
         {"text": "question", "answer": "cop", "id": "id", "choices": ("opa", "opb", "opc")}),
        ("extractive", ["Context", "question", "answer", "answer_start", "zebra"],
         {"text": "Context", "Question": "question", "answer": "answer", "answer_start": "answer_start"}),
        ("ner", ["NOTE", "spans", "patient_id"], {"text": "NOTE", "entities": "spans", "document": "patient_id"}),
        ("summary", ["a", "b"], {}),
    ],
)  # fmt: skip
def test_columns_are_proposed_by_their_names(kind, there, wanted):
    assert proposed(card(kind), there) == wanted


def test_what_is_known_is_not_proposed():
    assert proposed(card("nli"), ["sentence2"], ("text", "answer")) == {"Hypothesis": "sentence2"}


def test_only_columns_of_another_name_are_written():
    chosen = {"text": "text", "document": "document", "choices": ("a", "b"), "id": "nr"}
    assert new.named(chosen) == {"document": "document", "choices": ["a", "b"], "id": "nr"}


def test_a_file_without_content_is_told_by_its_ending(tmp_path):
    known = {"a.CSV": "csv", "b/c/d.ann": "brat", "e/f.jsonl": "jsonl", "g/h.con": "i2b2-2010", "i/j.xml": ""}
    for name, wanted in known.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
        if wanted in ("brat", "i2b2-2010", ""):
            path = str(tmp_path / name.partition("/")[0])
            assert new.recognised([path], "ner", "") == {path: wanted}
        assert sniff.written_as(tmp_path / name.partition("/")[0]) == wanted


def test_columns_are_those_of_the_first_record(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines([record("nli", 1) | {"more": 1}, {"other": 2}]))
    assert new.columns("jsonl", [tmp_path], card("nli")) == ("Hypothesis", "answer", "text", "more")
    assert new.columns("brat", [tmp_path], card("ner")) == ()


@pytest.mark.parametrize("name", new.presets())
def test_a_ready_card_is_copied_as_it_is_or_with_other_values(name):
    text = new.preset(name, {"data": {}})
    assert text == new.presets()[name]
    changed = tomllib.loads(new.preset(name, {"name": "mine", "labels": None, "data": {"train": "x", "test": []}}))
    before = tomllib.loads(text)
    assert changed == {**before, "name": "mine", "data": {**before["data"], "train": "x"}}
    assert card_file.build(changed, "mine.toml").name == "mine"


def test_an_unknown_ready_card_is_answered_with_near_ones():
    with pytest.raises(InputError, match="no ready card called 'mednil'; wanted perhaps mednli"):
        new.preset("mednil", {"data": {}})
