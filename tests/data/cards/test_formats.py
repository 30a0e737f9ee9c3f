"""Every format with every type it can hold: the same data gives the same examples, and bad records are counted or named."""

import json

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from mpdd.data.cards.formats import FORMATS
from mpdd.data.task import SPLITS, Entity, Relation
from mpdd.data.types import parse, render_target
from tests.data.cards.conftest import CARDS, lines, load, record, refusal, table

TABLES = ("jsonl", "csv", "tsv", "parquet")


def packed(file_format, records, tmp_path):
    """The content of a table with these records."""
    if file_format != "parquet":
        return {"jsonl": lines, "csv": table, "tsv": lambda rows: table(rows, "\t")}[file_format](records)
    if "entities" in records[0]:  # one type for a column
        records = [r | {"entities": [as_mapping(e) for e in r["entities"]]} for r in records]
    parquet.write_table(pa.Table.from_pylist(records), tmp_path / "x")
    return (tmp_path / "x").read_bytes()


def as_mapping(entity):
    return entity if isinstance(entity, dict) else dict(zip(("start", "end", "label"), entity, strict=True))


def everything(found):
    return [example for split in SPLITS for example in found[split]]


def texts(found):
    return {example.text: (example.gold, example.fields, example.choices) for example in everything(found)}


def gold(kind, found):
    """The gold answer of any example, as words."""
    example = found.train[0]
    answer = example.gold
    return {
        "ner": [(e.label, example.text[e.start : e.end]) for e in answer.entities],
        "re": [(r.label, example.arguments[r.head], example.arguments[r.tail]) for r in answer.relations],
        "choice": [example.choices[answer.choice]] if example.choices else [],
        "multiple": answer.labels,
        "single": answer.choice,
        "fixed": answer.choice,
        "nli": answer.choice,
    }.get(kind, answer.text)


WANTED = {
    "ner": [("Tumour", "glioma"), ("Treatment", "temozolomide")],
    "re": [("treats", ("temozolomide",), ("glioma",))],
    "choice": ["glioma"],
    "multiple": (0, 2),
    "single": 1,
    "fixed": 1,
    "nli": 0,
    "extractive": "glioma",
    "free": "The glioma did.",
}


@pytest.mark.parametrize("file_format", TABLES)
@pytest.mark.parametrize("kind", CARDS)
def test_every_table_holds_every_type(kind, file_format, write, tmp_path):
    records = [record(kind, n) for n in range(10)]
    name = f"train.{file_format}"
    path = write(kind, {name: packed(file_format, records, tmp_path)}, {"format": file_format, "train": name})
    found = load(path, strict=True)
    assert found.notes == {}
    assert [len(found[split]) for split in SPLITS] == [7, 1, 2]
    assert set(texts(found)) == {one["text"] for one in records}
    card = CARDS[kind]
    if kind in WANTED:
        assert gold(kind, found) == WANTED[kind]
    else:
        assert gold(kind, found).startswith("Glioma ")
    assert [name for name, _ in found.train[0].fields] == card.get("fields", [])


@pytest.mark.parametrize("kind", CARDS)
def test_answers_read_back_and_formats_agree(kind, write, tmp_path):
    from mpdd.data.cards import card_file

    records, seen = [record(kind, n) for n in range(10)], []
    for file_format in TABLES:
        name = f"train.{file_format}"
        path = write(kind, {name: packed(file_format, records, tmp_path)}, {"format": file_format, "train": name})
        task = card_file.read(path)
        found = task.load(tmp_path)
        assert all(parse(task.card, e, render_target(task.card, e)).answer == e.gold for e in everything(found))
        seen.append(texts(found))
    assert seen.count(seen[0]) == len(TABLES)


# brat, SQuAD, i2b2


ANN = "T1\tSign 0 5\tFever\nT2\tDrug 12 19\taspirin\nR1\tCauses Arg1:T2 Arg2:T1\t\n"


@pytest.fixture
def brat():
    """Ten documents, whose texts differ in their last word."""
    return {f"train/{n}.{end}": c for n in range(10) for end, c in (("txt", f"Fever after aspirin, day {n}."), ("ann", ANN))}


def test_brat_entities_by_their_names_or_ours(brat, write):
    data = {"format": "brat", "train": "train", "labels": {"Sign": "Symptom"}}
    found = load(write("ner", brat, data, labels=["Symptom", "Drug"]), strict=True)
    assert [len(found[split]) for split in SPLITS] == [7, 1, 2]
    assert all(e.gold.entities == (Entity(0, 5, "Symptom"), Entity(12, 19, "Drug")) for e in everything(found))
    few = load(write("ner", brat, data | {"labels": {}}, labels=["Drug"]))
    assert all(e.gold.entities == (Entity(12, 19, "Drug"),) for e in everything(few))
    assert few.notes == {"mentions of other types": 10}


def test_brat_relations(brat, write):
    data = {"format": "brat", "train": "train", "labels": {"Causes": "leads to"}}
    found = load(write("re", brat, data, labels=["leads to"]), strict=True)
    assert all(e.gold.relations == (Relation("leads to", "12:19", "0:5"),) for e in everything(found))
    assert found.train[0].arguments == {"0:5": ("Fever",), "12:19": ("aspirin",)}


def test_brat_folders_that_number_their_documents_alike_lose_nothing(brat, write):
    other = {name.replace("train/", "more/"): content.replace("day", "week") for name, content in brat.items()}
    test = {name.replace("train/", "test/"): content.replace("day", "month") for name, content in brat.items()}
    data = {"format": "brat", "train": ["train", "more"], "test": "test"}
    found = load(write("ner", brat | other | test, data, labels=["Drug"]))
    assert [len(found[split]) for split in SPLITS] == [18, 2, 10]
    assert len({e.id for e in everything(found)}) == 30
    assert found.notes == {"mentions of other types": 30}


def test_long_notes_come_in_windows_and_what_lies_across_them_is_counted(write):
    rows = []
    for n in range(10):
        text = " ".join(f"Sentence {i} of long note {n} says little." for i in range(40)) + " The glioma shrank."
        spans = [(text.index("glioma"), text.index("glioma") + 6, "Tumour"), (0, len(text) - 1, "Treatment")]
        rows.append({"text": text, "entities": spans})
    found = load(write(files={"train.jsonl": lines(rows)}))
    assert max(len(e.text) for e in everything(found)) <= 400
    assert {e.text[s.start : s.end] for e in everything(found) for s in e.gold.entities} == {"glioma"}
    assert sum(e.lost for e in everything(found)) == found.notes["entities across a window's edge"] == 10
    assert len({e.document for e in everything(found)}) == 10


def squad(answers):
    articles = [
        {"paragraphs": [{"context": c, "qas": [{"question": q, "answers": [{"text": a, "answer_start": c.index(a)}]}]}]}
        for c, q, a in answers
    ]
    return json.dumps({"version": "1", "data": articles})


def test_squad_gives_the_window_with_the_answer(write):
    long = " ".join(f"Sentence {n} of this long article says very little at all." for n in range(60))
    content = squad([(f"{long} Fever came on day {n}. {long}", f"When {n}?", f"day {n}") for n in range(10)])
    found = load(write("extractive", {"train.json": content}, {"format": "squad", "train": "train.json"}))
    assert [len(found[split]) for split in SPLITS] == [7, 1, 2]
    for example in everything(found):
        assert example.gold.text in example.text and len(example.text) <= 1200
        assert example.offset > 2000
        assert example.fields == (("Question", f"When {example.gold.text.removeprefix('day ')}?"),)


def test_long_texts_of_a_table_give_the_window_with_the_answer_too(write):
    long = " ".join(f"Sentence {n} of this long article says very little at all." for n in range(60))
    rows = [{"text": f"{long} Day {n} was it. {long}", "Question": "When?", "answer": f"day {n}"} for n in range(10)]
    found = load(write("extractive", {"train.jsonl": lines(rows)}))
    assert all(e.gold.text in e.text and len(e.text) <= 1200 and e.offset > 2000 for e in everything(found))
    assert all(e.gold.text.startswith("Day ") for e in everything(found))  # as the text has it


@pytest.mark.parametrize("name", ["i2b2-2010", "i2b2-2012"])
def test_i2b2_formats_hold_entities_and_relations(name):
    assert FORMATS[name].holds("ner", "") and FORMATS[name].holds("re", "")
    assert not FORMATS[name].holds("qa", "extractive")


def test_i2b2_2010_files_become_examples(write):
    files = {}
    for n in range(10):
        files[f"train/txt/{n}.txt"] = f"Fever on day {n} .\n"
        files[f"train/concept/{n}.con"] = 'c="fever" 1:0 1:0||t="problem"\n'
    found = load(write("ner", files, {"format": "i2b2-2010", "train": "train"}, labels=["problem"]), strict=True)
    assert all(e.gold.entities == (Entity(0, 5, "problem"),) for e in everything(found))
    assert len(everything(found)) == 10


# Bad input


def test_a_missing_column_is_named_with_a_near_one_and_no_other(write):
    rows = [{"note": record("ner", 1)["text"], "zebra zebra": 1, "entites": []}]
    for file_format, content in (("jsonl", lines(rows)), ("csv", table(rows)), ("tsv", table(rows, "\t"))):
        name = f"train.{file_format}"
        path = write(files={name: content}, data={"format": file_format, "train": name, "columns": {"text": "note", "id": "nr"}})
        said = refusal(path)
        assert f"{name} lacks columns; found 3 others, perhaps entites; wanted entities, nr" in said
        assert "[data.columns]" in said


@pytest.mark.parametrize(
    ("file_format", "content", "problem"),
    [
        ("jsonl", "", "train.jsonl is empty"),
        ("csv", "", "train.csv is empty"),
        ("csv", "text,entities\n", "train.csv has no usable record"),
        ("parquet", "zebra", "train.parquet cannot be read as parquet"),
        ("jsonl", b"\xff\xfe", "is not UTF-8 text; found UTF-16 text; wanted UTF-8"),
        ("brat", "zebra", "train.brat cannot be read"),
        (
            "jsonl",
            "zebra\n" * 3,
            "train.jsonl has no usable record; found 3 skipped: not valid JSON (truncated?); wanted at least",
        ),
        ("csv", "text;entities\n1,2;3\n", "train.csv has no usable record; found 1 skipped: wrong number of cells (truncated?)"),
        ("csv", "text,entities,text\na,[],b\n", "has columns of the same name (line 1); found 3 names, 2 of them different"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(file_format, content, problem, write):
    name = f"train.{file_format}"
    assert problem in refusal(write(files={name: content}, data={"format": file_format, "train": name}))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"data": ' + "9" * 5000 + "}"])
def test_json_that_python_cannot_hold_is_one_sentence(content, write):
    said = refusal(write("extractive", {"a.json": content}, {"format": "squad", "train": "a.json"}))
    assert "a.json is not JSON that can be read; found a number too long, or nesting too deep; wanted one JSON object" in said


def test_halves_of_surrogate_pairs_are_noted_wherever_they_stand(write):
    found = json.loads(squad([(f"Fever on day {n}.", f"When {n}?", f"day {n}") for n in range(13)]))
    paragraphs = [article["paragraphs"][0] for article in found["data"]]
    paragraphs[0]["context"] = paragraphs[1]["document_id"] = paragraphs[2]["qas"][0]["question"] = "\ud800"
    read = load(write("extractive", {"a.json": json.dumps(found)}, {"format": "squad", "train": "a.json"}))
    assert read.notes == {f"skipped: field {name!r} is not Unicode": 1 for name in ("context", "document", "question")}


def test_a_time_that_python_cannot_hold_is_one_sentence(write, tmp_path):
    times = pa.array([2**62] * 10, pa.timestamp("us"))
    parquet.write_table(pa.table({"text": ["a"] * 10, "entities": ["[]"] * 10, "when": times}), tmp_path / "a.parquet")
    assert "cannot be read as parquet" in refusal(write(data={"format": "parquet", "train": "a.parquet"}))


def test_folders_are_read_through_links_once_and_without_what_is_hidden(write, tmp_path):
    rows = lines([record("ner", n) for n in range(10)])
    files = {"all/a.jsonl": rows, "all/.ipynb_checkpoints/a-checkpoint.jsonl": rows, "all/sub.jsonl/readme.md": "x"}
    path = write(files=files | {"elsewhere/b.jsonl": lines([record("ner", 10)])}, data={"train": "all"})
    (tmp_path / "all/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "all")
    found = load(path)
    assert (len(everything(found)), found.notes) == (11, {})


def test_a_text_without_annotations_is_counted(brat, write):
    path = write("ner", brat | {"train/lonely.txt": "zebra"}, {"format": "brat", "train": "train"}, labels=["Sign", "Drug"])
    assert load(path).notes == {"texts without annotations": 1}


def test_lines_that_a_quote_takes_along_are_counted(write):
    rows = "answer\ttext\n" + "".join(f"benign\t{'' if n != 15 else chr(34)}case {n} went home\n" for n in range(20))
    found = load(write("single", {"a.tsv": rows}, {"format": "tsv", "train": "a.tsv"}))
    assert len(everything(found)) == 19  # the one row is lost, and reading goes on at the next line that begins as others do
    assert found.notes == {"skipped: a quote that is never closed (truncated?)": 1}


def test_an_offset_of_thousands_of_digits_is_no_offset(brat, write):
    brat["train/3.ann"] = f"T1\tSign 0 {'9' * 5000}\tFever\n"
    found = load(write("ner", brat, {"format": "brat", "train": "train"}, labels=["Sign", "Drug"]))
    assert found.notes == {"skipped: mention cut short or malformed": 1}


def test_a_folder_without_files_of_the_format_is_named(write):
    assert "holds no file that ends in .csv" in refusal(write(files={"a/b.txt": "x"}, data={"format": "csv", "train": "a"}))


BAD = [
    ('{"text": "zebra', "line 11: not valid JSON (truncated?)"),
    ('{"entities": []}', "line 11: field 'text' is missing"),
    ('{"text": " ", "entities": []}', "line 11: field 'text' is empty"),
    ('{"text": 3, "entities": []}', "line 11: field 'text' is a int"),
    ('{"text": "\\ud800", "entities": []}', "line 11: field 'text' is not Unicode"),
    ('{"text": "zebra"}', "line 11: field 'entities' is missing"),
    ('{"text": "zebra", "entities": "zebra"}', "line 11: field 'entities' is not a list"),
    ('["zebra"]', "line 11: a JSON list"),
    ("[" * 100_000, "line 11: not valid JSON (truncated?)"),
    ('{"text": "zebra", "entities": "[{[1]: 2}]"}', "line 11: field 'entities' is not a list"),
]


@pytest.mark.parametrize(("line", "problem"), BAD)
def test_a_bad_record_is_counted_or_named_with_file_line_and_field(line, problem, write):
    content = lines([record("ner", n) for n in range(10)]) + line + "\n" + lines([record("ner", 11)])
    path = write(files={"train.jsonl": content})
    found = load(path)
    assert len(everything(found)) == 11
    assert found.notes == {"skipped: " + problem.partition(": ")[2]: 1}
    assert f"train.jsonl {problem}; wanted " in refusal(path, strict=True)
    assert f"train.jsonl {problem}; wanted " in refusal(write(data={"strict": True}))
    assert len(everything(load(path, strict=False))) == 11


ITEMS = [
    ([0, 999, "Tumour"], "entity with offsets outside its text"),
    ([-1, 3, "Tumour"], "entity with offsets outside its text"),
    ([5, 5, "Tumour"], "entity with offsets outside its text"),
    ([4, 5, "Tumour"], "entity with offsets outside its text"),
    (["0", 4, "Tumour"], "entity with offsets outside its text"),
    ([0, 4.5, "Tumour"], "entity with offsets outside its text"),
    ([0, 10**400, "Tumour"], "entity with offsets outside its text"),
    ([True, 4, "Tumour"], "entity with offsets outside its text"),
    ([0, 4, "Tumor"], "entity with a label that the card lacks"),
    ([0, 4], "entity without the key 'label' (found end, start)"),
    ({"start": 0, "ende": 4, "label": "Tumour"}, "entity without the key 'end' (found ende, label, start, perhaps ende)"),
    ({"begin": 0, "stop": 4, "klass": "Tumour"}, "entity without the key 'label' (found begin, klass, stop, perhaps klass)"),
    ({"start": 0, "end": 4, "label": ["Tumour", "x"]}, "entity with several labels"),
    ({"start": 0, "end": 4, "label": "Tumour", "text": "lion"}, "entity that its offsets do not give"),
    (3, "entity that is malformed"),
]


@pytest.mark.parametrize(("item", "problem"), ITEMS)
def test_a_bad_entity_is_left_out_and_the_rest_of_its_record_kept(item, problem, write):
    rows = [record("ner", n) for n in range(10)]
    rows[4]["entities"].append(item)
    path = write(files={"train.jsonl": lines(rows)})
    found = load(path)
    assert all(len(e.gold.entities) == 2 for e in everything(found)) and len(everything(found)) == 10
    assert found.notes == {f"skipped: {problem}": 1}
    assert f"train.jsonl line 5 field 'entities' item 3: {problem}; wanted " in refusal(path, strict=True)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"label": "treats", "head": "b", "tail": "c"}, "relation without two known entities"),
        ({"label": "treats", "head": 1, "tail": 0}, "relation without two known entities"),
        ({"label": "treats", "head": "b"}, "relation without the key 'tail' (found head, label)"),
        ({"kind": "treats", "head": "b", "tail": "a"}, "relation without the key 'label' (found head, kind, tail)"),
        ({"label": "cures", "head": "b", "tail": "a"}, "relation with a label that the card lacks"),
        (["treats", "b", "a"], "relation that is malformed"),
    ],
)
def test_a_bad_relation_is_left_out(item, problem, write):
    rows = [record("re", n) for n in range(10)]
    rows[4]["relations"].append(item)
    path = write("re", {"train.jsonl": lines(rows)})
    assert load(path).notes == {f"skipped: {problem}": 1}
    assert f"line 5 field 'relations' item 2: {problem}; wanted " in refusal(path, strict=True)


def test_relations_name_entities_by_place_where_these_have_no_id(write):
    rows = [record("re", n) for n in range(10)]
    for row in rows:
        row["entities"] = [[e["start"], e["end"]] for e in row["entities"]]
        row["relations"] = [{"label": "treats", "head": 1, "tail": "0"}]
    found = load(write("re", {"train.jsonl": lines(rows)}), strict=True)
    assert gold("re", found) == WANTED["re"]


def test_ids_of_entities_do_not_matter_where_there_are_no_relations(write):
    rows = [record("ner", n) for n in range(10)]
    for row in rows:
        row["entities"] = [{"start": 0, "end": 4, "label": "Tumour", "id": "C01"}, *row["entities"]]
        row["entities"][1]["id"] = "C01"
    found = load(write(files={"train.jsonl": lines(rows)}), strict=True)
    assert all(len(e.gold.entities) == 3 for e in everything(found))


def test_two_entities_of_one_id_are_noted(write):
    rows = [record("re", n) for n in range(10)]
    rows[0]["entities"].append({"start": 0, "end": 4, "id": "a"})
    found = load(write("re", {"train.jsonl": lines(rows)}))
    assert found.notes == {"skipped: entity with an id that another has, or without one": 1}


def test_cells_too_many_are_noted_by_line(write):
    rows = [record("single", n) for n in range(10)]
    content = table(rows).replace("Case 3", "Case, 3").replace('"Case, 3', "Case, 3").replace('21."', "21.")
    assert content.count('"') == 18
    path = write("single", {"train.csv": content}, {"format": "csv", "train": "train.csv"})
    assert load(path).notes == {"skipped: wrong number of cells (truncated?)": 1}
    assert "train.csv line 5: wrong number of cells (truncated?); wanted 2 cells, not 4" in refusal(path, strict=True)


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("single", {"answer": "zebra"}, "field 'answer' has a value that is no label of the card"),
        ("single", {"answer": ["benign", "malignant"]}, "field 'answer' holds several values"),
        ("single", {"answer": []}, "field 'answer' is empty"),
        ("single", {"answer": None}, "field 'answer' is missing"),
        ("free", {"answer": float("nan")}, "field 'answer' is missing"),
        ("multiple", {"answer": ["I10", "zebra"]}, "field 'answer' has a value that is no label of the card"),
        ("nli", {"Hypothesis": ""}, "field 'Hypothesis' is empty"),
        ("fixed", {"answer": "maybe"}, "field 'answer' has a value that is no label of the card"),
        ("extractive", {"answer": "zebras"}, "field 'answer' is not in the text"),
        ("choice", {"answer": "zebra"}, "field 'answer' names no option"),
        ("choice", {"answer": 3}, "field 'answer' names no option"),
        ("choice", {"answer": "d"}, "field 'answer' names no option"),
        ("choice", {"choices": ["a"]}, "field 'choices' has no two options, or a blank one"),
        ("choice", {"choices": ["a", " "]}, "field 'choices' has no two options, or a blank one"),
        ("summary", {"answer": "\ud800"}, "field 'answer' is not Unicode"),
    ],
)
def test_an_answer_that_does_not_fit_is_counted_or_named(kind, change, problem, write):
    rows = [record(kind, n) for n in range(10)]
    rows[7] |= change
    path = write(kind, {"train.jsonl": lines(rows)})
    assert load(path).notes == {f"skipped: {problem}": 1}
    assert f"train.jsonl line 8: {problem}; wanted " in refusal(path, strict=True)


def test_when_nothing_fits_the_commonest_reason_is_given(write):
    rows = [record("single", n) | {"answer": "zebra"} for n in range(10)]
    said = refusal(write("single", {"train.jsonl": lines(rows)}))
    assert "own.toml: the train data has no usable record; found 10 skipped: field 'answer' has a value that is no label" in said


# Values


@pytest.mark.parametrize(
    ("answer", "index"),
    [("glioma", 0), ("GLIOMA ", 0), ("b", 1), ("B", 1), (1, 1), (0, 0), ("2", 2), (2.0, 2), ("neither", 2)],
)
def test_a_choice_by_words_letter_or_number(answer, index, write):
    rows = [record("choice", n) | {"answer": answer} for n in range(10)]
    assert {e.gold.choice for e in everything(load(write("choice", {"train.jsonl": lines(rows)}), strict=True))} == {index}


LETTERED = {"A": "glioma", "B": "lymphoma", "C": "neither"}


@pytest.mark.parametrize("choices", ["glioma|lymphoma | neither", '["glioma", "lymphoma", "neither"]', LETTERED])
def test_options_in_one_cell(choices, write):
    rows = [record("choice", n) | {"choices": choices, "answer": "B"} for n in range(10)]
    found = everything(load(write("choice", {"train.jsonl": lines(rows)}), strict=True))
    assert {(e.choices, e.gold.choice) for e in found} == {(("glioma", "lymphoma", "neither"), 1)}


def test_options_in_columns_of_their_own_counted_from_one(write):
    rows = [{"text": record("choice", n)["text"], "opa": "x", "opb": "y", "opc": "z" if n else "", "cop": 2} for n in range(10)]
    data = {"format": "csv", "train": "a.csv", "columns": {"choices": ["opa", "opb", "opc"], "answer": "cop"}}
    data["labels"] = {"1": "A", "2": "B", "3": "C"}
    found = everything(load(write("choice", {"a.csv": table(rows)}, data), strict=True))
    assert {e.gold.choice for e in found} == {1}
    assert {e.choices for e in found} == {("x", "y"), ("x", "y", "z")}


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        ("I10", (0,)),
        ("N18;I10", (0, 2)),
        ("E11 | I10", (0, 1)),
        ("['I10', 'E11']", (0, 1)),
        ('["N18"]', (2,)),
        ("[]", ()),
        ("", ()),
        ([], ()),
    ],
)
def test_several_labels_in_a_cell(answer, labels, write):
    rows = [record("multiple", n) | {"answer": answer} for n in range(10)]
    assert {e.gold.labels for e in everything(load(write("multiple", {"train.jsonl": lines(rows)}), strict=True))} == {labels}


def test_a_label_that_holds_a_semicolon_is_read_whole(write):
    rows = [record("multiple", n) | {"answer": "a;b"} for n in range(10)]
    found = load(write("multiple", {"train.jsonl": lines(rows)}, labels=["a;b", "a"]), strict=True)
    assert {e.gold.labels for e in everything(found)} == {(0,)}


@pytest.mark.parametrize(("value", "name"), [(True, "true"), (0, "0"), (1.0, "1"), ("e", "e")])
def test_the_file_s_values_are_mapped_to_labels(value, name, write):
    rows = [record("nli", n) | {"answer": value} for n in range(10)]
    found = load(write("nli", {"train.jsonl": lines(rows)}, {"labels": {name: "neutral"}}), strict=True)
    assert {e.gold.choice for e in everything(found)} == {1}


def test_an_answer_is_taken_where_it_is_said_to_start(write):
    rows = [{"text": f"No fever. No rash {n}.", "Question": "What?", "answer": "No", "answer_start": 10} for n in range(10)]
    text = "x. " * 500 + rows[0]["text"]
    rows = [row | {"text": "x. " * 500 + row["text"], "answer_start": text.rindex("No")} for row in rows]
    found = everything(load(write("extractive", {"train.jsonl": lines(rows)}), strict=True))
    assert all(e.offset > 0 and e.gold.text == "No" for e in found)


@pytest.mark.parametrize("blank", ["", " ", None, float("nan")])
def test_a_blank_id_stands_for_none(blank, write):
    rows = [record("single", n) | {"id": blank if n % 2 else n} for n in range(10)]
    found = load(write("single", {"train.jsonl": lines(rows)}), strict=True)
    wanted = {"0", "2", "4", "6", "8", *(f"train:{n}" for n in (2, 4, 6, 8, 10))}
    assert {e.id.removeprefix("own:train:") for e in everything(found)} == wanted


def test_an_id_like_one_that_was_made_unique_stays_apart(write):
    rows = [record("ner", n) | {"id": name} for n, name in enumerate(["a", "a#2", "a", "a", *"bcdefg"])]
    found = load(write(files={"train.jsonl": lines(rows)}))
    assert len({e.id for e in everything(found)}) == len({e.document for e in everything(found)}) == 10
    assert found.notes == {"ids that an earlier record has": 2}


def test_where_an_answer_starts_may_be_digits_in_a_cell(write):
    rows = [{"text": "x. " * 500 + f"No {n}. No rash.", "Question": "What?", "answer": " No"} for n in range(10)]
    rows = [row | {"answer_start": str(row["text"].rindex(" No"))} for row in rows]
    rows[3]["text"], rows[4]["answer_start"], rows[5]["answer_start"] = f"No. {rows[3]['text']}", "zebra", ""
    data = {"format": "csv", "train": "a.csv"}
    found = load(write("extractive", {"a.csv": table(rows)}, data))
    assert found.notes == {
        "answers that stand elsewhere than at their offset": 1,
        "skipped: field 'answer_start' is no whole number": 1,
    }
    assert len(everything(found)) == 9


def test_ids_are_kept_and_made_unique(write):
    rows = [record("single", n) | {"nr": n // 2} for n in range(10)]
    found = load(write("single", {"train.jsonl": lines(rows)}, {"columns": {"id": "nr"}}))
    assert {e.id.split(":")[-1] for e in everything(found)} == {f"{n}{end}" for n in range(5) for end in ("", "#2")}
    assert found.notes == {"ids that an earlier record has": 5}
