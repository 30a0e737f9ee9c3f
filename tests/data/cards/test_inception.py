"""INCEpTION's exports (UIMA CAS XMI) as data of a card: layers, relations, slots, projects; offsets count UTF-16 units."""

from __future__ import annotations

import io
import sys
import zipfile
from xml.sax.saxutils import quoteattr

import pytest

from mpdd.data.cards import formats, new
from mpdd.data.cards.labelled import Naming, read_labelled
from mpdd.data.task import TaskCard
from mpdd.errors import InputError, MpddError
from tests.data.cards.conftest import SECRET, load

pytest.importorskip("cassis")

NER = TaskCard("own", "ner", "Do it.", labels=("Drug", "Problem"))
RE = TaskCard("own", "re", "Do it.", labels=("causes", "agent", "det"))
URGENCY = TaskCard("own", "classification", "Do it.", labels=("urgent", "routine"))
TEXT = f"😢 Rash\r\nafter amoxicillin 💊, {SECRET}."
DKPRO = "de.tudarmstadt.ukp.dkpro.core.api"
NAMED, TOKEN = f"{DKPRO}.ner.type.NamedEntity", f"{DKPRO}.segmentation.type.Token"
DEPENDENCY, ANNOTATION = f"{DKPRO}.syntax.type.dependency.Dependency", "uima.tcas.Annotation"
TYPES = {  # by type: its supertype, and its features with what they hold
    TOKEN: (ANNOTATION, {}),
    NAMED: (ANNOTATION, {"value": "String", "identifier": "String"}),
    DEPENDENCY: (ANNOTATION, {"Governor": TOKEN, "Dependent": TOKEN, "DependencyType": "String"}),
    "webanno.custom.Medication": (ANNOTATION, {"ClassType": "String", "InNarrative": "Boolean"}),
    "webanno.custom.Finding": (ANNOTATION, {"side": "String", "kind": "String", "agents": "FSArray"}),
    "webanno.custom.FindingAgentsLink": ("uima.cas.TOP", {"role": "String", "target": ANNOTATION}),
    "custom.Relation": (ANNOTATION, {"Governor": ANNOTATION, "Dependent": ANNOTATION, "label": "String"}),
    "webanno.custom.Triage": ("uima.cas.AnnotationBase", {"urgency": "String"}),
    f"{DKPRO}.metadata.type.DocumentMetaData": ("uima.tcas.DocumentAnnotation", {"documentTitle": "String"}),
}


def type_system():
    """The type system as INCEpTION writes it."""
    described = []
    for name, (base, features) in TYPES.items():
        ranges = {key: value if "." in value else f"uima.cas.{value}" for key, value in features.items()}
        listed = "".join(
            f"<featureDescription><name>{key}</name><description/><rangeTypeName>{value}</rangeTypeName></featureDescription>"
            for key, value in ranges.items()
        )
        described.append(
            f"<typeDescription><name>{name}</name><description/><supertypeName>{base}</supertypeName>"
            f"<features>{listed}</features></typeDescription>"
        )
    head = '<?xml version="1.0" encoding="UTF-8"?><typeSystemDescription xmlns="http://uima.apache.org/resourceSpecifier">'
    return f"{head}<types>{''.join(described)}</types></typeSystemDescription>".encode()


def utf16(text):
    return len(text.encode("utf-16-le")) // 2


def at(words, text=TEXT):
    """Where words stand, as Java counts."""
    start = utf16(text[: text.index(words)])
    return {"begin": start, "end": start + utf16(words)}


def xmi(*structures, text=TEXT):
    """A CAS of structures (type, values), with the ids 10, 11 and so on."""
    spaces = {name.rpartition(".")[0]: f"n{place}" for place, name in enumerate(TYPES)}
    lines = []
    for place, (name, values) in enumerate(structures, 10):
        package, _, short = name.rpartition(".")
        attributes = "".join(f" {key}={quoteattr(str(value))}" for key, value in values.items())
        lines.append(f'<{spaces[package]}:{short} xmi:id="{place}" sofa="1"{attributes}/>'.replace(' sofa="1" role', " role"))
    declared = "".join(f' xmlns:{short}="http:///{name.replace(".", "/")}.ecore"' for name, short in spaces.items())
    members = " ".join(str(place) for place, (name, _) in enumerate(structures, 10) if not name.endswith("Link"))
    sofa = quoteattr(text, {"\r": "&#13;", "\n": "&#10;"})
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<xmi:XMI xmlns:xmi="http://www.omg.org/XMI" xmlns:cas="http:///uima/cas.ecore"'
        f'{declared} xmi:version="2.0"><cas:NULL xmi:id="0"/>{"".join(lines)}'
        f'<cas:Sofa xmi:id="1" sofaNum="1" sofaID="_InitialView" mimeType="text" sofaString={sofa}/>'
        f'<cas:View sofa="1" members="{members}"/></xmi:XMI>'
    ).encode()


RASH = (NAMED, {**at("Rash"), "value": "Problem", "identifier": "http://x"})
DRUG = (NAMED, {**at("amoxicillin"), "value": "Drug"})
TITLE = (f"{DKPRO}.metadata.type.DocumentMetaData", {"begin": 0, "end": utf16(TEXT), "documentTitle": "note 7.txt"})
DOCUMENT = xmi(TITLE, RASH, DRUG, *((TOKEN, at(word)) for word in ("Rash", "after", "amoxicillin")))


def packed(files):
    """A zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def read(tmp_path):
    """Read a document as data of a card, its type system beside it."""

    def read(content, card=NER, **naming):
        (tmp_path / "a.xmi").write_bytes(content)
        (tmp_path / "TypeSystem.xml").write_bytes(type_system())
        return read_labelled(card, [tmp_path / "a.xmi"], Naming(**naming))

    return read


def mentions(examples):
    return [(e.label, example.text[e.start : e.end]) for example in examples for e in example.gold.entities]


def pairs(examples):
    return [(r.label, x.arguments[r.head][0], x.arguments[r.tail][0]) for x in examples for r in x.gold.relations]


def test_offsets_behind_emoji_and_a_crlf_are_in_characters(read):
    ((example,), notes) = read(DOCUMENT)
    assert mentions([example]) == [("Problem", "Rash"), ("Drug", "amoxicillin")]
    assert (example.text, example.id) == (TEXT, "own:note 7.txt@0")
    assert notes == {"records recognised as INCEpTION (UIMA CAS XMI)": 1}


# Where the files lie


@pytest.mark.parametrize(
    "suffixes", [("a.xmi", "TypeSystem.xml"), ("a.xmi", "typesystem.xml"), ("deep/er/a.xmi", "TypeSystem.xml")]
)
def test_a_folder_and_a_zip_are_recognised(suffixes, tmp_path):
    name, types = suffixes
    files = {name: DOCUMENT, types: type_system(), "other.xml": b"<other/>"}
    (tmp_path / "a.zip").write_bytes(packed(files))
    for file, content in files.items():
        (tmp_path / "all" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / file).write_bytes(content)
    for path in (tmp_path / "a.zip", tmp_path / "all"):
        assert formats.recognise([path], "ner", "") == ["inception"]
        assert mentions(read_labelled(NER, [path])[0]) == [("Problem", "Rash"), ("Drug", "amoxicillin")]


def version(label):
    """What one person made of a document."""
    return packed({"x.xmi": xmi((NAMED, {**at("Rash"), "value": label})), "TypeSystem.xml": type_system()})


PROJECT = {
    "exportedproject.json": b"{}",
    "source/one.txt": TEXT.encode(),
    "source/two.xmi": xmi(),
    "annotation/one.txt/INITIAL_CAS.zip": version("initial"),
    "annotation/one.txt/zoe.zip": version("Drug"),
    "annotation/one.txt/adam.zip": version("Drug"),
    "curation/one.txt/CURATION_USER.zip": version("Problem"),
    "annotation/two.txt/zoe.zip": version("Problem"),
    "annotation/two.txt/adam.zip": version("Drug"),
    "annotation/three.txt/INITIAL_CAS.zip": version("initial"),
}


@pytest.mark.parametrize("start", ["", "annotation"])
def test_a_project_gives_each_document_once(start, tmp_path):
    for name, content in PROJECT.items():
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_bytes(content)
    (tmp_path / "a.zip").write_bytes(packed(PROJECT))
    paths = [tmp_path / "all" / start] + ([] if start else [tmp_path / "a.zip"])
    for path in paths:
        examples, notes = read_labelled(NER, [path])
        found = {example.id: mentions([example]) for example in examples}
        curated = "Drug" if start else "Problem"
        assert found == {"own:one.txt@0": [(curated, "Rash")], "own:two.txt@0": [("Drug", "Rash")]}
        assert notes["texts that nobody annotated left out"] == 1
        assert notes["further annotations of the same text left out"] == (2 if start else 3)


def test_a_card_reads_it_and_new_proposes_no_columns(write, tmp_path):
    texts = [f"Day {n}: Rash after amoxicillin." for n in range(10)]
    files = {f"all/{n}.xmi": xmi((NAMED, {**at("Rash", text), "value": "Problem"}), text=text) for n, text in enumerate(texts)}
    path = write("ner", files | {"all/TypeSystem.xml": type_system()}, {"format": "", "train": "all"}, labels=["Drug", "Problem"])
    assert {e.id for e in load(path, strict=True).train} <= {f"own:train:{n}@0" for n in range(10)}
    there = new.columns("inception", [tmp_path / "all"], NER)
    assert {"text", "entities", "relations", "NamedEntity", "NamedEntity.identifier"} <= set(there)


# Layers


MEDICATION = ("webanno.custom.Medication", {**at("amoxicillin"), "ClassType": "Drug", "InNarrative": "true"})
FINDING = ("webanno.custom.Finding", {**at("Rash"), "side": "left", "kind": "Problem"})


def test_labels_come_from_a_usual_feature_or_the_only_one_or_the_layer(read):
    card = TaskCard("own", "ner", "Do it.", labels=("Drug", "Problem", "Finding"))
    examples, notes = read(xmi(RASH, MEDICATION, FINDING), card)
    assert mentions(examples) == [("Finding", "Rash"), ("Problem", "Rash"), ("Drug", "amoxicillin")]
    assert notes["annotations of the layer Medication recognised as labelled by its feature ClassType"] == 1
    assert notes["annotations of the layer Finding recognised as labelled by its name"] == 1


def test_a_card_may_name_the_layer_and_its_feature(read):
    document = xmi(RASH, MEDICATION, FINDING)
    for column, wanted in [("NamedEntity", ["Rash"]), ("Medication", ["amoxicillin"]), ("Finding.kind", ["Rash"])]:
        examples, _ = read(document, columns={"entities": column})
        assert [words for _, words in mentions(examples)] == wanted
    with pytest.raises(InputError, match="lacks columns"):
        read(document, columns={"entities": "Findings"})


def test_an_annotation_without_a_label_is_counted(read):
    _, notes = read(xmi(RASH, (NAMED, at("amoxicillin"))))
    assert notes["skipped: entity without the key 'label' (found end, id, start)"] == 1


def test_relations_run_from_governor_to_dependent_and_slots_are_relations(read):
    link = ("webanno.custom.FindingAgentsLink", {"role": "agent", "target": 11})
    finding = ("webanno.custom.Finding", {**at("Rash"), "agents": 14})
    causes = ("custom.Relation", {**at("Rash"), "Governor": 11, "Dependent": 10, "label": "causes"})
    tokens = [(TOKEN, at("after")), (DEPENDENCY, {**at("after"), "Governor": 15, "Dependent": 10, "DependencyType": "det"})]
    document = xmi(RASH, DRUG, causes, finding, link, *tokens)
    examples, _ = read(document, RE)
    assert sorted(pairs(examples)) == [("agent", "Rash", "amoxicillin"), ("causes", "amoxicillin", "Rash")]
    examples, _ = read(document, RE, columns={"relations": "Dependency"})
    assert pairs(examples) == [("det", "after", "Rash")]


def test_a_layer_that_is_not_there_is_named_for_relations_too(read):
    with pytest.raises(InputError, match="lacks columns"):
        read(xmi(RASH, DRUG), RE, columns={"entities": "Findings"})


def test_features_of_the_whole_document_are_columns(read):
    triage = ("webanno.custom.Triage", {"urgency": "routine"})
    ((example,), _) = read(xmi(RASH, triage), URGENCY, columns={"answer": "urgency"})
    assert example.gold.choice == 1 and example.text == TEXT


# What cannot be read


def test_an_offset_within_a_character_leaves_the_document_out_and_is_counted(tmp_path):
    (tmp_path / "TypeSystem.xml").write_bytes(type_system())
    (tmp_path / "a.xmi").write_bytes(DOCUMENT)
    (tmp_path / "b.xmi").write_bytes(xmi((NAMED, {"begin": 1, "end": 4, "value": "Drug"})))
    examples, notes = read_labelled(NER, [tmp_path])
    assert len(examples) == 1
    assert notes["skipped: document with an offset within a character or past its text"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DOCUMENT[:-40], "a.xmi cannot be read as UIMA CAS XMI; found XMLSyntaxError; wanted a whole file of XML 1.0 that fits"),
        (DOCUMENT.replace(b"NamedEntity", b"NamedThing"), "found TypeNotFoundError"),
        (DOCUMENT.replace(b"<xmi:XMI", b'<!DOCTYPE a [<!ENTITY b "c">]><xmi:XMI', 1), "has a document type"),
        (DOCUMENT.decode().encode("utf-16"), "is not UTF-8 text; found UTF-16 text"),
        (b"<xmi:XMI/>", "cannot be read as UIMA CAS XMI"),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(content, message, read):
    with pytest.raises(InputError) as error:
        read(content, format="inception")
    assert message in str(error.value) and SECRET not in str(error.value) and "\n" not in str(error.value)


def test_a_missing_type_system_is_named(tmp_path):
    (tmp_path / "a.xmi").write_bytes(DOCUMENT)
    with pytest.raises(InputError, match=r"There is no type system beside .*a\.xmi; wanted the TypeSystem\.xml"):
        read_labelled(NER, [tmp_path / "a.xmi"])
    (tmp_path / "TypeSystem.xml").write_bytes(type_system()[:-30])
    with pytest.raises(InputError, match=r"The type system of .*a\.xmi cannot be read"):
        read_labelled(NER, [tmp_path / "a.xmi"])


def test_a_project_of_another_format_is_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(packed({"annotation/one.txt/zoe.zip": packed({"zoe.tsv": b"x"})}))
    with pytest.raises(InputError, match="holds no file that ends in .xmi.*Export the project from INCEpTION with UIMA CAS XMI"):
        read_labelled(NER, [tmp_path / "a.zip"])


def test_without_cassis_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cassis", None)
    (tmp_path / "a.xmi").write_bytes(DOCUMENT)
    (tmp_path / "TypeSystem.xml").write_bytes(type_system())
    with pytest.raises(MpddError, match=r"pip install 'mpdd\[inception\]'"):
        read_labelled(NER, [tmp_path / "a.xmi"])
