"""What a card says of its files' columns and labels: by split, by number, by file, questions alone, labels in any case."""

from __future__ import annotations

import pytest

from mpdd.data.cards import card_file
from mpdd.data.cards.labelled import Naming, read_labelled
from mpdd.data.task import SPLITS
from mpdd.data.types import render_input
from tests.data import brat_cases
from tests.data.cards.conftest import SECRET, lines, load, record, refusal, table


def everything(found):
    return [example for split in SPLITS for example in found[split]]


# Columns of each split


def renamed(kind, names, numbers):
    """Records under other names for their columns."""
    return lines([{names.get(key, key): value for key, value in record(kind, n).items()} for n in numbers])


@pytest.mark.parametrize("kind", ["ner", "single", "nli"])
def test_the_columns_of_a_split_come_before_those_of_all(kind, write):
    files = {
        "train.jsonl": renamed(kind, {"text": "note", "answer": "code"}, range(10)),
        "test.jsonl": renamed(kind, {"text": "report", "answer": "code"}, range(20, 25)),
    }
    shared = {"text": "note"} | ({} if kind == "ner" else {"answer": "code"})
    found = load(write(kind, files, {"test": "test.jsonl", "columns": {**shared, "test": {"text": "report"}}}), strict=True)
    assert [len(found[split]) for split in SPLITS] == [9, 1, 5]
    assert {example.text for example in found.test} == {record(kind, n)["text"] for n in range(20, 25)}
    without = write(kind, files, {"test": "test.jsonl", "columns": {**shared, "text": "note"}})
    assert "test.jsonl lacks columns" in refusal(without)


def test_a_split_may_use_our_own_name_again(write):
    files = {"train.jsonl": renamed("single", {"text": "note"}, range(10)), "test.jsonl": renamed("single", {}, range(20, 25))}
    found = load(write("single", files, {"test": "test.jsonl", "columns": {"text": "note", "test": {"text": "text"}}}))
    assert len(found.test) == 5


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"test": {"txt": "a"}}, "columns.test.txt: no such column, perhaps text"),
        ({"tset": {"text": "a"}}, "columns.tset: should be a column's name, or a list of several; a table is for one of train, "),
        ({"test": {"text": {"a": "b"}}}, "columns.test: text should be a column's name, or a list of several"),
        ({"test": {"text": ["a", "b"]}}, "columns.test.text: should be one column"),
        ({"test": {"text": 3}}, "columns.test: should be a column's name, or a list of several (or numbers, with headerless"),
    ],
)
def test_wrong_columns_of_a_split_are_named(columns, problem, write):
    assert problem in refusal(write("single", {"train.jsonl": "{}"}, {"columns": columns}))


# Tables without a header line


def headerless(delimiter):
    rows = [{"answer": "malignant", "id": n, "text": record("single", n)["text"]} for n in range(10)]
    return table(rows, delimiter).partition("\r\n")[2]


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
@pytest.mark.parametrize("numbers", [{"answer": 1, "text": 3, "id": 2}, {"answer": "1", "text": "3", "id": "2"}])
@pytest.mark.parametrize("named", [True, False])
def test_columns_by_number(name, delimiter, numbers, named, write):
    data = {"format": name[2:] if named else "", "train": name, "headerless": True, "columns": numbers}
    found = load(write("single", {name: headerless(delimiter)}, data), strict=True)
    assert {example.text for example in everything(found)} == {record("single", n)["text"] for n in range(10)}
    assert {example.id for example in everything(found)} == {f"own:train:{n}" for n in range(10)}


def test_options_by_number(write):
    rows = [{"text": record("choice", n)["text"], "a": "glioma", "b": "lymphoma", "answer": "B"} for n in range(10)]
    data = {"format": "csv", "train": "a.csv", "headerless": True, "columns": {"text": 1, "choices": [2, 3], "answer": 4}}
    found = load(write("choice", {"a.csv": table(rows).partition("\r\n")[2]}, data), strict=True)
    assert {(e.choices, e.gold.choice) for e in everything(found)} == {(("glioma", "lymphoma"), 1)}


def test_a_row_with_cells_too_many_is_counted_even_as_the_first(write):
    data = {"format": "csv", "train": "a.csv", "headerless": True, "columns": {"answer": 1, "text": 3}}
    found = load(write("single", {"a.csv": f"benign,0,{SECRET},more\n" + headerless(",")}, data))
    assert (len(everything(found)), found.notes) == (10, {"skipped: wrong number of cells (truncated?)": 1})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"columns": {"text": 1}}, "in headerless files each is a number from 1 on, missing for answer (train)"),
        ({"columns": {"text": "note", "answer": 2}}, "in headerless files each is a number from 1 on, not note (train)"),
        ({"columns": {"text": 0, "answer": 2}}, "columns.text: should be a column's name"),
        ({"format": "jsonl", "columns": {"text": 1, "answer": 2}}, "headerless: jsonl files have no header line, wanted format"),
        ({"columns": {"text": 4, "answer": 1}}, "a.csv lacks columns; found 3 others; wanted 4."),
        ({"headerless": False, "columns": {"text": 3, "answer": 1}}, "or numbers, with headerless = true"),
        (
            {"headerless": False, "columns": {"text": "3", "answer": "1"}},
            "by number if it has no header and is headerless = true",
        ),
    ],
)
def test_numbers_that_do_not_fit_are_named(data, problem, write):
    data = {"format": "csv", "train": "a.csv", "headerless": True} | data
    said = refusal(write("single", {"a.csv": headerless(",")}, data))
    assert problem in said and "Case" not in said


def test_labelled_files_may_be_headerless(tmp_path, write):
    card = card_file.read(write("single", {"train.jsonl": "{}"})).card
    (tmp_path / "a.csv").write_text(headerless(","))
    examples, _ = read_labelled(card, [tmp_path / "a.csv"], Naming(columns={"answer": "1", "text": "3"}, headerless=True))
    assert len(examples) == 10


# Line-aligned files


def aligned(kind, names, numbers):
    """A file for each column."""
    rows = [record(kind, n) for n in numbers]
    return {name: "".join(f"{row[column]}\n" for row in rows) for column, name in names.items()}


@pytest.mark.parametrize(("kind", "columns"), [("summary", ["text", "answer"]), ("nli", ["text", "Hypothesis", "answer"])])
def test_the_lines_of_files_belong_together(kind, columns, write):
    train, test = ({column: f"{split}.{column}" for column in columns} for split in ("train", "test"))
    files = aligned(kind, train, range(10)) | aligned(kind, test, range(20, 25))
    data = {"format": "lines", "train": list(train.values()), "test": list(test.values())}
    found = load(write(kind, files, data), strict=True)
    assert [len(found[split]) for split in SPLITS] == [9, 1, 5]
    assert {e.text for e in everything(found)} == {record(kind, n)["text"] for n in (*range(10), *range(20, 25))}
    turned = data | {split: data[split][::-1] for split in ("train", "test")}
    turned["columns"] = {column: len(columns) - place for place, column in enumerate(columns)}
    assert [e.gold for e in everything(load(write(kind, files, turned)))] == [e.gold for e in everything(found)]


def test_a_blank_line_is_a_record_that_is_skipped_and_the_others_stay_aligned(write):
    files = aligned("summary", {"text": "a", "answer": "b"}, range(11))
    files["b"] = files["b"].replace("Glioma 4 smaller.", "").removesuffix("\n")
    found = load(write("summary", files, {"format": "lines", "train": ["a", "b"]}))
    assert found.notes == {"skipped: field '2' is empty": 1}
    assert all(f"Case {example.gold.text.split()[1]}:" in example.text for example in everything(found))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda files: files | {"b": files["b"] + "more\n"},
            "found a 10 lines, b 11 lines; wanted the same number of lines in each",
        ),
        (lambda files: {**files, "b/x": "y"} if files.pop("b") else files, "b is a folder; wanted line-aligned files, listed"),
    ],
)
def test_files_that_do_not_belong_together_are_named(change, problem, write):
    files = change(aligned("summary", {"text": "a", "answer": "b"}, range(10)))
    assert problem in refusal(write("summary", files, {"format": "lines", "train": ["a", "b"]}))


@pytest.mark.parametrize("data", [{"train": ["a"]}, {"train": ["a", "b"], "columns": {"text": 1, "answer": 3}}])
def test_a_file_for_each_column_is_wanted(data, write):
    files = aligned("summary", {"text": "a", "answer": "b"}, range(10))
    said = refusal(write("summary", files, {"format": "lines", **data}))
    assert f"found {len(data['train'])} files; wanted one each for text, answer, in this order or by number" in said


def test_files_of_lines_hold_no_entities(write):
    assert "lines holds no task of type ner" in refusal(write("ner", {"a": "x"}, {"format": "lines", "train": ["a"]}))


# Questions without a context


@pytest.mark.parametrize("kind", ["choice", "free", "fixed"])
def test_a_question_may_stand_alone(kind, write):
    rows = [{"question": f"What helps in case {n}?", **record(kind, n)} for n in range(10)]
    rows = [{key: row[key] for key in ("question", "choices", "answer") if key in row} for row in rows]
    path = write(kind, {"train.jsonl": lines(rows)}, {"columns": {"text": "question"}}, fields=[], text_field="Question")
    found = load(path, strict=True)
    assert {example.text for example in everything(found)} == {row["question"] for row in rows}
    asked = render_input(card_file.read(path).card, found.train[0])
    assert asked.split("\n")[1].startswith("Question: What helps in case ") and "Context" not in asked and "Text" not in asked


def test_a_card_that_wants_a_context_which_no_question_has_is_told(write):
    rows = [{"Question": f"What helps in case {n}?", "answer": "Rest."} for n in range(10)]
    said = refusal(write("free", {"train.jsonl": lines(rows)}))
    assert "lacks columns; found Question, answer; wanted text. For questions without a context leave fields out" in said


# Labels in another case


def test_a_label_in_another_case_is_unknown_and_named(write):
    rows = [record("single", n) | {"answer": "Malignant" if n < 3 else "benign"} for n in range(13)]
    path = write("single", {"train.jsonl": lines(rows)})
    problem = "field 'answer' has a value that is no label of the card: 'Malignant', not 'malignant'"
    assert load(path).notes == {f"skipped: {problem}": 3}
    said = refusal(path, strict=True)
    assert f"{problem}; wanted 'malignant', or ignore_case = true under [data] of the card" in said
    found = load(write("single", {"train.jsonl": lines(rows)}, {"ignore_case": True}), strict=True)
    assert sum(example.gold.choice == 1 for example in everything(found)) == 3
    mapped = {"labels": {"mal": "malignant"}}
    rows = [row | {"answer": row["answer"].replace("Malignant", "MAL")} for row in rows]
    said = refusal(write("single", {"train.jsonl": lines(rows)}, mapped), strict=True)
    assert "no label of the card: 'MAL', not 'mal'; wanted 'mal', or" in said
    found = load(write("single", {"train.jsonl": lines(rows)}, {**mapped, "ignore_case": True}), strict=True)
    assert sum(example.gold.choice == 1 for example in everything(found)) == 3


@pytest.mark.parametrize("kind", ["ner", "re", "multiple", "nli", "fixed"])
def test_every_type_folds_labels_only_when_asked(kind, write):
    def upper(value):
        return [upper(item) for item in value] if isinstance(value, list) else value.upper() if isinstance(value, str) else value

    rows = [record(kind, n) for n in range(10)]
    for row in rows:
        if kind in ("ner", "re"):
            row["entities"] = [as_object(item) for item in row["entities"]]
            for item in row["entities" if kind == "ner" else "relations"]:
                item["label"] = item["label"].upper()
        else:
            row["answer"] = upper(row["answer"]) if kind != "multiple" else [label.lower() for label in row["answer"]]
    wanted = load(write(kind, {"train.jsonl": lines([record(kind, n) for n in range(10)])}))
    assert "or ignore_case = true under [data]" in refusal(write(kind, {"train.jsonl": lines(rows)}), strict=True)
    found = load(write(kind, {"train.jsonl": lines(rows)}, {"ignore_case": True}), strict=True)
    assert [example.gold for example in everything(found)] == [example.gold for example in everything(wanted)]


def as_object(item):
    return item if isinstance(item, dict) else dict(zip(("start", "end", "label"), item, strict=True))


def test_brat_types_in_any_case(write):
    files = {f"c/{name}": content for name, content in brat_cases.relations().items()}
    data = {"format": "brat", "train": "c"}
    path = write("ner", files, data, labels=["DRUG", "problem"])
    assert "With ignore_case = true under [data], or --ignore-case, labels may be in any case." in refusal(path)
    found = load(write("ner", files, {**data, "ignore_case": True}, labels=["DRUG", "problem"]))
    assert {entity.label for example in everything(found) for entity in example.gold.entities} == {"DRUG", "problem"}
    assert sum(len(example.gold.entities) for example in everything(found)) == 28 and found.losses == {}
    found = load(write("re", files, {**data, "ignore_case": True}, labels=["CAUSES"]))
    assert sum(len(example.gold.relations) for example in everything(found)) == 14
    mapped = write("ner", files, {**data, "ignore_case": True, "labels": {"drug": "Medication"}}, labels=["Medication"])
    assert {entity.label for example in everything(load(mapped)) for entity in example.gold.entities} == {"Medication"}


def test_values_that_differ_in_case_alone_cannot_be_ignored(write):
    data = {"labels": {"b": "benign", "B": "malignant"}}
    path = write("single", {"train.jsonl": lines([record("single", n) | {"answer": "bB"[n % 2]} for n in range(10)])}, data)
    assert {example.gold.choice for example in everything(load(path))} == {0, 1}
    said = refusal(write("single", {}, {**data, "ignore_case": True}))
    assert "labels.B: ignore_case cannot tell it from the value that stands for 'benign'" in said
