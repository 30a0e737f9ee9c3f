"""Notes are read from texts, folders and tables as their users have them, and never quoted in an error."""

from __future__ import annotations

import csv
import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.annotate.note_files import columns_of, read_inputs, read_notes
from mpdd.annotate.notes import Note
from mpdd.errors import InputError
from tests.cases import CASES

ROWS = [
    {"id": "a", "text": "aspirin, \"given\"\r\nat 8 h 💊\n", "Question": "Which?", "choices": "one|two"},
    {"id": "b", "text": "line\u2028separator\x85", "Question": "ﬁn?", "choices": "x; y|z"},
]  # fmt: skip


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_csv_of_a_spreadsheet(path, rows):
    write_csv(path, rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def write_parquet(path, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize(
    ("ending", "write"),
    [
        (".jsonl", write_jsonl),
        (".csv", write_csv),
        (".csv", write_csv_of_a_spreadsheet),
        (".CSV", write_csv),
        (".parquet", write_parquet),
    ],
)
def test_every_table_gives_the_same_notes(tmp_path, ending, write):
    path = tmp_path / f"notes{ending}"
    write(path, ROWS)
    assert read_notes(path) == [
        Note("a", ROWS[0]["text"], {"Question": "Which?"}, ("one", "two")),
        Note("b", ROWS[1]["text"], {"Question": "ﬁn?"}, ("x; y", "z")),
    ]


def test_a_text_file_is_one_note_as_it_is(tmp_path):
    path = tmp_path / "ward 3.txt"
    path.write_bytes("\tFieber\r\n\r\n38,5 °C \n".encode())
    assert read_notes(path) == [Note("ward 3", "\tFieber\r\n\r\n38,5 °C \n", {})]


def test_choices_may_be_a_list_and_notes_without_an_id_are_numbered(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "choices": ["p|q", 2]}, {"text": "y", "id": None, "choices": None}])
    assert read_notes(tmp_path / "a.jsonl") == [Note("1", "x", {}, ("p|q", "2")), Note("2", "y", {})]


def test_empty_cells_are_missing_not_words(tmp_path):
    """An absent value must not reach the model as the text "None"."""
    (tmp_path / "a.csv").write_text("text,choices,Question\nfever,,\n", encoding="utf-8")
    write_jsonl(tmp_path / "a.jsonl", [{"text": "fever", "Question": None, "choices": ""}])
    write_parquet(tmp_path / "a.parquet", [{"text": "fever", "Question": None, "choices": None}])
    for ending in ("csv", "jsonl", "parquet"):
        (note,) = read_notes(tmp_path / f"a.{ending}")
        assert note.choices == ()
        assert not note.fields.get("Question")


def test_a_very_long_note_in_a_table_is_read_whole(tmp_path):
    text = "fever, " * 50_000
    write_csv(tmp_path / "a.csv", [{"text": text}])
    assert read_notes(tmp_path / "a.csv")[0].text == text


def test_blank_lines_between_json_lines_are_skipped(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\r\n{"text": "one"}\r\n\r\n  \n{"text": "two"}')
    assert [note.text for note in read_notes(tmp_path / "a.jsonl")] == ["one", "two"]


SECRET = "ZZPATIENTNAMEZZ"
UNREADABLE = [
    ("a.txt", b"", "a.txt is empty"),
    ("a.txt", b" \r\n\t\n", "a.txt is empty"),
    (
        "a.txt",
        b"ZZPATIENTNAMEZZ \xff",
        "a.txt is not UTF-8 text; found another encoding on line 1 (byte 16), perhaps Windows-1252",
    ),
    ("a.txt", "ZZPATIENTNAMEZZ".encode("utf-16"), "a.txt is not UTF-8 text; found UTF-16 text; wanted UTF-8"),
    ("a.csv", b"text,Question\n", "a.csv is empty"),
    ("a.csv", b"id,text\n1,\n2,  \n", "a.csv is empty"),
    ("a.csv", b"ZZPATIENTNAMEZZ has a fever\nand a cough\n", "a.csv, row 1: no text; found 1 columns"),
    (
        "a.csv",
        b"id,text\n1,ZZPATIENTNAMEZZ has fever, cough\n",
        "a.csv, row 1 (line 2) cannot be trusted; found wrong number of cells (truncated?), with commas between",
    ),
    ("a.csv", b"id,text\n1\n", "a.csv, row 1 (line 2) cannot be trusted; found wrong number of cells"),
    (
        "a.csv",
        b'id,text\n1,"ZZPATIENTNAMEZZ\n2,Fever\n',
        "a.csv, row 1 (line 2) cannot be trusted; found a quote that is never closed",
    ),
    ("a.csv", b'id,text\n1,ZZPATIENTNAMEZZ 6"\n', "found a quote within a cell that does not begin with one"),
    ("a.csv", b"id;text\n1;ZZPATIENTNAMEZZ; fever\n", "with semicolons between cells"),
    ("a.csv", b"id,text,text\n1,ZZPATIENTNAMEZZ,x\n", "has columns of the same name"),
    ("a.csv", b'"id,text\n1,ZZPATIENTNAMEZZ\n', "The header of"),
    ("a.csv", b"id,Note_Text\n1,ZZPATIENTNAMEZZ\n", "found 2 columns; wanted a column text. Perhaps --column text=Note_Text."),
    ("a.csv", b"id,ZZPATIENTNAMEZZ\n1,x\n", "wanted a column text. Name it with --column text=NAME."),
    ("a.csv.gz", b"id,text\n1,ZZPATIENTNAMEZZ\n", "a.csv.gz cannot be unpacked; found damaged or truncated content"),
    ("a.jsonl", b'{"text": "ZZPATIENTNAMEZZ"}\n{"text": "ZZPATIENTNAMEZZ}\n', "a.jsonl line 2: not valid JSON"),
    ("a.jsonl", b"ZZPATIENTNAMEZZ\n", "a.jsonl line 1: not valid JSON"),
    ("a.jsonl", b'["ZZPATIENTNAMEZZ"]\n', "a.jsonl record 1: a JSON str; wanted a JSON object"),
    ("a.jsonl", b'"ZZPATIENTNAMEZZ"\n', "a.jsonl line 1: a JSON str; wanted one JSON object on a line"),
    (
        "a.jsonl",
        b'{"note": "ZZPATIENTNAMEZZ"}\n',
        "a.jsonl line 1: no text; found 1 columns; wanted a column text. Perhaps --column text=note.",
    ),
    ("a.jsonl", b'{"text": ["ZZPATIENTNAMEZZ"]}\n', "a.jsonl line 1: the text cannot be read; found list; wanted a string"),
    ("a.jsonl", b'{"ZZPATIENTNAMEZZ": 1}\n', "a.jsonl line 1: no text"),
    ("a.jsonl", b'{"text": "ZZPATIENTNAMEZZ", "choices": 5}\n', "a.jsonl line 1: choices cannot be read; found int"),
    ("a.jsonl", b'{"text": "ZZPATIENTNAMEZZ \\ud83d"}\n', "a.jsonl line 1: not Unicode"),
    ("a.jsonl", b'{"text": "ZZPATIENTNAMEZZ", "Question": "\\ude00"}\n', "a.jsonl line 1: not Unicode"),
    ("a.jsonl", b"[" * 200_000, "a.jsonl is not JSON that can be read"),
    ("a.jsonl", b'{"text": "ZZPATIENTNAMEZZ", "n": ' + b"1" * 5000 + b"}", "a.jsonl line 1: not valid JSON"),
    ("a.json", b'{"text": {"0": "ZZPATIENTNAMEZZ"}, "id": {"0": 1}}', "the text cannot be read; found dict"),
    ("a.json", b'{"ZZPATIENTNAMEZZ": 1}', "a.json has no list of records"),
    ("a.json", b'[{"text": "ZZPATIENTNAMEZZ"}, 3]', "a.json record 2: a JSON int"),
    ("a.json", b'[{"text": "ZZPATIENTNAMEZZ"}', "a.json is not valid JSON; found an error on line 1"),
    ("a.parquet", b"ZZPATIENTNAMEZZ", "a.parquet cannot be read as parquet"),
    ("a.parquet", b"", "a.parquet is empty"),
    (
        "a.docx",
        b"ZZPATIENTNAMEZZ",
        "a.docx has an unknown format; found .docx; wanted .txt, .jsonl, .ndjson, .json, .csv, .tsv, .parquet",
    ),
    ("note", b"ZZPATIENTNAMEZZ", "note has an unknown format; found no ending"),
]


@pytest.mark.parametrize(("name", "content", "message"), UNREADABLE)
def test_what_cannot_be_read_is_named_and_never_quoted(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_notes(tmp_path / name)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no such input file; found .*none\.txt"):
        read_notes(tmp_path / "none.txt")


# Columns, ids, empty texts


@pytest.mark.parametrize("name", ["n.csv", "n.jsonl", "n.parquet"])
def test_an_empty_text_is_a_note_in_every_format(name):
    assert read_notes(CASES / "rows" / name) == [
        Note("1", "Has breast cancer.", {}),
        Note("2", "", {}),
        Note("3", "Known asthma.", {}),
    ]


def test_numbers_are_shown_as_the_file_shows_them():
    assert [note.id for note in read_notes(CASES / "rows" / "floatid.parquet")] == ["1", "2", "3"]


def test_rows_without_an_id_never_take_that_of_another(tmp_path):
    write_jsonl(
        tmp_path / "a.jsonl", [{"id": 2, "text": "x"}, {"text": "y"}, {"id": float("nan"), "text": "z"}, {"id": " ", "text": "w"}]
    )
    assert [note.id for note in read_notes(tmp_path / "a.jsonl")] == ["2", "row 2", "3", "4"]


def test_rows_that_are_blank_throughout_are_no_notes(tmp_path):
    (tmp_path / "a.csv").write_text("id,text,\n1,fever,\n,,\n2,,\n")
    assert [(note.id, note.text) for note in read_notes(tmp_path / "a.csv")] == [("1", "fever"), ("2", "")]


@pytest.mark.parametrize("name", ["NOTEEVENTS.csv", "NOTEEVENTS.csv.gz"])
def test_columns_may_have_other_names(name):
    columns = columns_of(["text=TEXT", "id=ROW_ID", "Subject=SUBJECT_ID"])
    (note,) = read_notes(CASES / "inputs" / name, columns)
    assert note == Note("1", "Has breast\ncancer.", {"CATEGORY": "Radiology", "Subject": "10"})
    with pytest.raises(InputError, match=r"row 1: no text; found 4 columns; wanted a column text. Perhaps --column text=TEXT\."):
        read_notes(CASES / "inputs" / name)
    with pytest.raises(InputError, match=r"lacks a column; found 4 others; wanted NOTE, as --column says"):
        read_notes(CASES / "inputs" / name, {"text": "NOTE"})


@pytest.mark.parametrize("options", [["text"], ["=TEXT"], ["text="], ["text=A", "text=B"]])
def test_columns_that_are_not_understood(options):
    with pytest.raises(InputError, match="A column is not understood"):
        columns_of(options)


def test_columns_of_inputs_that_have_none_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("fever")
    for path in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(
            InputError, match=r"--column is for tables, and no input is one; found .*; wanted \.jsonl?, .*Leave --col"
        ):
            read_notes(path, {"text": "NOTE"})


# Formats as users have them


@pytest.mark.parametrize("name", ["n.json", "n.tsv", "semi.csv"])
def test_arrays_tabs_and_semicolons_are_read(name):
    assert read_notes(CASES / "inputs" / name) == [Note("1", "Has breast cancer.", {})]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '[{"id": "n", "text": "fever"}]'),
        ("a.json", '{"id": "n", "text": "fever"}'),
        ("a.json", '{"notes": [{"id": "n", "text": "fever"}]}'),
        ("a.json", '{"id": "n", "text": "fever"}\n{"id": "m", "text": "cough"}\n'),
        ("a.jsonl", '\ufeff[\n {"id": "n", "text": "fever"}\n]'),
        ("a.ndjson", '{"id": "n", "text": "fever"}\n'),
        ("a.csv", "id|text\nn|fever\n"),
        ("a.csv", "id\ttext\nn\tfever\n"),
        ("a.csv", ' id , text \nn,fever\n'),
        ("A.TSV", 'id\ttext\nn\tfever\n'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pack", [lambda content: content, gzip.compress])
def test_other_shapes_of_a_table_are_read(tmp_path, name, content, pack):
    path = tmp_path / (name if pack is not gzip.compress else f"{name}.gz")
    path.write_bytes(pack(content.encode()))
    assert read_notes(path)[0] == Note("n", "fever", {})


@pytest.mark.parametrize(("name", "found"), [("cp.csv", "perhaps Windows-1252 (cp1252)"), ("u16.csv", "UTF-16 text")])
def test_another_encoding_is_named(name, found):
    with pytest.raises(InputError) as caught:
        read_notes(CASES / "inputs" / name)
    assert found in str(caught.value) and "iconv" in str(caught.value)


@pytest.mark.parametrize(("name", "row"), [("unclosed.csv", 2), ("spark.csv", 1), ("train.csv", 11)])
def test_a_table_with_broken_quoting_is_refused_at_its_row(name, row):
    with pytest.raises(InputError, match=rf"{name}, row {row} \(line {row + 1}\) cannot be trusted; found a quote"):
        read_notes(CASES / "csv" / name)


def test_a_date_that_python_cannot_hold_is_one_sentence(tmp_path):
    days = pyarrow.array([10_000_000], pyarrow.int32()).cast(pyarrow.date32())
    pyarrow.parquet.write_table(pyarrow.table({"text": ["fever"], "seen": days}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="cannot be read as parquet; found a date or time out of range"):
        read_notes(tmp_path / "a.parquet")


# Folders and several files


def test_a_folder_of_texts_is_notes_called_by_their_paths(tmp_path):
    assert read_notes(CASES / "inputs" / "notes") == [Note("a", "Has breast cancer.\n", {}), Note("b", "Has asthma.\n", {})]
    for name in ("ward 1/a.txt", "ward 1/a.TXT", "b.TXT", "ward 2/a.txt", "ward 2/scan.pdf", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name if "b" not in name else " ")
    read = read_inputs([tmp_path])
    assert [note.id for note in read.notes] == ["b", "ward 1/a.TXT", "ward 1/a.txt", "ward 2/a"]
    assert [note.is_blank for note in read.notes] == [True, False, False, False]
    assert read.remarks == (f"{tmp_path}: files left out that do not end in .txt: 1.",)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "is a folder without texts; found an empty folder; wanted files that end in .txt"),
        (("a.csv", "b.csv"), "found 2 .csv; wanted files that end in .txt. Give its files themselves."),
        (("a.safetensors",), "found 1 .safetensors; wanted files that end in .txt. Give its prompt files themselves."),
    ],
)
def test_a_folder_without_texts_says_what_it_holds(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(InputError) as caught:
        read_notes(tmp_path)
    assert message in str(caught.value)


def test_several_files_are_read_in_order_and_their_rows_can_be_told_apart(tmp_path):
    (tmp_path / "a.csv").write_text("text\nfever\ncough\n")
    (tmp_path / "b.csv").write_text("text\npain\n")
    (tmp_path / "c.txt").write_text("rash")
    read = read_inputs([tmp_path / name for name in ("b.csv", "a.csv", "c.txt")])
    assert [(note.id, note.text) for note in read.notes] == [("b:1", "pain"), ("a:1", "fever"), ("a:2", "cough"), ("c", "rash")]


def test_notes_of_two_files_must_have_different_ids():
    paths = [CASES / "inputs" / name for name in ("n.tsv", "semi.csv")]
    with pytest.raises(InputError, match=r"Notes of two inputs have the same id 1; found .*n\.tsv and .*semi\.csv"):
        read_inputs(paths)
    with pytest.raises(InputError, match="the same id 1"):
        read_inputs([paths[0], paths[0]])


def test_ids_that_come_twice_in_a_table_are_said(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,fever\n1,cough\n")
    assert read_inputs([tmp_path / "a.csv"]).remarks == (f"{tmp_path / 'a.csv'}: notes with the id of an earlier one: 1.",)


CELLS = st.text(st.sampled_from("ab1 ,;\"\n\r\t|\\'\u2028\u00e9"), max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), st.sampled_from(["json", "jsonl", "csv", "tsv", "parquet"]))
def test_every_format_gives_the_same_texts(tmp_path_factory, rows, ending):
    """Whatever stands in a text: the same characters come back, under the same id, in every format."""
    table = [{"id": f"n{number}", "text": text, "Question": field} for number, (text, field) in enumerate(rows)]
    path = tmp_path_factory.mktemp("notes") / f"a.{ending}"
    if ending in ("csv", "tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, table[0], delimiter="," if ending == "csv" else "\t")
            writer.writeheader()
            writer.writerows(table)
    elif ending == "parquet":
        write_parquet(path, table)
    else:
        path.write_text(json.dumps(table) if ending == "json" else "".join(json.dumps(row) + "\n" for row in table))
    if not any(row["text"].strip() for row in table):
        with pytest.raises(InputError, match="is empty"):
            read_notes(path)
        return
    assert [(note.id, note.text) for note in read_notes(path)] == [(row["id"], row["text"]) for row in table]
