"""Readers of standoff and tagged corpora on tiny hand-written files: brat in a folder, zip or tar, CoNLL, the DDI XML."""

import io
import json
import tarfile
import zipfile

import pytest

from mpdd.data.readers import brat, conll, container, json_files, standoff
from mpdd.data.readers.base import Notes
from mpdd.data.task import Entity, Relation
from mpdd.data.tasks import ddi as ddi_task
from tests.data.refusals import SECRET, refusal

TEXT = "Fever after aspirin or\nold ibuprofen. No rash."
ANN = """\
T1\tSign 0 5\tFever
T2\tDrug 12 19\taspirin
T3\tDrug 27 36\tibuprofen
T4\tDrug 23 36\told ibuprofen
T5\tSign 38 40;41 45\tNo rash
T6\tSign 0 5;12 19\tFever aspirin
E1\tSign:T1 Cause:T2 Cause:T3
R1\tCauses Arg1:T2 Arg2:E1\t
*\tOR T3 T2
A1\tNegated T5
M1\tNegated T5
N1\tReference T1 X:1\tFever
#1\tAnnotatorNotes T1\tof note
"""


def as_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_zip(path, files):
    with zipfile.ZipFile(path / "a.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path / "a.zip"


def as_tar(path, files):
    with tarfile.open(path / "a.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path / "a.tar.gz"


@pytest.fixture
def corpus(tmp_path):
    """Write one document, and return the folder."""

    def corpus(ann=ANN, text=TEXT):
        files = {"a.ann": ann, "a.txt": text}
        return as_folder(tmp_path / "corpus", {k: v if isinstance(v, bytes) else v.encode() for k, v in files.items()})

    return corpus


def plain(stem):
    return f"d:{stem}"


# Containers


@pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar])
def test_a_folder_a_zip_and_a_tar_give_the_same_documents(pack, tmp_path):
    files = {
        "my notes/b.ann": b"",
        "my notes/b.txt": b"Nothing here.",
        "my notes/a.ann": ANN.encode(),
        "my notes/a.txt": TEXT.encode(),
        "annotation.conf": b"[entities]",
        "extra.txt": b"not annotated",
        "__MACOSX/my notes/._a.ann": b"\x00\xff",
        "my notes/._a.ann": b"\x00\xff",
    }
    notes = Notes(strict=True)
    first, second = brat.read(pack(tmp_path, files), notes)
    assert (first.stem, first.text, len(first.mentions)) == ("a", TEXT, 6)
    assert (second.stem, second.mentions, second.relations, second.groups) == ("b", (), (), ())
    assert notes.counts == {"texts without annotations": 1}


def test_a_container_that_is_missing_empty_or_broken_is_one_sentence(tmp_path):
    assert "is not there" in refusal(brat.read, tmp_path / "gone", Notes())
    assert "holds no file that ends in .ann or .txt" in refusal(brat.read, tmp_path, Notes())
    broken = tmp_path / "a.tar"
    broken.write_bytes(SECRET.encode())
    assert "cannot be read" in refusal(brat.read, broken, Notes())
    whole = as_zip(tmp_path, {"a.ann": b"", "a.txt": SECRET.encode() * 99}).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(SECRET.encode(), b"horse", 1))
    assert "cannot be read" in refusal(brat.read, tmp_path / "a.zip", Notes())


def test_other_files_are_not_read(tmp_path):
    assert set(container.read(as_folder(tmp_path, {"a.xml": b"x", "b/.c.xml": b"x", "d.txt": b"x"}), (".xml",))) == {"a.xml"}


# brat


def test_brat_reads_mentions_relations_events_and_groups(corpus):
    (document,) = brat.read(corpus(), Notes(strict=True))
    fever, aspirin, ibuprofen = ((0, 5),), ((12, 19),), ((27, 36),)
    assert [(m.label, m.pieces) for m in document.mentions] == [
        ("Sign", fever),
        ("Sign", ((0, 5), (12, 19))),
        ("Drug", aspirin),
        ("Drug", ((23, 36),)),
        ("Drug", ibuprofen),
        ("Sign", ((38, 45),)),  # only a space between its fragments
    ]
    found = [(kind, first.pieces, second.pieces) for kind, first, second in document.relations]
    assert found == [("Causes", aspirin, fever), ("Cause", fever, aspirin), ("Cause", fever, ibuprofen)]
    assert [(kind, [m.pieces for m in members]) for kind, members in document.groups] == [("OR", [ibuprofen, aspirin])]


def test_brat_offsets_count_carriage_returns_and_a_byte_order_mark(corpus):
    path = corpus("T1\tSign 8 13\tfever\r\nT2\tSign 5 13\tx fever \r\n", "\ufeffOne\rx\r\nfever")
    notes = Notes()
    (document,) = brat.read(path, notes)
    assert [document.text[m.start : m.end] for m in document.mentions] == ["x \nfever", "fever"]
    assert "\r" not in document.text
    assert notes.counts == {}


def test_brat_trims_and_joins_fragments_in_any_order(corpus):
    path = corpus("T1\tSign 8 13;0 4\tcough mild \nT2\tSign 4 8\tor\n", "mild or cough")
    notes = Notes()
    (document,) = brat.read(path, notes)
    assert [(m.pieces, m.form(document.text, 0)[2]) for m in document.mentions] == [
        (((0, 4), (8, 13)), "mild cough"),
        (((5, 7),), "or"),
    ]
    assert notes.counts == {"mentions trimmed of whitespace": 1}


BAD = [
    (f"T1\tSign 0 4\t{SECRET}s", "mention that its offsets do not give"),
    (f"T1\tSign 0 900\t{SECRET}s", "mention that its offsets do not give"),
    ("T1\tSign 7 8\t ", "mention that its offsets do not give"),
    (f"T1\tSign {SECRET}\tFever", "mention cut short or malformed"),
    ("T1\tSign 0 4;5", "mention cut short or malformed"),
    ("T9\tSign 0 5\tFever", "mention with an id that another has"),
    (f"R1\tCauses Arg1:T9 Arg2:{SECRET}", "relation without two known arguments"),
    ("R1\tCauses Arg1:T9", "relation without two known arguments"),
    ("R1", "relation without two known arguments"),
    ("*\tOR T9 T8", "group with an unknown member"),
    ("*", "group with an unknown member"),
    ("E1\tSign:T8", "event without a known trigger"),
    ("E1\tSign:T9 Cause:T8", "event with an unknown argument"),
    (f"{SECRET}", "line of an unknown kind"),
]


@pytest.mark.parametrize(("bad", "problem"), BAD)
def test_brat_counts_bad_lines_or_raises_at_them(bad, problem, corpus):
    path = corpus(f"T9\tSign 0 5\tFever\n\n{bad}\n", f"Fever, {SECRET}.")
    notes = Notes()
    (document,) = brat.read(path, notes)
    assert len(document.mentions) == 1
    assert notes.counts == {f"skipped: {problem}": 1}
    message = refusal(brat.read, path, Notes(strict=True))
    assert f"{path}/a.ann line 3" in message
    assert problem in message


@pytest.mark.parametrize(
    ("name", "content", "problem", "place"),
    [
        ("b.txt", None, "annotations without a text", "b.ann"),
        ("b.txt", b"one\ncaf\xe9", "file that is not UTF-8 text", "b.txt line 2"),
        ("b.ann", b"T1\tSign 0 4\tcaf\xe9", "file that is not UTF-8 text", "b.ann line 1"),
        ("b.txt", b" \n", "text that is empty", "b.txt"),
    ],
)
def test_brat_counts_documents_that_cannot_be_read_or_raises(name, content, problem, place, corpus):
    path = as_folder(corpus(), {"b.ann": b"", "b.txt": b"two"})
    (path / name).unlink()
    if content is not None:
        (path / name).write_bytes(content)
    notes = Notes()
    assert [document.stem for document in brat.read(path, notes)] == ["a"]
    assert notes.counts == {f"skipped: {problem}": 1}
    message = refusal(brat.read, path, Notes(strict=True))
    assert f"{path}/{place}" in message
    assert problem in message


def test_brat_entities_lose_what_is_discontinuous_or_of_another_type(corpus):
    notes = Notes()
    path = corpus(ANN + "T7\tSign 0 5\tFever\n")
    (example,) = standoff.ner_examples(brat.read(path, notes), {"Sign": "Symptom"}, notes, corpus="c", document=plain)
    assert (example.id, example.document, example.lost) == ("c:a@0", "d:a", 1)
    assert example.gold.entities == (Entity(0, 5, "Symptom"), Entity(38, 45, "Symptom"))
    assert notes.counts == {"mentions of other types": 3, "discontinuous mentions": 1, "repeated mentions": 1}


def test_a_discontinuous_mention_is_lost_in_the_window_where_it_starts(corpus):
    path = corpus("T1\tSign 8 11;19 23\tTwo Four\n", "One is. Two or. Is Four.")
    notes = Notes()
    examples = standoff.ner_examples(brat.read(path, notes), {"Sign": "Symptom"}, notes, corpus="c", document=plain, max_chars=8)
    assert [(example.text, example.lost) for example in examples] == [("One is.", 0), ("Two or.", 1), ("Is Four.", 0)]


def test_brat_relations_are_between_wordings_and_groups_become_pairs_of_neighbours(corpus):
    notes = Notes()
    labels = {"Causes": "causes", "OR": "or"}
    (example,) = standoff.re_examples(brat.read(corpus(), notes), labels, notes, corpus="c", document=plain)
    assert example.arguments == {"0:5": ("Fever",), "12:19": ("aspirin",), "27:36": ("ibuprofen",)}
    assert example.gold.relations == (Relation("causes", "12:19", "0:5"), Relation("or", "12:19", "27:36"))
    assert notes.counts == {"relations of other types": 2}


def test_brat_relations_know_the_types_of_their_mentions_and_the_edges_of_windows(corpus):
    text = "Dose 5 mg. Drug A. Drug A. Old drug."
    ann = "T1\tValue 5 9\t5 mg\nT2\tDrug 11 17\tDrug A\nT3\tDrug 19 25\tDrug A\nT4\tError 27 30\tOld\nT5\tDrug 31 35\tdrug\n"
    ann += "T6\tDrug 11 15;20 22\tDrug ru\n"
    pairs = [("T2", "T1"), ("T2", "T3"), ("T5", "T4"), ("T6", "T3"), ("T5", "T5")]
    ann += "".join(f"R{n}\tHas Arg1:{a} Arg2:{b}\n" for n, (a, b) in enumerate(pairs))
    notes = Notes()
    examples = standoff.re_examples(
        brat.read(corpus(ann, text), notes),
        {"Has": "has"},
        notes,
        corpus="c",
        document=plain,
        arguments=("Value", "Drug"),
        max_chars=16,
    )
    assert [(e.id, e.text, e.lost, len(e.gold.relations)) for e in examples] == [
        ("c:a@0", "Dose 5 mg.", 1, 0),
        ("c:a@11", "Drug A. Drug A.", 0, 2),
        ("c:a@27", "Old drug.", 0, 1),
    ]
    assert examples[1].arguments == {"0:6": ("Drug A",), "0:11": ("Drug ru",)}
    assert notes.counts == {
        "relations with a mention of another type": 1,
        "relations across a window's edge": 1,
        "discontinuous arguments": 1,
    }


def test_discontinuous_arguments_with_the_same_ends_stay_apart(corpus):
    text = "type 4 and 5 pain"
    ann = "T1\tSign 0 6;13 17\ttype 4 pain\nT2\tSign 0 4;11 17\ttype 5 pain\nR1\tOR Arg1:T1 Arg2:T2\n"
    notes = Notes()
    (example,) = standoff.re_examples(brat.read(corpus(ann, text), notes), {"OR": "or"}, notes, corpus="c", document=plain)
    assert list(example.arguments.values()) == [("type 4 pain",), ("type 5 pain",)]
    (relation,) = example.gold.relations
    assert relation.head != relation.tail


# CoNLL


def test_conll_joins_tokens_and_reads_spans(tmp_path):
    lines = ["A\tO", "b\tB-X", "c\tI-X", "d\tI-Y", "e\tB-Y", "f\tO", "g\tI-Y", "", "", "h\tO"]
    path = tmp_path / "a.tsv"
    path.write_text("\r\n".join(lines), encoding="utf-8", newline="")
    notes = Notes(strict=True)
    first, second = conll.ner_examples(path, {"X": "Xs", "Y": "Ys"}, notes, corpus="c:p")
    assert (first.id, first.document, first.text) == ("c:p/1", "c:p/1", "A b c d e f g")
    assert [(first.text[e.start : e.end], e.label) for e in first.gold.entities] == [
        ("b c", "Xs"),
        ("d", "Ys"),
        ("e", "Ys"),
        ("g", "Ys"),
    ]
    assert (second.text, second.gold.entities) == ("h", ())


def test_conll_counts_mentions_of_other_types(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\tB-X\n", encoding="utf-8")
    notes = Notes()
    assert conll.ner_examples(path, {}, notes, corpus="c")[0].gold.entities == ()
    assert notes.counts == {"mentions of other types": 1}


@pytest.mark.parametrize("bad", [f"{SECRET}", f"{SECRET}\tX-Y", f"{SECRET}\tO\tO", "\tO", f"{SECRET}\tB-"])
def test_conll_leaves_out_a_sentence_with_a_bad_line_or_raises(bad, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(f"a\tO\n\nb\tO\n{bad}\n\nc\tO\n", encoding="utf-8")
    notes = Notes()
    assert [sentence.text for sentence in conll.read(path, notes)] == ["a", "c"]
    assert notes.counts == {"skipped: line that is no token with a tag": 1}
    assert f"{path} line 4" in refusal(conll.read, path, Notes(strict=True))


# The DDI XML

SENTENCE = """<document id="d"><sentence id="s0" text="Nothing."/>
<sentence id="s1" text="Aspirin or old warfarin, not aspirin.">
<entity id="e0" charOffset="0-6" type="drug" text="Aspirin"/>
<entity id="e1" charOffset="0-2;15-22" type="drug" text="Asp warfarin"/>
<entity id="e2" charOffset="29-35" type="drug" text="aspirin"/>
<pair id="p0" e1="e0" e2="e1" ddi="true" type="effect"/>
<pair id="p1" e1="e1" e2="e2" ddi="true" type="effect"/>
<pair id="p2" e1="e0" e2="e2" ddi="false"/>
</sentence></document>"""
EFFECT = {"effect": "effect"}


def ddi(tmp_path, xml, name="A b/Train/x_ddi.xml"):
    return as_zip(tmp_path, {name: xml.encode(), "A b/Test/y.xml": b"<document/>", "A b/Train/.DS_Store": b"\xff"})


def test_ddi_offsets_are_inclusive_and_pairs_have_no_direction(tmp_path):
    notes = Notes(strict=True)
    (example,) = ddi_task.re_examples(ddi(tmp_path, SENTENCE), "A b/Train", EFFECT, notes)
    assert (example.id, example.document) == ("s1", "drugbank:x")
    assert example.arguments == {"0:7": ("Aspirin",), "0:23": ("Asp warfarin",)}
    assert example.gold.relations == (Relation("effect", "0:7", "0:23"),)
    assert notes.counts == {"sentences without two drugs": 1, "discontinuous arguments": 1, "repeated relations": 1}


def test_ddi_sentences_without_interactions_are_negatives(tmp_path):
    xml = SENTENCE.replace('ddi="true" type="effect"', 'ddi="false"')
    (example,) = ddi_task.re_examples(ddi(tmp_path, xml, "A b/Train/12.xml"), "A b/Train", EFFECT, Notes())
    assert (example.document, example.gold.relations) == ("pmid:12", ())


@pytest.mark.parametrize(
    ("good", "bad", "problem", "line"),
    [
        ('"0-6"', '"0-5"', "drug that its offsets do not give", 3),
        ('"0-6"', '"0"', "drug that its offsets do not give", 3),
        ('e2="e1" ddi="true" type="effect"', 'e2="e1" ddi="true"', "interaction without a known type or drug", 6),
        ('e2="e1" ddi="true"', f'e2="{SECRET}" ddi="true"', "interaction without a known type or drug", 6),
        ('id="p0" e1="e0"', 'id="p0"', "malformed record (no 'e1')", 2),
    ],
)
def test_ddi_counts_what_is_bad_or_raises(good, bad, problem, line, tmp_path):
    path = ddi(tmp_path, SENTENCE.replace(good, bad).replace("</document>", f"{SENTENCE[17:]}"))
    notes = Notes()
    assert ddi_task.re_examples(path, "A b/Train", EFFECT, notes)
    assert notes.counts[f"skipped: {problem}"] == 1
    message = refusal(ddi_task.re_examples, path, "A b/Train", EFFECT, Notes(strict=True))
    assert f"x_ddi.xml line {line}" in message


def test_ddi_xml_that_is_cut_short_names_the_line(tmp_path):
    path = ddi(tmp_path, f"<document>\n<sentence>{SECRET}")
    assert "x_ddi.xml is not valid XML" in refusal(ddi_task.re_examples, path, "A b/Train", EFFECT, Notes())


# A JSON array


def test_a_json_array_gives_its_items(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"a": 1}, {"a": 2}]), encoding="utf-8")
    assert json_files.load_list(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}', encoding="utf-8")
    assert "one JSON array" in refusal(json_files.load_list, path)
