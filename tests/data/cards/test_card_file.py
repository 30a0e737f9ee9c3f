"""Cards: what they say, every problem named at once, splits from files or cut by rule, and the catalogue's door to them."""

import tomllib
from pathlib import Path

import pytest

from mpdd.data import catalogue, splits
from mpdd.data.cards import card_file, new
from mpdd.data.task import SPLITS
from mpdd.errors import InputError
from mpdd.evaluation.metrics import metrics_for
from tests.data.cards.conftest import CARDS, lines, load, record, refusal

NOTES = {"train.jsonl": lines([record("ner", n) for n in range(10)])}


def names(found):
    return [[example.id.rpartition(":")[2] for example in found[split]] for split in SPLITS]


# What a card gives


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_becomes_a_task_with_the_headline_of_its_type(kind, write):
    task = card_file.read(write(kind, {"train.jsonl": "{}"}, licence="own", text_field="Note"))
    assert (task.name, task.role, task.files, task.licence, task.citation) == ("own", "user", (), "own", "not stated")
    assert task.headline == metrics_for(task.card)[0].name
    assert (task.card.type, task.card.text_field) == (CARDS[kind]["type"], "Note")
    assert task.card.labels == tuple(CARDS[kind].get("labels", ()))


def test_every_ready_card_is_valid_and_has_the_headline_of_its_type():
    assert len(new.presets()) >= 15
    for name, text in new.presets().items():
        found = card_file.build(tomllib.loads(text), f"{name}.toml")
        assert found.name == name
        assert card_file.task(found, Path(f"{name}.toml")).headline == metrics_for(found.card)[0].name


def test_data_lies_beside_the_card_wherever_it_is_read_from(write, tmp_path, monkeypatch):
    path = write(files={"deep/train.jsonl": NOTES["train.jsonl"]}, data={"train": "deep/train.jsonl"})
    monkeypatch.chdir("/")
    assert len(load(path).train) == 7
    assert len(load(write(data={"train": str(tmp_path / "deep/train.jsonl")})).train) == 7


# Splits


def test_what_is_left_out_is_cut_by_the_published_rule(write):
    path = write(files=NOTES)
    found = load(path)
    assert [len(found[split]) for split in SPLITS] == [7, 1, 2]
    ordered = splits.order(e.document for split in SPLITS for e in found[split])
    assert [{e.document for e in found[split]} for split in SPLITS] == [set(ordered[:7]), {ordered[7]}, set(ordered[8:])]
    assert load(path) == found


@pytest.mark.parametrize(("given", "sizes"), [("dev", [8, 5, 2]), ("test", [9, 1, 5])])
def test_a_split_with_a_file_of_its_own_is_not_cut(given, sizes, write):
    more = {f"{given}.jsonl": lines([record("ner", n) for n in range(100, 105)])}
    assert [len(load(write(files=NOTES | more, data={given: f"{given}.jsonl"}))[split]) for split in SPLITS] == sizes


def test_several_files_and_folders_make_one_split(write):
    parts = {f"{n}/{n}.jsonl": lines([record("ner", n)]) for n in range(4)} | {"0/notes.md": "x", "0/.jsonl": "x"}
    rest = {"dev.jsonl": lines([record("ner", 8)]), "test.jsonl": lines([record("ner", 9)])}
    path = write(files=parts | rest, data={"train": ["0", "1/1.jsonl", "2"], "dev": "dev.jsonl", "test": "test.jsonl"})
    assert names(load(path)) == [["1@0", "1@0", "1@0"], ["1@0"], ["1@0"]]
    assert [e.id for e in load(path).train] == ["own:train:0:1@0", "own:train:1:1@0", "own:train:2:1@0"]


def test_a_named_document_stays_in_one_split_and_out_of_earlier_ones(write):
    def rows(start, patients):
        return lines([record("single", start + n) | {"patient": p} for n, p in enumerate(patients)])

    files = {"train.jsonl": rows(0, [n % 10 for n in range(40)]), "test.jsonl": rows(50, [3, 3, 90])}
    found = load(write("single", files, {"test": "test.jsonl", "columns": {"document": "patient"}}))
    documents = [{e.document for e in found[split]} for split in SPLITS]
    assert [len(one) for one in documents] == [8, 1, 2]
    assert documents[2] == {"3", "90"}
    assert not documents[0] & documents[1] and not (documents[0] | documents[1]) & documents[2]
    assert sum(n for note, n in found.notes.items() if "a document that a later split holds" in note) == 4


def test_without_document_ids_the_same_text_is_one_document_in_every_task(write):
    rows = [record("nli", n // 4) | {"Hypothesis": f"It is {n}.", "id": n} for n in range(40)]
    rows[1]["text"] = rows[1]["text"].upper() + "!"
    found = load(write("nli", {"train.jsonl": lines(rows)}))
    assert [len({e.document for e in found[split]}) for split in SPLITS] == [7, 1, 2]
    assert sum(len(found[split]) for split in SPLITS) == 40
    entities = load(write("ner", {"train.jsonl": lines([record("ner", n) for n in range(10)])}))
    assert {e.document for s in SPLITS for e in found[s]} == {e.document for s in SPLITS for e in entities[s]}


def test_ids_that_start_anew_in_each_file_lose_nothing(write):
    parts = {f"{split}.jsonl": lines([record("ner", n) | {"id": n % 5} for n in range(k, k + 5)]) for k, split in
             zip((0, 5, 10), SPLITS, strict=True)}  # fmt: skip
    found = load(write(files=parts, data={split: f"{split}.jsonl" for split in SPLITS}))
    assert ([len(found[split]) for split in SPLITS], found.notes) == ([5, 5, 5], {})
    assert len({e.id for split in SPLITS for e in found[split]}) == 15


def test_too_few_documents_to_cut_are_named(write):
    said = refusal(write(files={"train.jsonl": lines([record("ner", n) for n in range(3)])}))
    assert "no dev example is left; found 3 documents in all; wanted about ten documents or more" in said
    assert "Name a file for data.dev." in said


def test_one_document_is_too_few_to_cut_and_what_was_skipped_is_said(write):
    said = refusal(write(files={"train.jsonl": lines([record("ner", 1)]) + "{\n"}))
    assert "no train example is left; found 1 documents in all, 1 skipped: not valid JSON (truncated?); wanted about ten" in said
    assert "Name a file for data.test." in said


def test_a_train_that_only_repeats_the_test_is_named(write):
    files = NOTES | {"dev.jsonl": lines([record("ner", 99)]), "test.jsonl": NOTES["train.jsonl"]}
    said = refusal(write(files=files, data={"dev": "dev.jsonl", "test": "test.jsonl"}))
    assert "no train example is left; found 11 documents in all, those of train in a later split too" in said


# Problems


@pytest.mark.parametrize(
    ("kind", "values", "data", "problem"),
    [
        ("ner", {"lables": ["x"]}, {}, "lables: no such key, perhaps labels"),
        ("ner", {"name": "a/b"}, {}, "name: "),
        ("ner", {"name": None}, {}, "name: missing"),
        ("ner", {"type": "nerr"}, {}, "type: input should be 'ner', 're'"),
        ("ner", {"instruction": ""}, {}, "instruction: "),
        ("ner", {"labels": []}, {}, "data: labels: a task of type ner needs some (above [data])"),
        ("ner", {"labels": ["A", "a "]}, {}, "labels: some differ in no more than case and spaces"),
        ("multiple", {"labels": ["A", "None"]}, {}, "labels: none stands for no label, and cannot be one"),
        ("ner", {"form": "single"}, {}, "form: this type has no forms, found 'single'"),
        ("choice", {"form": "open"}, {}, "form: wanted one of choice, extractive, free, found 'open'"),
        ("summary", {"labels": ["A"]}, {}, "data: labels: a task of type summarization has none"),
        ("extractive", {"labels": ["A"]}, {}, "data: labels: a task of type qa extractive has none"),
        ("ner", {"fields": ["text"]}, {}, "fields: text stands for something else, or twice"),
        ("ner", {"max_answer_tokens": 0}, {}, "max_answer_tokens: "),
        ("ner", {}, {"format": "xml"}, "data.format: wanted one of jsonl, json, csv, tsv, parquet, arrow, "),
        ("nli", {}, {"format": "brat"}, "data: format: brat holds no task of type nli, wanted one of jsonl, json, csv, tsv, "),
        ("ner", {}, {"format": "squad"}, "data: format: squad holds no task of type ner"),
        ("extractive", {"fields": []}, {"format": "squad"}, 'wanted fields = ["Question"]'),
        ("ner", {}, {"train": "tarin.jsonl"}, "data: train: there is no file or folder "),
        ("ner", {}, {"train": "~nobody-of-this-name/x"}, "data: train: there is no file or folder "),
        ("ner", {}, {"train": "x" * 300}, "data: train: there is no file or folder "),
        ("ner", {}, {"train": "x\0y"}, "data: train: there is no file or folder "),
        ("ner", {"name": "rqe"}, {}, "name: the catalogue has a task of this name, wanted a name of its own, found 'rqe'"),
        ("ner", {}, {"train": []}, "data.train: "),
        ("ner", {}, {"train": 3}, "data.train: "),
        ("ner", {}, {"tset": "x"}, "data.tset: no such key, perhaps test"),
        ("ner", {}, {"dev": "train.jsonl"}, "dev: is the same file or folder as train"),
        ("ner", {}, {"train": ".", "dev": "train.jsonl"}, "dev: lies inside the folder of train"),
        ("ner", {}, {"train": ["train.jsonl", "./train.jsonl"]}, "train: a file is named twice"),
        ("ner", {}, {"columns": {"txt": "note"}}, "data: columns.txt: no such column, perhaps text"),
        ("ner", {}, {"columns": {"answer": "label"}}, "columns.answer: no such column, wanted one of text, entities"),
        ("ner", {}, {"columns": {"text": ["a", "b"]}}, "columns.text: should be one column"),
        ("ner", {}, {"columns": {"text": 3}}, "data.columns.text: should be a column's name, or a list of several"),
        ("ner", {}, {"format": "brat", "columns": {"text": "a"}}, "columns: brat files have no columns"),
        ("ner", {}, {"labels": {"T": "Tumor"}}, "data: labels.T: 'Tumor' is no label of the card, perhaps Tumour"),
        ("free", {}, {"labels": {"T": "Tumor"}}, "data: labels: a task of type qa free has none"),
    ],
)  # fmt: skip
def test_a_problem_of_a_card_is_named_with_its_key(kind, values, data, problem, write):
    said = refusal(write(kind, NOTES, data, **values))
    assert said.startswith("own.toml has 1 problem: ") or values.get("labels") == []
    assert problem in said


def test_all_problems_stand_in_one_line(write):
    said = refusal(write(data={"train": "x", "test": "y", "columns": {"txt": "note"}, "labels": {"T": "z"}}, instructoin="x"))
    for problem in ("train: there is no", "test: there is no", "columns.txt: ", "labels.T: ", "instructoin: no such key"):
        assert problem in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no such task card"),
        (b"zebra has fever", "own.toml is not valid TOML"),
        (b"\xff", "own.toml is not UTF-8 text"),
        (b"a = " + b"[" * 5000, "not valid TOML; found arrays or tables nested too deep"),
    ],
)
def test_what_is_no_card_is_named_and_not_quoted(content, message, tmp_path):
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    assert message in refusal(path)


def test_a_link_to_itself_is_no_file(write, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert "train: there is no file or folder " in refusal(write(data={"train": "loop"}))


def test_a_card_with_a_byte_order_mark_is_read(write):
    path = write(files=NOTES)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load(path).train) == 7


# The catalogue


def test_the_catalogue_takes_the_path_of_a_card(write, monkeypatch, tmp_path):
    path = write(files=NOTES)
    assert catalogue.get(str(path)).name == "own"
    assert "own" not in catalogue.names()
    monkeypatch.chdir(tmp_path)
    assert catalogue.load("own.toml") is catalogue.load(str(path))
    assert catalogue.load("own.toml") == load(path)


def test_a_task_s_name_is_not_one_of_the_catalogue(write):
    with pytest.raises(InputError, match="name: the catalogue has a task of this name, wanted a name of its own, found 'rqe'"):
        catalogue.get(str(write(files=NOTES, name="rqe")))
