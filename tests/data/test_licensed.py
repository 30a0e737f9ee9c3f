"""Datasets under agreements, by their published formats: tiny files written here, of invented patients, and each preset card."""

import csv
import json

import pytest

from mpdd.data.cards import card_file, new
from mpdd.data.readers import brat, i2b2_2010, i2b2_2012, squad, standoff
from mpdd.data.readers.base import Notes
from mpdd.data.task import SPLITS, Answer, Entity
from mpdd.data.types import parse, render_target
from tests.data.refusals import SECRET, refusal


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def said(document):
    """Return the mentions of a document as (label, words, attributes)."""
    return [(m.label, m.form(document.text)[2], m.attributes) for m in document.mentions]


def related(document):
    return [(kind, *(m.form(document.text)[2] for m in pair)) for kind, *pair in document.relations]


# brat, as n2c2 2018 and 2022 use it

SHAC = "SOCIAL HISTORY: Drinks beer and wine daily.\nLives with his\nsister. No drugs."


def standoff_lines(text, *spans):
    """Return a `T` line for each (label, words); words that the text parts with something else are `a ... b`."""
    lines = []
    for number, (label, words) in enumerate(spans, 1):
        parts = words.split(" ... ")
        places = [f"{text.index(part)} {text.index(part) + len(part)}" for part in parts]
        lines.append(f"T{number}\t{label} {';'.join(places)}\t{' '.join(' '.join(parts).split())}\n")
    return "".join(lines)


def shac(folder, stem="0001"):
    spans = [
        ("Alcohol", "Drinks"),
        ("StatusTime", "Drinks"),
        ("Type", "beer"),
        ("Type", "wine"),
        ("Frequency", "daily"),
        ("LivingStatus", "Lives"),
        ("StatusTime", "Lives"),
        ("TypeLiving", "with his\nsister"),
        ("Drug", "drugs"),
        ("StatusTime", "No"),
    ]
    events = (
        "E1\tAlcohol:T1 Status:T2 Type:T3 Type2:T4 Frequency:T5 \nE2\tLivingStatus:T6 Status:T7 Type:T8\nE3\tDrug:T9 Status:T10\n"
    )
    values = [("StatusTimeVal", "T2", "current"), ("StatusTimeVal", "T7", "current"), ("TypeLivingVal", "T8", "with_family")]
    values.append(("StatusTimeVal", "T10", "none"))
    attributes = "".join(f"A{number}\t{name} {key} {value}\n" for number, (name, key, value) in enumerate(values, 1))
    write(folder / f"{stem}.txt", SHAC)
    write(folder / f"{stem}.ann", standoff_lines(SHAC, *spans) + events + attributes)


def test_shac_events_have_roles_without_numbers_and_arguments_with_values(tmp_path):
    shac(tmp_path)
    (document,) = brat.read(tmp_path, Notes(strict=True))
    assert ("StatusTime", "Drinks", ("current",)) in said(document)
    assert ("TypeLiving", "with his\nsister", ("with_family",)) in said(document)
    assert related(document) == [
        ("Status", "Drinks", "Drinks"),
        ("Type", "Drinks", "beer"),
        ("Type", "Drinks", "wine"),
        ("Frequency", "Drinks", "daily"),
        ("Status", "Lives", "Lives"),
        ("Type", "Lives", "with his\nsister"),
        ("Status", "drugs", "No"),
    ]


def test_a_role_that_ends_in_a_number_by_itself_keeps_it(tmp_path):
    write(tmp_path / "a.txt", "rise of pain")
    write(tmp_path / "a.ann", "T1\tUp 0 4\trise\nT2\tSign 8 12\tpain\nE1\tUp:T1 Grade2:T2\nE2\tUp:T1 Of:T2 Of2:T2 Of3:T1\n")
    (document,) = brat.read(tmp_path, Notes(strict=True))
    assert [kind for kind, *_ in document.relations] == ["Grade2", "Of", "Of", "Of"]


def test_attributes_of_events_are_those_of_their_triggers_and_may_have_no_value(tmp_path):
    write(tmp_path / "a.txt", "rise of pain")
    write(
        tmp_path / "a.ann",
        "T1\tUp 0 4\trise\nT2\tSign 8 12\tpain\nE1\tUp:T1 Of:T2\nA1\tNegated E1\nM1\tMood T1 past tense\nA2\tX T9\n",
    )
    (document,) = brat.read(tmp_path, Notes(strict=True))
    assert said(document) == [("Up", "rise", ("Negated", "past tense")), ("Sign", "pain", ())]


def test_types_may_be_narrowed_to_an_attribute(tmp_path):
    shac(tmp_path)
    notes = Notes(strict=True)
    documents = brat.read(tmp_path, notes)
    labels = {"StatusTime:none": "absent", "StatusTime": "status"}
    (example,) = standoff.ner_examples(documents, labels, notes, corpus="c", document=str)
    assert [e.label for e in example.gold.entities] == ["status", "status", "absent"]
    labels = {"Status:none": "absent", "Type:with_family": "family"}
    (example,) = standoff.re_examples(documents, labels, notes, corpus="c", document=str)
    assert sorted(relation.label for relation in example.gold.relations) == ["absent", "family"]


def test_documents_of_the_same_name_in_two_folders_stay_apart(tmp_path):
    for source in ("mimic", "uw"):
        shac(tmp_path / source)
    notes = Notes(strict=True)
    examples = standoff.ner_examples(brat.read(tmp_path, notes), {"Drug": "Drug"}, notes, corpus="c", document=str)
    assert [(e.id, e.document) for e in examples] == [("c:mimic/0001@0", "mimic/0001"), ("c:uw/0001@0", "uw/0001")]


ADE = "Brufalin 10 mg tablets for pain in the\nknee. Rash from brufalin."


def ade(folder, stem="100001"):
    spans = [
        ("Drug", "Brufalin"),
        ("Strength", "10 mg"),
        ("Form", "tablets"),
        ("Reason", "pain ... knee"),
        ("ADE", "Rash"),
        ("Drug", "brufalin"),
    ]
    pairs = [("Strength-Drug", 2, 1), ("Form-Drug", 3, 1), ("Reason-Drug", 4, 1), ("ADE-Drug", 5, 6)]
    lines = "".join(f"R{n}\t{kind} Arg1:T{a} Arg2:T{b}\t\n" for n, (kind, a, b) in enumerate(pairs, 1))
    write(folder / f"{stem}.txt", ADE)
    write(folder / f"{stem}.ann", standoff_lines(ADE, *spans) + lines)


def test_n2c2_2018_spans_may_be_in_pieces_and_relations_end_in_a_tab(tmp_path):
    ade(tmp_path)
    (document,) = brat.read(tmp_path, Notes(strict=True))
    assert said(document)[3] == ("Reason", "pain knee", ())
    assert related(document)[2:] == [("Reason-Drug", "pain knee", "Brufalin"), ("ADE-Drug", "Rash", "brufalin")]


# i2b2/VA 2010

NOTE_2010 = "Admission Date :\n2011-02-30\nHe has no  Fever , and\nchills improved with old aspirin .\n X-ray showed a shadow .\n"
CON = """\
c="fever" 3:3 3:3||t="problem"
c="chills" 4:0 4:0||t="problem"
c="OLD ASPIRIN" 4:3 4:4||t="treatment"
c="x-ray" 5:1 5:1||t="test"
c="a shadow" 5:3 5:4||t="problem"
c="fever , and chills" 3:3 4:0||t="problem"
"""
AST = 'c="fever" 3:3 3:3||t="problem"||a="absent"\nc="chills" 4:0 4:0||t="problem"||a="present"\n'
REL = 'c="old aspirin" 4:3 4:4||r="TrIP"||c="chills" 4:0 4:0\nc="x-ray" 5:1 5:1||r="TeRP"||c="a shadow" 5:3 5:4\n'


def va_2010(folder, stem="record-1", con=CON, ast=AST, rel=REL, text=NOTE_2010, concepts="concept", texts="txt"):
    for name, content in (
        (f"{texts}/{stem}.txt", text),
        (f"{concepts}/{stem}.con", con),
        (f"ast/{stem}.ast", ast),
        (f"rel/{stem}.rel", rel),
    ):
        if content is not None:
            write(folder / name, content)
    return folder


@pytest.mark.parametrize("text", [NOTE_2010, NOTE_2010.replace("\n", "\r\n"), f"\ufeff{NOTE_2010}"])
def test_i2b2_2010_spans_are_lines_and_tokens_and_assertions_are_attributes(text, tmp_path):
    (document,) = i2b2_2010.read(va_2010(tmp_path, text=text), Notes(strict=True))
    assert (document.name, document.groups) == ("txt/record-1", ())
    found = [(label, " ".join(words.split()), attributes) for label, words, attributes in said(document)]
    assert found == [
        ("problem", "Fever", ("absent",)),
        ("problem", "Fever , and chills", ()),
        ("problem", "chills", ("present",)),
        ("treatment", "old aspirin", ()),
        ("test", "X-ray", ()),
        ("problem", "a shadow", ()),
    ]
    assert related(document) == [("TrIP", "old aspirin", "chills"), ("TeRP", "X-ray", "a shadow")]


def test_i2b2_2010_tokens_of_a_line_that_starts_with_a_space_may_be_counted_in_both_ways(tmp_path):
    con = CON.replace('5:1 5:1||t="test"', '5:0 5:0||t="test"')
    (document,) = i2b2_2010.read(va_2010(tmp_path, con=con, rel=None), Notes(strict=True))
    assert ("test", "X-ray", ()) in said(document)


def test_i2b2_2010_files_lie_in_nested_folders_and_test_notes_apart(tmp_path):
    va_2010(tmp_path / "train/beth")
    va_2010(tmp_path / "train/partners", text=NOTE_2010.replace("aspirin", "Aspirin"))  # of the same name
    va_2010(tmp_path / "reference", stem="0001", concepts="concepts", texts="../test_data", ast=None, rel=None)
    write(tmp_path / "train/unannotated/txt/record-9.txt", "not annotated")
    documents = i2b2_2010.read(tmp_path, Notes(strict=True))
    assert [document.name for document in documents] == [
        "test_data/0001",
        "train/beth/txt/record-1",
        "train/partners/txt/record-1",
    ]
    assert [len(document.relations) for document in documents] == [0, 2, 2]
    assert "Aspirin" in documents[2].text


OTHER = f'c="{SECRET}" 4:0 4:0'
BAD_2010 = [
    ("con", f'{OTHER}||t="problem"', "words that are not those of the tokens named"),
    ("con", f'c="{SECRET}" 99:0 99:0||t="problem"', "words that are not those of the tokens named"),
    ("con", f'c="{SECRET}" 4:0 4:99||t="problem"', "words that are not those of the tokens named"),
    ("con", 'c="" 5:0 5:0||t="problem"', "words that are not those of the tokens named"),
    ("con", f'c="{SECRET}" 4:0||t="problem"', "concept cut short or malformed"),
    ("con", f'c="{SECRET}" 4:0 4:{"0" * 9999}||t="problem"', "concept cut short or malformed"),
    ("con", SECRET, "concept cut short or malformed"),
    ("ast", f'{OTHER}||t="problem"||a="present"', "words that are not those of the tokens named"),
    ("ast", f'{OTHER}||t="problem"', "assertion cut short or malformed"),
    ("rel", f'{OTHER}||r="PIP"||c="chills" 4:0 4:0', "words that are not those of the tokens named"),
    ("rel", f'c="chills" 4:0 4:0||r="PIP"||{OTHER}', "words that are not those of the tokens named"),
    ("rel", f'c="chills" 4:0 4:0||r="PIP"||c="{SECRET}"', "relation cut short or malformed"),
    ("rel", 'c="improved" 4:1 4:1||r="PIP"||c="chills" 4:0 4:0', "relation of what is no concept"),
]


@pytest.mark.parametrize(("kind", "line", "problem"), BAD_2010)
def test_i2b2_2010_counts_bad_lines_or_raises_at_them(kind, line, problem, tmp_path):
    good = {"con": CON, "ast": AST, "rel": REL}
    path = va_2010(tmp_path, **good | {kind: f"{good[kind].splitlines()[1 if kind == 'con' else 0]}\n\n{line}\n"})
    notes = Notes()
    (document,) = i2b2_2010.read(path, notes)
    assert document.mentions
    assert notes.counts[f"skipped: {problem}"] == 1
    if kind == "con":  # so that the concepts of other lines are not looked for
        path = va_2010(tmp_path, ast=None, rel=None, con=(tmp_path / "concept/record-1.con").read_text())
        (tmp_path / "ast/record-1.ast").unlink()
        (tmp_path / "rel/record-1.rel").unlink()
    folder = {"con": "concept"}.get(kind, kind)
    message = refusal(i2b2_2010.read, path, Notes(strict=True))
    assert f"{path}/{folder}/record-1.{kind} line 3: {problem}" in message


@pytest.mark.parametrize(
    ("name", "content", "problem", "place"),
    [
        ("txt/b.txt", None, "concepts without a text", "concept/b.con"),
        ("txt/b.txt", b"a\ncaf\xe9", "file that is not UTF-8 text", "txt/b.txt line 2"),
        ("rel/b.rel", b"caf\xe9", "file that is not UTF-8 text", "rel/b.rel line 1"),
    ],
)
def test_i2b2_2010_counts_notes_that_cannot_be_read_or_raises(name, content, problem, place, tmp_path):
    path = va_2010(va_2010(tmp_path, stem="a"), stem="b")
    (path / name).unlink()
    if content is not None:
        write(path / name, content)
    notes = Notes()
    assert [document.stem for document in i2b2_2010.read(path, notes)] == ["a"]
    assert notes.counts == {f"skipped: {problem}": 1}
    assert f"{path}/{place}: {problem}" in refusal(i2b2_2010.read, path, Notes(strict=True))


def test_i2b2_2010_folders_without_concepts_are_refused(tmp_path):
    write(tmp_path / "a.txt", SECRET)
    assert "no usable record" in refusal(i2b2_2010.read, tmp_path, Notes())


# i2b2 2012

TEXT_2012 = '\nAdmission Date :\n2011-02-30\nR&D ward : temp < 38 , no \n chest pain since two days , "flu" .\n'


def tag(kind, name, words, text=TEXT_2012, **more):
    start = text.index(words)
    values = {"id": name, "start": start, "end": start + len(words), "text": words.replace("\n", " "), **more}
    return f"<{kind} " + " ".join(f'{key}="{value}"' for key, value in values.items()) + " />\n"


def xml_2012(*more, text=TEXT_2012, head='<?xml version="1.0" encoding="UTF-8" ?>\n'):
    tags = [
        tag("EVENT", "E0", "Admission", modality="FACTUAL", polarity="POS", type="OCCURRENCE"),
        tag("EVENT", "E1", "R&D ward", modality="FACTUAL", polarity="POS", type="CLINICAL_DEPT"),
        tag("EVENT", "E2", "temp < 38", modality="FACTUAL", polarity="POS", type="TEST"),
        tag("EVENT", "E3", "no \n chest pain", modality="FACTUAL", polarity="NEG", type="PROBLEM"),
        tag("EVENT", "E4", '"flu"', modality="POSSIBLE", polarity="POS", type="PROBLEM"),
        tag("TIMEX3", "T0", "2011-02-30", type="DATE", val="2011-02-30", mod="NA"),
        tag("TIMEX3", "T1", "two days", type="DURATION", val="P2D", mod="NA"),
        tag("SECTIME", "S0", "2011-02-30", type="ADMISSION", dvalue="2011-02-30"),
        '<SECTIME id="S1" start="" end="" text="" type="DISCHARGE" dvalue="" />\n',
        '<TLINK id="TL0" fromID="E0" fromText="Admission" toID="T0" toText="2011-02-30" type="SIMULTANEOUS" />\n',
        '<TLINK id="TL1" fromID="E3" fromText="no chest pain" toID="T1" toText="two days" type="BEGUN_BY" />\n',
    ]
    body = f"<TEXT><![CDATA[{text}]]></TEXT>\n<TAGS>\n{''.join(tags)}{''.join(more)}</TAGS>\n"
    return f"{head}<ClinicalNarrativeTemporalAnnotation>\n{body}</ClinicalNarrativeTemporalAnnotation>\n"


def test_i2b2_2012_reads_events_times_and_links_of_files_that_are_no_xml(tmp_path):
    write(tmp_path / "1.xml", xml_2012())
    notes = Notes(strict=True)
    (document,) = i2b2_2012.read(tmp_path, notes)
    assert (document.name, document.text) == ("1", TEXT_2012.removeprefix("\n"))
    assert said(document) == [
        ("OCCURRENCE", "Admission", ("FACTUAL", "POS")),
        ("ADMISSION", "2011-02-30", ()),
        ("DATE", "2011-02-30", ()),
        ("CLINICAL_DEPT", "R&D ward", ("FACTUAL", "POS")),
        ("TEST", "temp < 38", ("FACTUAL", "POS")),
        ("PROBLEM", "no \n chest pain", ("FACTUAL", "NEG")),
        ("DURATION", "two days", ()),
        ("PROBLEM", '"flu"', ("POSSIBLE", "POS")),
    ]
    assert related(document) == [("SIMULTANEOUS", "Admission", "2011-02-30"), ("BEGUN_BY", "no \n chest pain", "two days")]
    assert notes.counts == {"times of a section that have no place in the text": 1}


@pytest.mark.parametrize(
    ("change", "off"),
    [
        (lambda xml: xml.replace("<![CDATA[\n", "<![CDATA["), 0),  # offsets from 1, and no line break before the text
        (lambda xml: xml.replace("<![CDATA[\n", "<![CDATA[").replace('id="E0" start="1"', 'id="E0" start="0"'), 1),
        (lambda xml: xml.replace('id="T1" start="', 'id="T1" start="0').replace('text="two days"', 'text="TWO  days"'), 0),
        (lambda xml: xml.replace("\n", "\r\n"), 0),
        (
            lambda xml: (
                xml.replace("R&D ward", "R&amp;D ward").replace("temp <", "temp &lt;").replace('""flu""', '"&quot;flu&#34;"')
            ),
            0,
        ),
        (lambda xml: xml.replace("R&D ward :", "R&amp;D ward :").replace("<![CDATA[", "").replace("]]>", ""), 0),
    ],
)
def test_i2b2_2012_is_tolerant(change, off, tmp_path):
    write(tmp_path / "1.xml", xml_2012())
    (expected,) = i2b2_2012.read(tmp_path, Notes(strict=True))
    content = change(xml_2012())
    if "CDATA" in content and "&amp;" in content:  # a CDATA section has no entities
        before, between, after = content.partition("]]>")
        content = before.replace("&amp;", "&").replace("&lt;", "<") + between + after
    write(tmp_path / "1.xml", content)
    notes = Notes(strict=True)
    (document,) = i2b2_2012.read(tmp_path, notes)
    assert document == expected
    assert notes.counts["mentions that stand a few characters off their offset"] == off


def test_i2b2_2012_mentions_are_found_nearest_to_their_offset_and_not_far_away(tmp_path):
    text = "\nhot hot hot , and much later hot .\n"
    near = tag("EVENT", "E9", "hot hot", text=text, type="X").replace('text="hot hot"', 'text="hot"')
    body = "".join(near.replace('"E9" start="1"', f'"E{place}" start="{place}"') for place in (1, 4, 5, 21, 22))
    write(tmp_path / "1.xml", f"<TEXT><![CDATA[{text}]]></TEXT><TAGS>{body}</TAGS>")
    notes = Notes()
    (document,) = i2b2_2012.read(tmp_path, notes)
    assert [mention.start for mention in document.mentions] == [0, 4, 4, 29]
    assert notes.counts == {
        "mentions that stand a few characters off their offset": 2,
        "skipped: mention that its offsets do not give": 1,
    }


EVENT = '<EVENT id="E8" start="1" end="9" text="%s" modality="FACTUAL" polarity="POS" type="PROBLEM" />\n'
BAD_2012 = [
    (EVENT % SECRET, "mention that its offsets do not give"),
    ((EVENT % "chest").replace('"1"', '"one"'), "mention that its offsets do not give"),
    ((EVENT % "chest").replace('"1"', f'"{"1" * 9999}"'), "mention that its offsets do not give"),
    ((EVENT % SECRET).replace(' start="1"', ""), "field 'start' is missing"),
    ((EVENT % SECRET).replace('"PROBLEM"', '""'), "field 'type' is empty"),
    ((EVENT % "Admission").replace("E8", "E1"), "mention with an id that another has"),
    ((EVENT % SECRET).replace('id="E8"', f"id={SECRET}"), "tag that is not XML"),
    ((EVENT % f"{SECRET}&#0;"), "tag that is not XML"),
    (f'<TLINK id="TL9" fromID="E0" fromText="x" toID="{SECRET}" toText="y" type="AFTER" />\n', "relation without two known ends"),
    (f'<TLINK id="TL9" fromID="E0" fromText="{SECRET}" type="AFTER" />\n', "field 'toID' is missing"),
]


@pytest.mark.parametrize(("bad", "problem"), BAD_2012)
def test_i2b2_2012_counts_bad_tags_or_raises_at_them(bad, problem, tmp_path):
    write(tmp_path / "1.xml", xml_2012(bad))
    notes = Notes()
    (document,) = i2b2_2012.read(tmp_path, notes)
    assert (len(document.mentions), len(document.relations)) == (8, 2)
    assert notes.counts[f"skipped: {problem}"] == 1
    message = refusal(i2b2_2012.read, tmp_path, Notes(strict=True))
    assert f"{tmp_path}/1.xml line {xml_2012().count(chr(10), 0, xml_2012().index('</TAGS>')) + 1}: {problem}" in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            xml_2012(head=f'<!DOCTYPE a [<!ENTITY e "{SECRET}"><!ENTITY f SYSTEM "file:///etc/passwd">]>'),
            "document type with entities",
        ),
        (f"<TEXT><![CDATA[{SECRET}", "file without a whole TEXT element"),
        (f"<TEXT><![CDATA[{SECRET}</TEXT>", "file without a whole TEXT element"),
        ("<TEXT><![CDATA[ \n]]></TEXT>", "text that is empty"),
        (b"<TEXT>caf\xe9</TEXT>", "file that is not UTF-8 text"),
    ],
)
def test_i2b2_2012_counts_files_that_cannot_be_read_or_raises(content, problem, tmp_path):
    write(tmp_path / "1.xml", xml_2012())
    write(tmp_path / "2.xml", content)
    notes = Notes()
    assert [document.name for document in i2b2_2012.read(tmp_path, notes)] == ["1"]
    assert notes.counts[f"skipped: {problem}"] == 1
    message = refusal(i2b2_2012.read, tmp_path, Notes(strict=True))
    assert f"{tmp_path}/2.xml" in message
    assert problem in message


def test_i2b2_2012_expands_no_entity(tmp_path):
    write(tmp_path / "1.xml", xml_2012().replace("R&D ward", "R&e; ward"))
    (document,) = i2b2_2012.read(tmp_path, Notes(strict=True))
    assert ("CLINICAL_DEPT", "R&e; ward") in [(label, words) for label, words, _ in said(document)]


# SQuAD, as RadQA and emrQA use it


def radqa(path, number):
    context = f"FINDINGS:  The heart is large .\nThere is a small shadow number {number} in the left lung ."
    answers = [{"answer_id": "x", "text": "a small shadow", "answer_start": context.index("a small")}]
    unanswerable = {"id": f"q{number}b", "question": "Is there a fracture?", "answers": [], "is_impossible": True}
    questions = [{"id": f"q{number}", "question": "Any shadow?", "answers": answers, "is_impossible": False}, unanswerable]
    paragraphs = [{"document_id": f"{number}_O", "context": context, "qas": questions}]
    write(path, json.dumps({"version": "1.0.0", "data": [{"title": str(number), "paragraphs": paragraphs}]}))


def test_radqas_unanswerable_questions_are_left_out_and_counted(tmp_path):
    radqa(tmp_path / "a.json", 7)
    notes = Notes(strict=True)
    (question,) = squad.read(tmp_path / "a.json", notes)
    assert (question.document, question.context[question.start : question.end]) == ("7_O", "a small shadow")
    assert notes.counts == {"unanswerable questions": 1}


def emrqa(path, notes):
    def asked(words, line, token, text, evidence, **more):
        answer = {"text": text, "answer_start": [line, token], "evidence": evidence, "evidence_start": line, **more}
        return {"id": [[["q", "q |problem|"]], "form"], "question": words, "answers": [answer]}

    paragraphs = []
    for number in notes:
        lines = [f"Note {number} .\n", "Brufalin was given , later brufalin 10 mg .\n", "He has a rash .\n"]
        questions = [
            asked(["Dose of brufalin?", "How much brufalin?", "brufalin dose"], 2, 5, "brufalin 10 mg", lines[1]),
            asked(["Is there a rash?"], 3, 0, "", lines[2], answer_entity_type="empty"),
            asked([f"Brufalin {number}?"], 2, 0, "BRUFALIN", lines[1]),
            {"id": [], "question": [SECRET], "answers": []},
        ]
        paragraphs.append({"note_id": f"{number}", "context": lines, "qas": questions})
    write(path, json.dumps({"data": [{"title": "medication", "paragraphs": paragraphs}]}))


def test_emrqas_places_are_lines_and_tokens_and_paraphrases_are_counted(tmp_path):
    emrqa(tmp_path / "a.json", [1])
    notes = Notes(strict=True)
    questions = squad.read(tmp_path / "a.json", notes)
    found = [(q.document, q.text, q.context[q.start : q.end], q.context[: q.start].count("\n") + 1) for q in questions]
    assert found == [
        ("1", "Dose of brufalin?", "brufalin 10 mg", 2),
        ("1", "Is there a rash?", "He has a rash .", 3),
        ("1", "Brufalin 1?", "Brufalin", 2),
    ]
    assert questions[2].start < questions[0].start
    assert notes.counts == {"unanswerable questions": 1, "paraphrases of a question left out": 2}


def test_emrqas_lines_without_ends_are_joined_and_places_outside_are_mended(tmp_path):
    answer = {"text": "rash", "answer_start": [99, 0]}
    paragraph = {"note_id": 1, "context": ["A", "rash ."], "qas": [{"question": ["What?"], "answers": [answer]}]}
    paragraph["qas"] += [{"question": ["Where?"], "answers": [answer | {"answer_start": place}]} for place in ([2, 77], [2], "2")]
    write(tmp_path / "a.json", json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    notes = Notes()
    first, second = squad.read(tmp_path / "a.json", notes)
    assert (first.context, first.start, second.start) == ("A\nrash .", 2, 2)
    assert notes.counts == {
        "answers that stand elsewhere than at their offset": 1,
        "skipped: malformed record (ValueError)": 1,
        "skipped: malformed record (TypeError)": 1,
    }


# The presets, each on files like those of its dataset


def lines(path, records):
    write(path, "".join(f"{json.dumps(record)}\n" for record in records))


def table(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def write_n2c2_2018(folder):
    for split, number in (("training_20180910", 12), ("gold-standard-test-data/test", 2)):
        for place in range(number):
            ade(folder / split, f"{split[:2]}{place}")
            text = folder / split / f"{split[:2]}{place}.txt"
            text.write_text(f"{text.read_text()}\nNote {split[:2]}{place}.")


def write_n2c2_2022(folder):
    for split in SPLITS:
        for source in ("mimic", "uw"):
            shac(folder / split / source)
            text = folder / split / source / "0001.txt"
            text.write_text(f"{text.read_text()}\nNote {split} {source}.")


def write_i2b2_2010(folder):
    for number in range(12):
        source = folder / "concept_assertion_relation_training_data" / ("beth", "partners")[number % 2]
        va_2010(source, f"record-{number}", text=f"{NOTE_2010}Note {number}.")
    reference = folder / "test/reference_standard_for_test_data"
    va_2010(reference, "0001", concepts="concepts", texts="../test_data", text=f"{NOTE_2010}Note of the test.")


def write_i2b2_2012(folder):
    for number in range(12):
        write(folder / f"2012-07-15.original-annotation.release/{number}.xml", xml_2012(text=f"{TEXT_2012}Note {number}.\n"))
        write(folder / f"2012-07-15.original-annotation.release/{number}.xml.txt", "the text again")
    write(folder / "ground_truth/merged_xml/99.xml", xml_2012(text=f"{TEXT_2012}Note of the test.\n"))


LABELS = ("entailment", "contradiction", "neutral")


def pairs(start, labels, **more):
    for number, label in enumerate(labels, start):
        yield {"sentence1": f"He has pain {number}.", "sentence2": f"He is well {number}.", **more, "label": label}


def write_mednli(folder):
    for place, split in enumerate(SPLITS):
        records = [
            {**pair, "gold_label": pair["label"], "pairID": f"{split}{n}"} for n, pair in enumerate(pairs(9 * place, LABELS))
        ]
        lines(folder / f"mli_{split}_v1.jsonl", records)


def write_radnli(folder):
    for place, split in enumerate(("dev", "test")):
        found = enumerate(pairs(99 * place, LABELS * 5))
        lines(
            folder / f"radnli_{split}_v1.jsonl",
            [{**pair, "gold_label": pair["label"], "pair_id": f"{split}{n}"} for n, pair in found],
        )


def write_scinli(folder):
    for place, split in enumerate(SPLITS):
        lines(folder / f"{split}.jsonl", list(pairs(9 * place, ("reasoning", "contrasting", "entailment", "neutral"))))


def write_radqa(folder):
    for number, split in enumerate(SPLITS):
        radqa(folder / f"{split}.json", number)


def write_emrqa(folder):
    emrqa(folder / "data.json", range(12))


def write_mimic_cxr(folder):
    for split in ("train", "validate", "test"):
        row = {
            "study": f"s-{split}",
            "impression": "No acute\nprocess.",
            "findings": f"The heart , {split}, is normal.",
            "comparison": "",
        }
        table(folder / f"{split}.csv", [row, {**row, "study": "s-none", "findings": ""}])


def write_medbullets(folder):
    options = {f"op{letter}": f"answer {letter}" for letter in "abcde"}
    rows = [
        {
            "question": f'A man of {number} coughs, "at night".\nWhat now?',
            **options,
            "answer": "answer c",
            "answer_idx": "C",
            "link": "x",
        }
        for number in range(12)
    ]
    table(folder / "medbullets_op5.csv", rows)


WRITERS = {
    "n2c2_2018_ade_ner": write_n2c2_2018,
    "n2c2_2018_ade_re": write_n2c2_2018,
    "n2c2_2022_sdoh_ner": write_n2c2_2022,
    "n2c2_2022_sdoh_re": write_n2c2_2022,
    "i2b2_2010_concepts": write_i2b2_2010,
    "i2b2_2010_relations": write_i2b2_2010,
    "i2b2_2012_events": write_i2b2_2012,
    "i2b2_2012_tlinks": write_i2b2_2012,
    "mednli": write_mednli,
    "radnli": write_radnli,
    "radqa": write_radqa,
    "emrqa": write_emrqa,
    "mimic_cxr_summary": write_mimic_cxr,
    "medbullets": write_medbullets,
    "scinli": write_scinli,
}
COUNTED = {
    "mimic_cxr_summary": {"skipped: field 'findings' is empty": 3},
    "radqa": {"unanswerable questions": 3},
}


def test_each_preset_has_files_here():
    assert set(WRITERS) == new.presets().keys()


@pytest.fixture
def task(tmp_path):
    """Copy a preset beside files like those of its dataset, and return its task."""

    def task(name):
        WRITERS[name](tmp_path / name)
        (tmp_path / name / f"{name}.toml").write_text(new.presets()[name])
        return card_file.read(tmp_path / name / f"{name}.toml")

    return task


@pytest.mark.parametrize("name", WRITERS)
def test_a_preset_reads_files_of_its_dataset_and_gold_reads_back(name, task):
    found = task(name)
    assert (found.name, found.role) == (name, "user")
    assert "not shipped" in found.licence
    loaded = found.load(None)
    assert {reason for reason in loaded.notes if reason.startswith("skipped")} <= set(COUNTED.get(name, ()))
    assert COUNTED.get(name, {}).items() <= loaded.notes.items()
    for split in SPLITS:
        assert loaded[split]
        for example in loaded[split]:
            answer = parse(found.card, example, render_target(found.card, example))
            assert (answer.answer, answer.unparseable, answer.ungrounded) == (example.gold, False, 0)
    assert any(example.gold != Answer() for example in loaded.test)


def words(example):
    return [(entity.label, example.text[entity.start : entity.end]) for entity in example.gold.entities]


def wordings(example):
    forms = example.arguments
    return {(relation.label, forms[relation.head][0], forms[relation.tail][0]) for relation in example.gold.relations}


def test_the_presets_of_entities_have_the_right_words_and_labels(task):
    example = task("n2c2_2018_ade_ner").load(None).test[0]
    assert words(example)[:3] == [("Drug", "Brufalin"), ("Strength", "10 mg"), ("Form", "tablets")]
    assert example.lost == 1  # the reason, which is in pieces
    example = task("n2c2_2022_sdoh_ner").load(None).test[0]
    assert {("Alcohol", "Drinks"), ("Status current", "Drinks"), ("Status none", "No"), ("Type", "wine")} <= set(words(example))
    assert ("Living with family", "with his\nsister") in words(example)
    example = task("i2b2_2010_concepts").load(None).test[0]
    assert words(example)[:2] == [("problem", "Fever"), ("problem", "Fever , and\nchills")]
    example = task("i2b2_2012_events").load(None).test[0]
    assert words(example)[:3] == [("occurrence", "Admission"), ("clinical department", "R&D ward"), ("test", "temp < 38")]
    assert Entity(0, 9, "occurrence") in example.gold.entities


def test_the_presets_of_relations_have_the_right_words_and_labels(task):
    example = task("n2c2_2018_ade_re").load(None).test[0]
    assert wordings(example) == {
        ("Strength-Drug", "10 mg", "Brufalin"),
        ("Form-Drug", "tablets", "Brufalin"),
        ("ADE-Drug", "Rash", "Brufalin"),  # a drug named twice is one argument
    }
    assert example.lost == 1  # the reason is in two pieces
    example = task("n2c2_2022_sdoh_re").load(None).test[0]
    assert wordings(example) >= {
        ("status current", "Drinks", "Drinks"),
        ("type", "Drinks", "wine"),
        ("status none", "drugs", "No"),
    }
    example = task("i2b2_2010_relations").load(None).test[0]
    assert wordings(example) == {
        ("treatment improves problem", "old aspirin", "chills"),
        ("test reveals problem", "X-ray", "a shadow"),
    }
    example = task("i2b2_2012_tlinks").load(None).test[0]
    assert wordings(example) == {("overlap", "Admission", "2011-02-30"), ("after", "no \n chest pain", "two days")}


def test_the_presets_of_questions_and_pairs_have_the_right_fields(task):
    example = task("medbullets").load(None).test[0]
    assert (example.gold.choice, len(example.choices)) == (2, 5)
    example = task("mednli").load(None).test[1]
    assert (example.text, example.fields, example.gold.choice) == ("He has pain 19.", (("Hypothesis", "He is well 19."),), 1)
    example = task("radqa").load(None).test[0]
    assert (example.fields, example.gold.text) == ((("Question", "Any shadow?"),), "a small shadow")
    example = task("mimic_cxr_summary").load(None).test[0]
    assert (example.text, example.gold.text) == ("The heart , test, is normal.", "No acute\nprocess.")


@pytest.mark.parametrize(
    ("name", "file", "place"),
    [
        ("n2c2_2018_ade_ner", "training_20180910/tr0.ann", "line 11"),
        ("i2b2_2010_concepts", "test/reference_standard_for_test_data/concepts/0001.con", "line 7"),
        ("i2b2_2012_events", "ground_truth/merged_xml/99.xml", "line 22"),
        ("mednli", "mli_dev_v1.jsonl", "line 4"),
        ("radqa", "test.json", "record 1/1/1"),
    ],
)
def test_a_strict_preset_names_the_file_and_the_line_of_a_bad_record(name, file, place, task, tmp_path):
    task(name)
    path = tmp_path / name / file
    content = path.read_text(encoding="utf-8")
    bad = {
        ".ann": f"{content}T99\tDrug 0 5\t{SECRET}\n",
        ".con": f'{content}{OTHER}||t="problem"\n',
        ".xml": content.replace("</TAGS>", f"{EVENT % SECRET}</TAGS>"),
        ".jsonl": f'{content}{{"sentence1": "{SECRET}"\n',
        ".json": content.replace('"a small shadow"', f'"{SECRET}"'),
    }
    path.write_text(bad[path.suffix], encoding="utf-8")
    message = refusal(card_file.read(tmp_path / name / f"{name}.toml", strict=True).load, None)
    assert f"{path} {place}" in message
