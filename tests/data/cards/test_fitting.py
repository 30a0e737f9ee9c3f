"""Windows of users' texts: as long as the context has room, or as the card says; the same in training and prediction."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpdd.annotate.notes import Note, requests_for
from mpdd.backbone.vocabulary import load_tokenizer
from mpdd.data.cards import card_file, new, sniff
from mpdd.data.cards.check import facts
from mpdd.data.cards.fitting import CHARS_PER_TOKEN, fitted, longest_window
from mpdd.data.cards.names import proposed
from mpdd.data.task import SPLITS, TaskCard
from mpdd.data.windows import windows
from mpdd.errors import InputError
from mpdd.methods.options import PromptOptions
from tests.data import refusals
from tests.data.cards.conftest import CARDS, lines, record, refusal

RE = TaskCard("own", "re", "Do it.", ("treats", "causes"), max_answer_tokens=200)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()[0]


def test_the_longest_window_is_what_the_context_has_room_for(tokenizer):
    short, long = (longest_window(RE, tokenizer, context, 16) for context in (1024, 4096))
    assert long - short == CHARS_PER_TOKEN * (4096 - 1024)
    assert 1500 < short < 3 * 1024
    assert longest_window(RE, tokenizer, 1024, 116) == short - 100 * CHARS_PER_TOKEN
    assert longest_window(replace(RE, instruction="Do it. " * 50), tokenizer, 1024, 16) < short - 100
    assert longest_window(RE, tokenizer, 64, 16) == 100


def test_windows_of_entities_follow_the_answer_too(tokenizer, write):
    def window(max_answer_tokens, context):
        path = write("ner", {"train.jsonl": ""}, max_answer_tokens=max_answer_tokens)
        return fitted(card_file.read(path), tokenizer, context, 16).card.window

    assert (window(160, 4096), window(640, 4096)) == (400, 1600)
    assert window(160, 256) < 400


def related(number, between=700):
    text = f"Case {number}: temozolomide. " + "Nothing else was seen. " * (between // 23) + f"The glioma {number} shrank."
    drug, tumour = text.index("temozolomide"), text.index("glioma")
    entities = [{"start": tumour, "end": tumour + 6, "id": "a"}, {"start": drug, "end": drug + 12, "id": "b"}]
    return {"text": text, "entities": entities, "relations": [{"label": "treats", "head": "b", "tail": "a"}]}


def test_pairs_further_apart_than_400_characters_are_read_where_the_context_has_room(write):
    path = write("re", {"train.jsonl": lines([related(n) for n in range(10)])})
    own = card_file.read(path)
    assert own.in_windows is not None
    narrow = own.in_windows(400)
    assert "found 10 across the edge of a window" in refusals.refusal(narrow.load, path.parent)
    tokenizer, context = load_tokenizer()
    task = fitted(own, tokenizer, context, PromptOptions().length)
    splits = task.load(path.parent)
    assert splits.losses == {}
    found = facts(task, splits, tokenizer, context)
    assert found["gold"]["read"] == found["gold"]["in_files"] == 10
    assert found["tokens"]["inputs_cut"] == 0
    assert found["tokens"]["window"] == task.card.window > 1000


def test_windows_of_relations_are_no_longer_than_their_answers_allow(write, tokenizer):
    rows = []
    for n in range(12):
        pairs = [f"Tumour {n}x{i} shrank under drug {n}x{i}." for i in range(60)]
        text, row = " ".join(pairs), {"entities": [], "relations": []}
        for i in range(60):
            for kind in ("Tumour", "drug"):
                start = text.index(f"{kind} {n}x{i}" + (" " if kind == "Tumour" else "."))
                row["entities"].append({"start": start, "end": start + len(f"{kind} {n}x{i}"), "id": f"{kind}{i}"})
            row["relations"].append({"label": "treats", "head": f"drug{i}", "tail": f"Tumour{i}"})
        rows.append({"text": text, **row})
    path = write("re", {"train.jsonl": lines(rows)}, max_answer_tokens=160)
    assert fitted(card_file.read(path), tokenizer, 4096, 16).card.window == 400
    path = write("re", {"train.jsonl": lines(rows)}, max_answer_tokens=1600)
    assert fitted(card_file.read(path), tokenizer, 4096, 16).card.window > 1600


def test_gold_past_the_longest_answer_is_named(write, tiny_folder):
    rows = [record("ner", n) for n in range(10)]
    path = write(files={"train.jsonl": lines(rows)}, max_answer_tokens=2)
    task = card_file.read(path)
    found = facts(task, task.load(path.parent), *load_tokenizer(str(tiny_folder)))
    assert found["gold"]["lost"] == {"past the longest answer": 20}
    assert (found["gold"]["in_files"], found["gold"]["read"], found["tokens"]["answers_too_long"]) == (20, 0, 10)


def test_the_card_sets_the_window(write):
    path = write("re", {"train.jsonl": lines([related(n) for n in range(10)])}, window=1000)
    own = card_file.read(path)
    assert fitted(own, *load_tokenizer(), 16) is own
    splits = own.load(path.parent)
    assert splits.losses == {} and own.card.window == 1000
    assert max(len(example.text) for split in SPLITS for example in splits[split]) > 400
    assert "window: input should be greater than or equal to 50" in refusal(write("re", window=10))
    assert "window: only texts with entities or relations are read in windows" in refusal(write("nli", window=400))


def test_notes_are_read_in_the_windows_of_their_prompt():
    text = "Nothing was seen. " * 100
    note, long_enough = Note("n", text, {}), SimpleNamespace(context=10_000)
    for card, wanted in (
        (replace(RE, window=500), windows(text, 500)),
        (replace(RE, type="ner", window=500), windows(text, 500)),
        (replace(RE, type="ner"), windows(text, 400)),
        (RE, [(0, len(text))]),
    ):
        examples = [request.example for request in requests_for(note, card, None, long_enough)]
        assert [(e.offset, e.offset + len(e.text)) for e in examples] == wanted


def test_a_card_without_a_window_is_written_as_before():
    assert "window" not in RE.to_dict()
    assert TaskCard.from_dict(RE.to_dict()) == RE
    assert TaskCard.from_dict(replace(RE, window=500).to_dict()).window == 500


# Edges that keep pairs together


@given(st.text(st.sampled_from("aB .!?\n"), max_size=90), st.integers(3, 40), st.data())
def test_edges_part_as_few_pairs_as_any_windows_could(text, max_chars, data):
    places = st.integers(0, max(0, len(text) - 1))
    pairs = [tuple(sorted(pair)) for pair in data.draw(st.lists(st.tuples(places, places), max_size=6))]
    pairs = [(start, end + 1) for start, end in pairs if text[start : start + 1].strip() and text[end : end + 1].strip()]
    plain, kept = windows(text, max_chars), windows(text, max_chars, pairs)

    def edges_across(spans):
        return sum(sum(start < b and a < end for start, end in spans) - 1 for a, b in pairs)

    assert [word for start, end in kept for word in text[start:end].split()] == text.split()
    assert all(end - start <= max_chars or " " not in text[start:end] for start, end in kept)
    assert edges_across(kept) <= edges_across(plain)


def test_a_pair_that_fits_one_window_stays_in_one():
    text = "Aaa bbb. Ccc ddd. Eee fff. Ggg hhh."
    pair = (text.index("ddd"), text.index("fff") + 3)
    assert [text[start:end] for start, end in windows(text, 18)] == ["Aaa bbb. Ccc ddd.", "Eee fff. Ggg hhh."]
    assert [text[start:end] for start, end in windows(text, 18, [pair])] == ["Aaa bbb.", "Ccc ddd. Eee fff.", "Ggg hhh."]


# What a new card proposes from a first record, and copies of the ready cards.


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
