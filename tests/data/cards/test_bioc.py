"""BioC as its tools write it: XML and JSON, passages and sentences, offsets counted in several ways."""

from __future__ import annotations

import json

import pytest
from lxml import etree

from mpdd.data.cards import formats
from mpdd.data.cards.labelled import Naming, read_labelled
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from tests.data.cards.conftest import SECRET

NER = TaskCard("own", "ner", "Do it.", labels=("Drug", "Problem"))
RE = TaskCard("own", "re", "Do it.", labels=("causes",))
URGENCY = TaskCard("own", "classification", "Do it.", labels=("urgent", "routine"))
TITLE, ABSTRACT = "Ödem 😢.", f"Rash 💊 after amoxicillin, {SECRET}."


def annotation(name, label, words, *places, **more):
    locations = [{"offset": start, "length": length} for start, length in places]
    return {"id": name, "infons": {"type": label}, "text": words, "locations": locations, **more}


def passage(offset, text, *annotations, **more):
    return {"offset": offset, "infons": {}, "text": text, "annotations": list(annotations), "relations": [], **more}


def relation(*nodes, label="causes"):
    return {"id": "R1", "infons": {"type": label}, "nodes": [{"refid": name, "role": role} for name, role in nodes]}


def collection(*passages, **more):
    return {"source": "x", "infons": {}, "documents": [{"id": "7", "infons": {}, "passages": list(passages), **more}]}


def xml(content):
    """The collection as XML."""
    names = {"documents": "document", "passages": "passage", "sentences": "sentence", "annotations": "annotation"}
    names |= {"relations": "relation", "locations": "location", "nodes": "node"}

    def add(parent, tag, values):
        own = values if tag in ("location", "node") else {"id": values["id"]} if tag in ("annotation", "relation") else {}
        element = etree.SubElement(parent, tag, {key: str(value) for key, value in own.items()})
        for key, value in values.items():
            if key == "infons":
                for name, words in value.items():
                    etree.SubElement(element, "infon", key=name).text = words
            elif key in names:
                for one in value:
                    add(element, names[key], one)
            elif key not in own:
                etree.SubElement(element, key).text = str(value)

    root = etree.Element("root")
    add(root, "collection", content)
    return etree.tostring(root[0], xml_declaration=True, encoding="UTF-8", doctype='<!DOCTYPE collection SYSTEM "BioC.dtd">')


WRITTEN = {"json": lambda content: json.dumps(content).encode(), "xml": xml}


@pytest.fixture(params=WRITTEN)
def read(request, tmp_path):
    """The examples of a collection in JSON and in XML, and the notes."""

    def read(content, card=NER, **naming):
        path = tmp_path / f"notes.{request.param}"
        path.write_bytes(WRITTEN[request.param](content))
        return read_labelled(card, [path], Naming(**naming))

    return read


def mentions(examples):
    return [(e.label, x.text[e.start : e.end]) for x in examples for e in x.gold.entities]


COUNTED = {"characters": len, "UTF-16 units": lambda t: len(t.encode("utf-16-le")) // 2, "UTF-8 bytes": lambda t: len(t.encode())}


@pytest.mark.parametrize("unit", COUNTED)
def test_passages_with_offsets_from_the_start_of_the_document(read, unit):
    count = COUNTED[unit]
    second = count(TITLE) + 1
    drug = annotation("b", "Drug", "amoxicillin", (second + count(ABSTRACT[:13]), 11))
    rash = annotation("c", "Problem", "Rash", (second, 4))
    examples, notes = read(collection(passage(0, TITLE, annotation("a", "Problem", "Ödem", (0, count("Ödem")))),
                                      passage(second, ABSTRACT, drug, rash)))  # fmt: skip
    assert [example.text for example in examples] == [f"{TITLE}\n{ABSTRACT}"]
    assert mentions(examples) == [("Problem", "Ödem"), ("Problem", "Rash"), ("Drug", "amoxicillin")]
    assert notes["records recognised as BioC"] == 1
    assert unit == "characters" or f"mentions with offsets in {unit}" in notes


def test_the_file_is_recognised_by_its_content(tmp_path):
    for name, content in WRITTEN.items():
        (tmp_path / name).write_bytes(content(collection(passage(0, TITLE))))
        assert formats.recognise([tmp_path / name], "ner", "") == ["bioc"]


def test_a_folder_of_xml_files_is_one_corpus(tmp_path):
    for number in range(2):
        rash = annotation("a", "Problem", "Rash", (0, 4))
        (tmp_path / f"{number}.xml").write_bytes(xml(collection(passage(0, f"Rash {number}.", rash))))
    examples, _ = read_labelled(NER, [tmp_path])
    assert mentions(examples) == [("Problem", "Rash")] * 2


def test_sentences_stand_for_a_passage_without_text(read):
    sentences = [
        {"offset": 10, "infons": {}, "text": "A rash. ", "annotations": [annotation("a", "Problem", "rash", (12, 4))]},
        {"offset": 18, "infons": {}, "text": "No fever.", "annotations": [annotation("b", "Problem", "fever", (21, 5))]},
        {"offset": 29, "infons": {}, "text": "Fine.", "annotations": []},
    ]
    bare = {"offset": 10, "infons": {}, "sentences": sentences, "annotations": [annotation("c", "Problem", "Fine", (29, 4))]}
    examples, _ = read(collection(passage(0, "Title."), bare))
    assert [example.text for example in examples] == ["Title.\nA rash. No fever. Fine."]
    assert mentions(examples) == [("Problem", "rash"), ("Problem", "fever"), ("Problem", "Fine")]


def test_annotations_of_the_whole_document_stand_in_the_passage_of_their_offset(read):
    content = collection(passage(0, "Rash."), passage(6, "Rash."), annotations=[annotation("a", "Problem", "Rash", (6, 4))])
    ((example,), _) = read(content)
    assert [(e.start, e.end) for e in example.gold.entities] == [(6, 10)]


def test_relations_run_by_role_and_others_are_counted(read):
    rash, drug = annotation("a", "Problem", "Rash", (0, 4)), annotation("b", "Drug", "amoxicillin", (11, 11))
    relations = [
        relation(("a", "tail"), ("b", "head")),
        relation(("a", ""), ("b", ""), ("a", "")),
        relation(),
        relation(("a", ""), ("R9", "")),
    ]
    text = "Rash after amoxicillin."
    for content in (collection(passage(0, text, rash, drug), relations=relations),
                    collection(passage(0, text, rash, drug, relations=relations))):  # fmt: skip
        ((example,), notes) = read(content, RE)
        ((found,),) = (example.gold.relations,)
        assert [example.arguments[end][0] for end in (found.head, found.tail)] == ["amoxicillin", "Rash"]
        assert notes["skipped: relation without the key 'head' (found label, nodes)"] == 2
        assert notes["skipped: relation without two known entities"] == 1


def test_pieces_of_a_discontinuous_annotation_and_offsets_that_fit_nothing_are_counted(read):
    pieces = annotation("a", "Problem", "left pain", (0, 4), (9, 4))
    wrong, bare = annotation("b", "Drug", "aspirin", (2, 3)), annotation("c", "Drug", "pain")
    fine = annotation("d", "Problem", "arm", (5, 3))
    ((example,), notes) = read(collection(passage(0, "left arm pain", pieces, wrong, bare, fine)))
    assert mentions([example]) == [("Problem", "arm")]
    assert notes["discontinuous mentions"] == notes["skipped: entity that its offsets do not give"] == 1
    assert notes["skipped: entity without the key 'start' (found id, label)"] == 1


def test_infons_of_a_document_are_its_columns(read):
    content = collection(passage(0, "Rash."), infons={"urgency": "routine"})
    ((example,), _) = read(content, URGENCY, columns={"answer": "urgency"})
    assert example.gold.choice == 1 and example.text == "Rash."


def test_json_in_other_wrappings(tmp_path):
    content = collection(passage(0, "Rash.", annotation("a", "Problem", "Rash", (0, 4))))
    document = content["documents"][0]
    for name, text in [
        ("collections.json", json.dumps([content])),
        ("pubtator3.json", json.dumps({"PubTator3": [document]})),
        ("lines.jsonl", json.dumps(document) + "\n"),
        ("one.json", json.dumps(document)),
    ]:
        (tmp_path / name).write_text(text)
        examples, notes = read_labelled(NER, [tmp_path / name])
        assert mentions(examples) == [("Problem", "Rash")] and notes["records recognised as BioC"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (xml(collection(passage(0, ABSTRACT)))[:-30], "is not valid XML; found an error on line 3; wanted a complete XML file"),
        (b"<collection><source>x</source></collection>", "no usable record"),
        (xml(collection(passage("x", ABSTRACT))), "found 1 skipped: passage without an offset"),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_sentence(tmp_path, content, message):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_labelled(NER, [tmp_path / "a.xml"])
    assert message in str(error.value) and SECRET not in str(error.value)


def test_entities_of_a_document_type_are_not_expanded(tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    head = f'<!DOCTYPE collection [<!ENTITY a SYSTEM "{tmp_path / "secret"}">]>'
    body = xml(collection(passage(0, "Rash. X", annotation("a", "Problem", "Rash", (0, 4))))).decode().partition("\n")[2]
    (tmp_path / "a.xml").write_text(head + body.partition("\n")[2].replace("X", "&a;"))
    ((example,), _) = read_labelled(NER, [tmp_path / "a.xml"])
    assert SECRET not in example.text and mentions([example]) == [("Problem", "Rash")]
