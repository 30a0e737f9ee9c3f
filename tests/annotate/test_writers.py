"""What each writer makes, against the format's own rules: column lists, schemas, the tools' own libraries."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree, html

from mpdd.annotate import writers
from mpdd.annotate.answers.results import answer_of
from mpdd.annotate.answers.tokens import tokens
from mpdd.annotate.answers.types import AnnotatedNote, Entity, Relation, Span, TaskAnswer
from mpdd.annotate.convert import write
from mpdd.annotate.writers.base import Origin, file_names, without_spaces
from mpdd.errors import InputError
from tests.annotate.strategies import LABELS, batches, entities_of
from tests.conftest import tries

ORIGIN = Origin("model 7", datetime(2026, 5, 17, 12, 30, tzinfo=UTC))
TEXT = "Takes aspirin 💊 for\r\nchest pain. <script>x</script>"
ASPIRIN, PAIN = Span(6, 13, "aspirin"), Span(21, 31, "chest pain")
NOTE = AnnotatedNote(
    "17",
    TEXT,
    (
        TaskAnswer("drugs", "entities", (Entity("Drug", 6, 13, "aspirin", 0.9), Entity("Drug", 6, 13, "aspirin", 0.8))),
        TaskAnswer("pairs", "relations", relations=(Relation("treats", ASPIRIN, PAIN, 0.4),), cut_characters=5),
        TaskAnswer("urgency", "answer", answer="urgent", confidence=0.7),
        TaskAnswer("short", "summary", answer="Aspirin for chest pain."),
    ),
)


def made(to, notes=(NOTE,)):
    return {name: content.decode("utf-8") for name, content in writers.writer(to).files(list(notes), ORIGIN)}


def test_every_format_is_a_module_of_its_own_and_says_what_it_does_not_hold():
    assert set(writers.formats()) == {
        "bioc-json", "bioc-xml", "brat", "csv", "doccano", "fhir", "html", "inception", "label-studio", "omop", "parquet",
        "prodigy", "spacy",
    }  # fmt: skip
    assert all(writers.writer(name).title and writers.writer(name).lost for name in writers.formats())


@pytest.mark.parametrize("to", ["doccano", "prodigy", "label-studio", "fhir", "inception", "spacy"])
def test_a_free_answer_is_no_class_in_any_format(to):
    """Its words, which may quote the note, would be a label of their own for each note."""
    words = "Because of chest pain."
    answer = answer_of({"task": "why", "answer": words, "free": True})
    assert answer.kind == "free" and answer.categories == () and answer_of(answer.to_dict()) == answer
    content = b"".join(content for _, content in writers.writer(to).files([AnnotatedNote("17", TEXT, (answer,))], ORIGIN)).decode(
        "latin-1"
    )
    if to in ("doccano", "prodigy"):
        assert words not in content and '"label": [' not in content and "options" not in content
    elif to == "spacy":
        assert next(docs_of(content.encode("latin-1"))).cats == {}
    else:
        assert words in content and "choices" not in content.lower() and "valueCodeableConcept" not in content


def docs_of(content):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    return DocBin().from_bytes(content).get_docs(spacy.blank("xx").vocab)


def test_formats_are_available_where_their_packages_are(monkeypatch):
    assert set(writers.available()) == set(writers.formats())
    monkeypatch.setattr(writers, "find_spec", lambda name: None if name == "cassis" else object())
    assert set(writers.formats()) - set(writers.available()) == {"inception"}


def test_a_new_format_takes_one_file(tmp_path, monkeypatch):
    (tmp_path / "dummy_one.py").write_text(
        "from mpdd.annotate.writers.base import Writer\n"
        "WRITER = Writer('Dummy', '.x', lambda notes, origin: iter([('', b'x' * len(notes))]), 'all')\n"
    )
    monkeypatch.setattr(writers, "__path__", [*writers.__path__, str(tmp_path)])
    assert "dummy-one" in writers.formats()
    write([NOTE], tmp_path / "out.x", "dummy-one")
    assert (tmp_path / "out.x").read_bytes() == b"x"


def test_unknown_formats_and_places_that_are_taken_are_refused(tmp_path):
    with pytest.raises(InputError, match="no format 'brad' to write; wanted perhaps brat"):
        write([NOTE], tmp_path / "out", "brad")
    (tmp_path / "there").write_text("mine")
    for to in ("html", "brat"):
        with pytest.raises(InputError, match="is there already"):
            write([NOTE], tmp_path / "there", to)
    assert (tmp_path / "there").read_text() == "mine"


def test_a_failed_folder_leaves_nothing(tmp_path, monkeypatch):
    def fail(notes, origin):
        yield "a.txt", b"a"
        raise InputError("no")

    monkeypatch.setattr("mpdd.annotate.writers.brat.WRITER", writers.base.Writer("x", "", fail, "x"))
    with pytest.raises(InputError):
        write([NOTE], tmp_path / "out", "brat")
    assert list(tmp_path.iterdir()) == []


def test_names_of_files_and_labels_are_safe_and_distinct():
    ids = ["a/b", "a\\b", "..", "A/b", "x" * 400, "", "ß 1"]
    names = file_names(ids)
    assert len({name.casefold() for name in names}) == len(ids)
    assert all(re.fullmatch(r"[\w.-]+", name) and not name.startswith(".") and len(name.encode()) < 200 for name in names)
    assert without_spaces(["Side effect", "Side_effect", "a\tb", "Drug"]) == {
        "Side effect": "Side_effect", "Side_effect": "Side_effect_2", "a\tb": "a_b", "Drug": "Drug",
    }  # fmt: skip


def test_brat_has_its_configuration_and_mentions_in_pieces_of_a_line():
    files = made("brat")
    assert set(files) == {"17.txt", "17.ann", "annotation.conf", "visual.conf"}
    assert files["17.txt"] == TEXT
    lines = files["17.ann"].splitlines()
    assert lines[:3] == ["T1\tDrug 6 13\taspirin", "T2\tArgument 21 31\tchest pain", "R1\ttreats Arg1:T1 Arg2:T2"]
    assert "#1\tAnnotatorNotes T1\tconfidence 0.9000" in lines
    across = Entity("Drug", 14, 31, TEXT[14:31])
    lines = made("brat", [AnnotatedNote("1", TEXT, (TaskAnswer("d", "entities", (across,)),))])["1.ann"].splitlines()
    assert lines == ["T1\tDrug 14 19;21 31\t💊 for chest pain"]
    sections = re.findall(r"^\[(\w+)\]$", files["annotation.conf"], re.MULTILINE)
    assert sections == ["entities", "relations", "events", "attributes"]


def test_label_studio_counts_as_browsers_do_and_brings_its_interface():
    files = made("label-studio")
    (task,) = json.loads(files["tasks.json"])
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "model 7"
    assert prediction["score"] == 0.7
    regions = {r["id"]: r for r in prediction["result"] if r["type"] == "labels"}
    in_utf16 = TEXT.encode("utf-16-le")
    for region in regions.values():
        value = region["value"]
        assert in_utf16[2 * value["start"] : 2 * value["end"]].decode("utf-16-le") == value["text"]
    (relation,) = (r for r in prediction["result"] if r["type"] == "relation")
    assert regions[relation["from_id"]]["value"]["text"] == "aspirin"
    assert regions[relation["to_id"]]["value"]["text"] == "chest pain"
    view = etree.fromstring(files["labeling_config.xml"])
    names = {element.get("name"): element.tag for element in view if element.get("name")}
    assert {r["from_name"] for r in prediction["result"] if "from_name" in r} <= set(names)
    assert names == {"label": "Labels", "text": "Text", "urgency": "Choices", "short": "TextArea"}
    assert {r["to_name"] for r in prediction["result"] if "to_name" in r} == {"text"}


@given(notes=batches())
@settings(max_examples=tries(10), deadline=None)
def test_label_studio_takes_the_predictions_by_its_own_library(notes):
    library = pytest.importorskip("label_studio_sdk.label_interface")
    files = made("label-studio", [*notes, NOTE])
    interface = library.LabelInterface(files["labeling_config.xml"])
    for task in json.loads(files["tasks.json"]):
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction, return_errors=True) == []
    prediction["result"][0]["value"]["labels"] = ["no such label"]
    assert interface.validate_prediction(prediction, return_errors=True)


@given(notes=batches())
@settings(max_examples=tries(10), deadline=None)
def test_tokens_are_the_text_and_spans_are_runs_of_them(notes):
    for note in notes:
        example = json.loads(made("prodigy", [note])[""])
        assert "".join(t["text"] + " " * t["ws"] for t in example["tokens"]) == note.text
        for token in example["tokens"]:
            assert note.text[token["start"] : token["end"]] == token["text"]
        for span in example["spans"]:
            run = example["tokens"][span["token_start"] : span["token_end"] + 1]
            assert (run[0]["start"], run[-1]["end"]) == (span["start"], span["end"])
        assert "answer" not in example  # a prediction is nobody's answer


def test_tokens_of_spans_that_start_or_end_with_a_space():
    text = "a b c"
    for span in ((1, 3), (0, 2), (1, 2), (2, 3)):
        made_of = tokens(text, [span])
        assert "".join(text[t.start : t.end] + " " * t.space for t in made_of) == text
        assert span[0] in {t.start for t in made_of} and span[1] in {t.end for t in made_of}


@given(notes=batches())
@settings(max_examples=tries(10), deadline=None)
def test_tables_have_a_row_for_each_item_and_quote_the_note(notes):
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = {note.id: note.text for note in notes}
    rows = list(csv.DictReader(io.StringIO(made("csv", notes)["entities.csv"], newline="")))
    binary = dict(writers.writer("parquet").files(notes, ORIGIN))
    typed = parquet.read_table(io.BytesIO(binary["entities.parquet"])).to_pylist()
    assert len(rows) == len(typed) == sum(len(note.entities) for note in notes)
    for row, other in zip(rows, typed, strict=True):
        assert texts[row["id"]][int(row["start"]) : int(row["end"])] == row["text"] == other["text"]
        assert row["confidence"] == ("" if other["confidence"] is None else str(other["confidence"]))
    pairs = list(csv.DictReader(io.StringIO(made("csv", notes)["relations.csv"], newline="")))
    assert len(pairs) == sum(len(note.relations) for note in notes)
    for row in pairs:
        for end in ("head", "tail"):
            assert texts[row["id"]][int(row[f"{end}_start"]) : int(row[f"{end}_end"])] == row[f"{end}_text"]


# https://github.com/OHDSI/CommonDataModel, inst/csv/OMOP_CDMv5.4_Field_Level.csv: name, type, whether it must be filled
NOTE_NLP = {
    "note_nlp_id": ("integer", True), "note_id": ("integer", True), "section_concept_id": ("integer", False),
    "snippet": (250, False), "offset": (50, False), "lexical_variant": (250, True), "note_nlp_concept_id": ("integer", False),
    "note_nlp_source_concept_id": ("integer", False), "nlp_system": (250, False), "nlp_date": ("date", True),
    "nlp_datetime": ("datetime", False), "term_exists": (1, False), "term_temporal": (50, False), "term_modifiers": (2000, False),
}  # fmt: skip


def test_omop_rows_fit_the_table_note_nlp():
    long = "x" * 400
    other = AnnotatedNote("18", long, (TaskAnswer("drugs", "entities", (Entity("Drug", 0, 400, long),)),))
    reader = csv.DictReader(io.StringIO(made("omop", [NOTE, other])[""], newline=""))
    assert reader.fieldnames == list(NOTE_NLP)
    rows = list(reader)
    assert [row["note_id"] for row in rows] == ["17", "17", "18"]
    for row in rows:
        for name, (kind, is_needed) in NOTE_NLP.items():
            assert row[name] or not is_needed, name
            if kind == "integer" and row[name]:
                int(row[name])
            elif kind in ("date", "datetime") and row[name]:
                datetime.fromisoformat(row[name])
            elif isinstance(kind, int):
                assert len(row[name]) <= kind, name
    assert rows[0]["lexical_variant"] == "aspirin" and "aspirin" in rows[0]["snippet"]
    assert rows[0]["term_modifiers"] == "label=Drug,task=drugs,confidence=0.9000"
    with pytest.raises(InputError, match="note_id is a whole number"):
        made("omop", [AnnotatedNote("ward/a", "x", NOTE.answers[:1])])


@given(notes=batches())
@settings(max_examples=tries(10), deadline=None)
def test_bioc_locations_give_the_words_and_relations_name_annotations(notes):
    for document, note in zip(json.loads(made("bioc-json", notes)[""])["documents"], notes, strict=True):
        (passage,) = document["passages"]
        assert passage["text"] == note.text
        words = {a["id"]: a["text"] for a in passage["annotations"]}
        for annotation in passage["annotations"]:
            (place,) = annotation["locations"]
            assert note.text[place["offset"] : place["offset"] + place["length"]] == annotation["text"]
        assert all(node["refid"] in words for relation in passage["relations"] for node in relation["nodes"])
    root = etree.fromstring(made("bioc-xml", notes)[""].encode())
    for element, note in zip(root.iterfind("document"), notes, strict=True):
        assert element.findtext("passage/text") == note.text.replace("\x0c", " ")


@given(notes=batches())
@settings(max_examples=tries(10), deadline=None)
def test_bioc_is_read_by_its_own_library(notes):
    bioc = pytest.importorskip("bioc")
    from bioc import biocjson

    for collection in (bioc.loads(made("bioc-xml", notes)[""]), biocjson.loads(made("bioc-json", notes)[""])):
        bioc.validate(collection) if hasattr(bioc, "validate") else None
        for document, note in zip(collection.documents, notes, strict=True):
            (passage,) = document.passages
            found = {(a.infons["type"], a.total_span.offset, a.total_span.end) for a in passage.annotations if "task" in a.infons}
            assert found == entities_of(note)
            assert len(passage.relations) == len(note.relations)


def test_fhir_references_name_resources_of_the_bundle():
    bundle = json.loads(made("fhir")[""])
    there = {entry["fullUrl"] for entry in bundle["entry"]}
    named = set(re.findall(r'"reference": "([^"]+)"', made("fhir")[""]))
    assert named <= there and len(there) == len(bundle["entry"])
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert kinds == ["Device", "DocumentReference", *["Observation"] * 5, "Provenance"]
    values = [entry["resource"].get("valueString") for entry in bundle["entry"]][2:7]
    assert values == ["aspirin", "aspirin", "aspirin -> chest pain", None, "Aspirin for chest pain."]
    assert "script" not in made("fhir")[""]  # no text of the note but what was found in it


@given(notes=batches(), conditions=st.sets(st.sampled_from((*LABELS, "no such label"))))
@settings(max_examples=tries(10), deadline=None)
def test_fhir_is_valid(notes, conditions):
    module = pytest.importorskip("fhir.resources.R4B.bundle")
    ((_, raw),) = writers.writer("fhir", conditions).files([*notes, NOTE], ORIGIN)
    content = json.loads(raw)
    bundle = module.Bundle.model_validate(content)
    assert len(bundle.entry) == len(content["entry"])
    kinds = [entry.resource.get_resource_type() for entry in bundle.entry]
    wanted = [entity for note in [*notes, NOTE] for entity in note.entities if entity.label in conditions]
    assert kinds.count("Condition") == len(wanted)
    plain = json.loads(made("fhir", [*notes, NOTE])[""])
    same = [entry for entry in content["entry"] if entry["resource"]["resourceType"] in ("Observation", "DocumentReference")]
    assert same == [
        entry for entry in plain["entry"] if entry["resource"]["resourceType"] in ("Observation", "DocumentReference")
    ]


def test_fhir_conditions_are_unconfirmed_and_have_their_span_as_evidence():
    ((_, raw),) = writers.writer("fhir", ["Drug", "treats"]).files([NOTE], ORIGIN)  # a relation is no diagnosis
    resources = {entry["fullUrl"]: entry["resource"] for entry in json.loads(raw)["entry"]}
    conditions = {url: each for url, each in resources.items() if each["resourceType"] == "Condition"}
    assert len(conditions) == 2
    for condition in conditions.values():
        assert condition["verificationStatus"]["coding"][0]["code"] == "unconfirmed"
        assert "clinicalStatus" not in condition and "reference" not in condition["subject"]
        assert condition["code"] == {"text": "aspirin"}
        ((evidence,),) = ([part["reference"] for part in each["detail"]] for each in condition["evidence"])
        places = {part["code"]["text"]: part.get("valueInteger") for part in resources[evidence]["component"]}
        assert TEXT[places["start"] : places["end"]] == resources[evidence]["valueString"] == "aspirin"
    (provenance,) = (each for each in resources.values() if each["resourceType"] == "Provenance")
    assert set(conditions) < {target["reference"] for target in provenance["target"]}


def test_conditions_are_for_fhir():
    with pytest.raises(InputError, match="Conditions are written in FHIR only; found the format brat; wanted the format fhir"):
        writers.writer("brat", ["Drug"])


@given(notes=batches())
@settings(max_examples=tries(10), deadline=None)
def test_html_shows_the_note_escaped_and_loads_nothing(notes):
    page = html.document_fromstring(made("html", [*notes, NOTE])[""])
    assert not page.xpath("//script | //link | //img | //@src | //@href")
    for shown, note in zip(page.xpath("//div[@class='mpdd-note']"), [*notes, NOTE], strict=True):
        assert len(shown.xpath(".//mark")) >= bool(note.entities)
        for label in shown.xpath(".//small"):
            label.text = ""
        assert shown.text_content().replace("\r", "") == note.text.replace("\r", "")


def test_html_in_a_notebook_is_the_same_piece():
    piece = NOTE._repr_html_()
    assert "&lt;script&gt;" in piece and "<script" not in piece
    assert "Drug, confidence 0.90" in piece and "chest pain" in piece and "urgent" in piece and "5 characters" in piece


@given(notes=batches())
@settings(max_examples=tries(10), deadline=None)
def test_spacy_reads_its_own_file(notes):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    ((_, content),) = writers.writer("spacy").files(notes, ORIGIN)
    docs = list(DocBin(store_user_data=True).from_bytes(content).get_docs(spacy.blank("xx").vocab))
    for doc, note in zip(docs, notes, strict=True):
        assert doc.text == note.text
        assert {(s.label_, s.start_char, s.end_char) for s in doc.spans.get("find", ())} == entities_of(note)
        assert {(s.label_, s.start_char, s.end_char) for s in doc.ents} <= entities_of(note)
        assert bool(doc.ents) == bool(note.entities)
        assert len(doc._.mpdd_relations) == len(note.relations)
        assert set(doc.cats) == {label for answer in note.answers for label in answer.categories}
        assert {s._.mpdd_confidence for s in doc.spans.get("find", ())} == {e.confidence for e in note.entities}


@given(notes=batches())
@settings(max_examples=tries(10), deadline=None)
def test_inception_counts_utf_16_units_and_its_spans_are_whole_tokens(notes):
    pytest.importorskip("cassis")
    from mpdd.annotate.writers import inception

    _, *made = writers.writer("inception").files(notes, ORIGIN)
    for (_, content), note in zip(made, notes, strict=True):
        root = etree.fromstring(content)
        units = root.find("{http:///uima/cas.ecore}Sofa").get("sofaString").encode("utf-16-le")

        def placed(kind, root=root):
            package, _, name = kind.rpartition(".")
            return [
                (int(e.get("begin")), int(e.get("end")), e)
                for e in root.iter(f"{{http:///{package.replace('.', '/')}.ecore}}{name}")
            ]

        def words(start, end, units=units):
            return units[2 * start : 2 * end].decode("utf-16-le")

        spans = [(e.get("label"), words(start, end)) for start, end, e in placed(inception.SPAN) if e.get("label") != "Argument"]
        assert set(spans) >= {(entity.label, entity.text.replace("\x0c", " ")) for entity in note.entities}
        tokens_there = [(start, end) for start, end, _ in placed(inception.TOKEN)]
        sentences_there = [(start, end) for start, end, _ in placed(inception.SENTENCE)]
        assert all(any(first <= start and end <= last for first, last in sentences_there) for start, end in tokens_there)
        edges = {start for start, _ in tokens_there}, {end for _, end in tokens_there}
        assert all(start in edges[0] and end in edges[1] for start, end, _ in placed(inception.SPAN))
        assert len(placed(inception.RELATION)) == len(note.relations)
