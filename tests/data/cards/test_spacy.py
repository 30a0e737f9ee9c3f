"""spaCy's Docs as data of a card: a DocBin, and the JSON of `Doc.to_json`."""

from __future__ import annotations

import sys
import zlib

import pytest

from mpdd.data.cards import formats
from mpdd.data.cards.labelled import Naming, read_labelled
from mpdd.data.task import TaskCard
from mpdd.errors import InputError, MpddError
from tests.data.cards.conftest import SECRET, lines

NER = TaskCard("own", "ner", "Do it.", labels=("Drug", "Problem"))
URGENCY = TaskCard("own", "classification", "Do it.", labels=("urgent", "routine"), form="single")
TOPICS = TaskCard("own", "classification", "Do it.", labels=("skin", "heart", "lung"), form="multiple")
TEXT = f"😢 Rash after amoxicillin, {SECRET}."
RASH, DRUG = (2, 6, "Problem"), (13, 24, "Drug")
CATS = {"skin": 0.9, "heart": 0.2, "urgent": 0.6, "routine": 0.4}


def span(start, end, label):
    return {"start": start, "end": end, "label": label}


DOC = {"text": TEXT, "ents": [span(*RASH)], "spans": {"sc": [span(*DRUG), span(*RASH)]}, "cats": CATS, "tokens": []}


def mentions(examples):
    return [(e.label, x.text[e.start : e.end]) for x in examples for e in x.gold.entities]


@pytest.fixture(params=["to_json", "DocBin"])
def path(request, tmp_path):
    """A file with one Doc; its name says nothing of what it holds."""
    if request.param == "to_json":
        (tmp_path / "docs").write_text(lines([DOC]))
        return tmp_path / "docs"
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    doc = spacy.blank("xx")(TEXT)
    doc.ents, doc.cats = [doc.char_span(*RASH[:2], label=RASH[2])], CATS
    doc.spans["sc"] = [doc.char_span(start, end, label=label) for start, end, label in (DRUG, RASH)]
    DocBin(docs=[doc]).to_disk(tmp_path / "docs")
    return tmp_path / "docs"


def test_entities_and_the_spans_of_groups_once_each(path):
    assert formats.recognise([path], "ner", "") == ["spacy"]
    examples, notes = read_labelled(NER, [path])
    assert [example.text for example in examples] == [TEXT]
    assert mentions(examples) == [("Problem", "Rash"), ("Drug", "amoxicillin")]
    assert notes == {"records recognised as spaCy": 1}


def test_a_card_may_name_what_holds_its_entities(path):
    for column, wanted in (("sc", 2), ("ents", 1)):
        examples, _ = read_labelled(NER, [path], Naming(columns={"entities": column}))
        assert len(mentions(examples)) == wanted


def test_categories_from_a_half_on_are_labels(path):
    ((urgency,), _), ((topics,), _) = read_labelled(URGENCY, [path]), read_labelled(
        TaskCard("own", "classification", "Do it.", labels=(*TOPICS.labels, "urgent"), form="multiple"), [path]
    )  # fmt: skip
    assert urgency.gold.choice == 0 and topics.gold.labels == (0, 3)


def test_damaged_files_are_refused_in_one_sentence(tmp_path):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    content = DocBin(docs=[spacy.blank("xx")(TEXT)], store_user_data=True).to_bytes()
    unpacked = zlib.decompress(content)
    for number, damaged in enumerate([content[:-20], content[:30] + content[40:], zlib.compress(unpacked[:-50]),
                                      zlib.compress(unpacked.replace(b"tokens", b"tokenz"))]):  # fmt: skip
        path = tmp_path / f"{number}.spacy"
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read as spaCy's DocBin; found") as error:
            read_labelled(NER, [path])
        assert SECRET not in str(error.value)


def test_a_file_that_unpacks_to_far_too_much_is_refused(tmp_path):
    pytest.importorskip("spacy")
    (tmp_path / "a.spacy").write_bytes(zlib.compress(b"\x81\xa7version\xa5attrs" + b"\0" * (65 << 20)))
    with pytest.raises(InputError, match="unpacks to far more"):
        read_labelled(NER, [tmp_path / "a.spacy"])


def test_without_spacy_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    (tmp_path / "a.spacy").write_bytes(zlib.compress(b"\x82\xa7version\xa30.1\xa5attrs"))
    with pytest.raises(MpddError, match=r"pip install 'mpdd\[spacy\]'"):
        read_labelled(NER, [tmp_path / "a.spacy"])
