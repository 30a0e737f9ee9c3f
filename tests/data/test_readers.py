"""Readers on tiny hand-written files: what they read, what they skip and count, and the one sentence they raise."""

import json
import zipfile

import openpyxl
import pytest

from mpdd.data.arguments import relation_example, surface_forms
from mpdd.data.readers import csv_table, json_files, mirage, pubtator
from mpdd.data.readers.base import Notes, Record, build, read_text, tidy
from mpdd.data.task import Relation
from mpdd.data.tasks import meqsum, rqe
from tests.data.refusals import SECRET, refusal


@pytest.fixture
def write(tmp_path):
    def write(content, name="file.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# What all share


def read_as_csv(path, notes):
    return csv_table.read(path, ("a",), notes)


def read_as_jsonl(path, notes):
    return json_files.read_jsonl(path, {"a": str}, notes)


def read_as_pubtator(path, notes):
    return pubtator.read(path, notes)


def read_as_xml(path, notes):
    return rqe.read_elements(path, "pair", (), ("a",), notes)


def read_as_xlsx(path, notes):
    return meqsum.read_workbook(path, ("a",), notes)


def read_as_mirage(path, notes):
    return mirage.read(path, "part", notes)


READERS = [read_as_csv, read_as_jsonl, read_as_pubtator, read_as_xml, read_as_xlsx, read_as_mirage]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("content", "problem"), [(b"", "is empty"), (b" \n\n", "is empty"), (None, "is not there")])
def test_an_empty_or_missing_file_is_one_sentence(read, content, problem, write, tmp_path):
    path = tmp_path / "missing" if content is None else write(content)
    message = refusal(read, path, Notes())
    assert str(path) in message
    assert problem in message


def test_a_folder_is_no_file(tmp_path):
    assert "cannot be read" in refusal(read_text, tmp_path)


@pytest.mark.parametrize("read", [read_as_csv, read_as_jsonl, read_as_pubtator, read_as_mirage])
def test_a_file_that_is_not_utf8_names_the_line(read, write):
    path = write(b"a\n" + SECRET.encode() + b" caf\xe9\n")
    message = refusal(read, path, Notes())
    assert "not UTF-8" in message
    assert "line 2" in message


@pytest.mark.parametrize("read", READERS)
def test_a_file_of_another_format_is_refused(read, write):
    refusal(read, write(f"{SECRET} and nothing else\nbut {SECRET}"), Notes())


def test_a_byte_order_mark_is_not_text(write):
    assert read_text(write(b"\xef\xbb\xbfa,b")) == "a,b"


def test_tidy_keeps_line_breaks_only():
    assert tidy(" a\u00a0 b \r\n\r\n\tc\r") == "a b\nc"


@pytest.mark.parametrize(
    ("make", "reason"),
    [(lambda r: r["gone"], "no 'gone'"), (lambda r: int(r["a"]), "ValueError"), (lambda r: r["a"][99], "IndexError")],
)
def test_a_record_that_breaks_inside_is_counted_or_raised(make, reason):
    record = Record("f line 3", {"a": SECRET})
    notes = Notes()
    assert build([record], make, notes) == []
    assert notes.counts == {f"skipped: malformed record ({reason})": 1}
    message = refusal(build, [record], make, Notes(strict=True))
    assert "f line 3" in message
    assert reason in message


# Tables


def test_csv_reads_quoted_cells_over_several_lines(write):
    path = write('id,note,more\r\n1,"a ""b"",\r\nc",x\r\n2,d,\r\n')
    rows = csv_table.read(path, ("id", "note"), Notes(), optional=("more",))
    assert [(row["id"], row.text("note"), row["more"]) for row in rows] == [("1", 'a "b",\nc', "x"), ("2", "d", "")]
    assert [row.where for row in rows] == [f"{path} line 3", f"{path} line 4"]


def test_csv_cells_may_be_longer_than_pythons_limit(write):
    assert len(read_as_csv(write("a\n" + "x" * 200_000), Notes())[0]["a"]) == 200_000


def test_tsv_without_quoting_leaves_quotes_alone(write):
    path = write('a\tb\n"one\ttwo"s\n')
    (row,) = csv_table.read(path, ("a", "b"), Notes(), delimiter="\t", quoting=False)
    assert (row["a"], row["b"]) == ('"one', 'two"s')


def test_csv_without_a_wanted_column_names_it(write):
    message = refusal(csv_table.read, write(f"id,text\n1,{SECRET}\n"), ("id", "label"), Notes(), optional=("more",))
    assert "['label', 'more']" in message
    assert "line 1" in message


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (f"9,{SECRET}", "wrong number of cells"),
        (f"9,{SECRET},x,y", "wrong number of cells"),
        ("9,  ,x", "field 'note' is empty"),
        (f'9,"{SECRET}', "a quote that is never closed"),
    ],
)
def test_csv_counts_bad_rows_or_raises_at_their_line(bad, problem, write):
    path = write(f"id,note,more\n1,a,b\n{bad}\n")
    notes = Notes()
    assert [row["id"] for row in csv_table.read(path, ("id", "note"), notes)] == ["1"]
    assert [(problem in reason, count) for reason, count in notes.counts.items()] == [(True, 1)]
    message = refusal(csv_table.read, path, ("id", "note"), Notes(strict=True))
    assert f"{path} line" in message
    assert problem in message


def workbook(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_xlsx_passes_over_unnamed_columns_and_blank_rows(tmp_path):
    header = ["id", "text", *[None] * 300, "unused"]
    path = workbook(tmp_path / "a.xlsx", [header, [7, " one "], [None, None], [8, "two"]])
    rows = meqsum.read_workbook(path, ("text", "id"), Notes())
    assert [(row["id"], row["text"], row.where[-5:]) for row in rows] == [("7", "one", "row 2"), ("8", "two", "row 4")]


def test_xlsx_counts_rows_with_an_empty_cell(tmp_path):
    path = workbook(tmp_path / "a.xlsx", [["id", "text"], [1, "one"], [2, None]])
    notes = Notes()
    assert len(meqsum.read_workbook(path, ("id", "text"), notes)) == 1
    assert notes.counts == {"skipped: field 'text' is empty": 1}
    assert "row 3" in refusal(meqsum.read_workbook, path, ("id", "text"), Notes(strict=True))


def test_xlsx_names_missing_columns_and_broken_files(tmp_path):
    path = workbook(tmp_path / "a.xlsx", [["id", "text"], [1, "one"]])
    assert "['summary']" in refusal(meqsum.read_workbook, path, ("id", "summary"), Notes())
    path.write_bytes(path.read_bytes()[:200])
    assert "not a readable Excel workbook" in refusal(meqsum.read_workbook, path, ("id",), Notes())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "x")
    assert "not a readable Excel workbook" in refusal(meqsum.read_workbook, path, ("id",), Notes())


# JSON and XML


def test_jsonlines_reads_a_line_separator_inside_text(write):
    path = write('{"a": "one\u2028two"}\n\n{"a": "three", "b": 1}\n')
    assert [row["a"] for row in read_as_jsonl(path, Notes())] == ["one\u2028two", "three"]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ('{"a": "' + SECRET, "not valid JSON"),
        (f'["{SECRET}"]', "a JSON list"),
        ('{"b": "x"}', "field 'a' is missing"),
        ('{"a": 3}', "field 'a' is a int"),
        ('{"a": ""}', "field 'a' is empty"),
    ],
)
def test_jsonlines_counts_bad_lines_or_raises_at_them(bad, problem, write):
    path = write('{"a": "x"}\n' + bad)
    notes = Notes()
    assert len(read_as_jsonl(path, notes)) == 1
    assert [problem in reason for reason in notes.counts] == [True]
    message = refusal(read_as_jsonl, path, Notes(strict=True))
    assert f"{path} line 2" in message
    assert problem in message


def test_a_json_document_names_where_it_breaks_off(write):
    message = refusal(json_files.load, write('{"a":\n{"b": "' + SECRET))
    assert "line 2" in message
    assert "one JSON object" in refusal(json_files.load, write("[1]"))


def test_a_json_record_that_is_no_object_is_counted(write):
    notes = Notes()
    rows = json_files.read_entries(write("{}"), [("x", {"a": "y"}), ("z", SECRET)], {"a": str}, notes)
    assert [(row["key"], row["a"]) for row in rows] == [("x", "y")]
    assert notes.counts == {"skipped: a JSON str": 1}


def test_mirage_gives_choices_and_the_right_index(write):
    options = {"A": "one", "B": " two "}
    good = {"question": "Which?", "options": options, "answer": "B"}
    path = write(json.dumps({"part": {"0": good, "1": {**good, "answer": "C"}, "2": {"question": SECRET}}}))
    notes = Notes()
    (example,) = mirage.read(path, "part", notes)
    assert (example.document, example.choices, example.gold.choice) == ("mirage-part:0", ("one", "two"), 1)
    assert sum(notes.counts.values()) == 2
    assert "'other'" in refusal(mirage.read, path, "other", Notes())


def test_xml_pairs_collapses_whitespace_and_reads_entities(write):
    path = write('<r>\n<pair pid="1"><q>\n a &amp; <i>b</i>\n c </q></pair>\n<pair pid="2"><q/></pair></r>')
    notes = Notes()
    (record,) = rqe.read_elements(path, "pair", ("pid",), ("q",), notes)
    assert (record["pid"], record["q"]) == ("1", "a & b c")
    assert notes.counts == {"skipped: field 'q' is empty": 1}
    assert "line 5" in refusal(rqe.read_elements, path, "pair", ("pid",), ("q",), Notes(strict=True))


def test_xml_that_is_cut_short_names_the_line(write):
    message = refusal(rqe.read_elements, write(f"<r>\n<pair>{SECRET}"), "pair", (), ("q",), Notes())
    assert "line 2" in message


def test_xml_does_not_read_other_files(write):
    secret = write(SECRET, "secret.txt")
    path = write(f'<!DOCTYPE r [<!ENTITY x SYSTEM "file://{secret}">]><r><pair><q>a &x;</q></pair></r>', "a.xml")
    records = rqe.read_elements(path, "pair", (), ("q",), Notes())
    assert all(SECRET not in record["q"] for record in records)


# PubTator

PUBTATOR = """\
1|t|Drug A or B harms.
1|a|Fever after drug a, not drug C. B|C unknown.
1\t0\t11\tDrug A or B\tChem\tA1|B1\tDrug A|Drug B
1\t19\t24\tFever\tDis\tF1
1\t31\t37\tdrug a\tChem\tA1
1\t43\t49\tdrug C\tChem\t-1
1\tCID\tA1\tF1
1\tCID\tB1\tF1
1\tCID\tB1\tX9

2|t|Two.
2|a|
1|t|Again.
1|a|Repeated.
"""


def test_pubtator_reads_documents_mentions_and_relations(write):
    notes = Notes()
    first, second = pubtator.read(write(PUBTATOR.replace("\n", "\r\n")), notes)
    assert first.text[31:37] == "drug a"
    assert [m.concepts for m in first.mentions] == [("A1", "B1"), ("F1",), ("A1",), ()]
    assert first.mentions[0].names == ("Drug A", "Drug B")
    assert first.relations[0] == ("CID", "A1", "F1")
    assert (second.text, second.mentions) == ("Two. ", ())
    assert notes.counts == {"repeated documents": 1}


def test_pubtator_relations_name_concepts_by_forms_of_their_own(write):
    notes = Notes()
    example, _ = pubtator.re_examples(write(PUBTATOR), {"CID": "induces"}, notes)
    assert example.arguments["A1"][0] == "drug a"  # the first form that names this concept only
    assert example.arguments["B1"] == ("Drug B", "Drug A or B")
    assert example.gold.relations == (Relation("induces", "A1", "F1"), Relation("induces", "B1", "F1"))
    assert example.lost == 1
    assert notes.counts["relations with an argument that the text does not mention"] == 1


def test_an_undirected_relation_starts_with_what_the_text_mentions_first(write):
    path = write(PUBTATOR.replace("CID\tA1\tF1", "Bind\tF1\tA1"))
    example, _ = pubtator.re_examples(path, {"Bind": "binding"}, Notes(), directed=False)
    assert example.gold.relations == (Relation("binding", "A1", "F1"),)


def test_pubtator_entities_of_unlisted_types_are_counted(write):
    notes = Notes()
    examples = pubtator.ner_examples(write(PUBTATOR), {"Dis": "Disease"}, notes)
    found = [(e.text[x.start : x.end], x.label) for e in examples for x in e.gold.entities]
    assert found == [("Fever", "Disease")]
    assert notes.counts["mentions of other types"] == 3


@pytest.mark.parametrize(
    ("bad", "problem", "line"),
    [
        ("1\t0\t4\tzebra\tChem\tA1", "mention that its offsets do not give", 3),
        ("1\t0\t900\tzebra\tChem\tA1", "mention that its offsets do not give", 3),
        ("1\t0\t4\tDrug", "mention that its offsets do not give", 3),
        ("1\t0\t4", "annotation cut short", 3),
        ("7\t0\t4\tDrug\tChem\tA1", "of another document", 3),
        ("5|t|zebra", "document without an abstract", 3),
    ],
)
def test_pubtator_counts_bad_lines_or_raises_at_them(bad, problem, line, write):
    path = write(f"1|t|Drug A.\n1|a|Works.\n{bad}\n")
    notes = Notes()
    (document,) = pubtator.read(path, notes)
    assert document.mentions == ()
    assert [(problem in reason, count) for reason, count in notes.counts.items()] == [(True, 1)]
    message = refusal(pubtator.read, path, Notes(strict=True))
    assert f"{path} line {line}" in message
    assert problem in message


def test_pubtator_trims_whitespace_off_a_span(write):
    path = write("1|t|A fever .\n1|a|B.\n1\t1\t8\t fever \tDis\tF1\n")
    notes = Notes()
    (document,) = pubtator.read(path, notes)
    assert [(m.start, m.end) for m in document.mentions] == [(2, 7)]
    assert notes.counts == {"mentions trimmed of whitespace": 1}


# Arguments


def test_forms_that_differ_in_case_or_spacing_are_one():
    assert surface_forms([("x", "Drug  A"), ("x", "drug a"), ("x", ""), ("y", "B")]) == {"x": ("Drug  A",), "y": ("B",)}


def test_an_argument_without_a_form_of_its_own_takes_its_first():
    assert surface_forms([("x", "both"), ("y", "both")]) == {"x": ("both",), "y": ("both",)}


def test_repeated_relations_count_once():
    notes = Notes()
    forms = {"a": ("A",), "b": ("B",)}
    example = relation_example("n", "d", "A B", [("r", "a", "b"), ("r", "b", "a")], forms, notes, directed=False)
    assert example.gold.relations == (Relation("r", "a", "b"),)
    assert notes.counts == {"repeated relations": 1}
