"""What each export says of its annotations: whether they are gold, and what is named where something is missing."""

import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from mpdd.data.cards import formats, sniff
from mpdd.data.cards.items import ENTITY_KEYS, RELATION_KEYS
from mpdd.data.cards.layout import Layout
from mpdd.data.readers.base import Notes
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from tests.data.cards.conftest import SECRET, lines, table

TEXT = "Rash after amoxicillin."
RASH, DRUG = (0, 4, "Problem"), (11, 22, "Drug")
LABELS = {"ner": ("Drug", "Problem"), "re": ("causes",), "classification": ("urgent", "routine")}


def layout(task_type="ner", form="", **columns):
    fields = ("Question",) if form in ("extractive", "free") else ()
    return Layout(TaskCard("own", task_type, "Do it.", labels=LABELS.get(task_type, ()), form=form, fields=fields), columns)


@pytest.fixture
def read(tmp_path):
    """The examples of a file that nothing describes, and the notes."""

    def read(content, name="a.jsonl", kind=("ner", ""), file_format="", strict=False, **columns):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        notes = Notes(strict=strict)
        return formats.read(file_format, layout(*kind, **columns), "c", [path], notes), dict(notes.counts)

    return read


def entities(examples):
    return [(e.label, x.text[e.start : e.end]) for x in examples for e in x.gold.entities]


# Label Studio


def task(*annotations, text=TEXT, **more):
    return {"id": 1, "data": {"text": text, "meta": 3}, "annotations": list(annotations), **more}


def span(start, end, label, name="r", **more):
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": [label]}
    return {"id": name, "from_name": "label", "to_name": "text", "type": "labels", "value": value, **more}


def choices(*names, control="urgency"):
    return {"id": "c", "from_name": control, "to_name": "text", "type": "choices", "value": {"choices": list(names)}}


def test_label_studio_reads_one_annotation_of_a_text_and_leaves_out_what_is_no_gold(read):
    tasks = [
        task({"result": [span(*RASH)]}, {"result": [span(*DRUG)], "ground_truth": True}, text=TEXT),
        task({"result": [span(*RASH)], "was_cancelled": True}),
        task({"result": []}, text="Nothing to find."),
        task(predictions=[{"result": [span(*RASH)]}]),
    ]
    examples, notes = read(json.dumps(tasks), "a.json")
    assert [(e.text, len(e.gold.entities)) for e in examples] == [(TEXT, 1), ("Nothing to find.", 0)]
    assert entities(examples) == [("Drug", "amoxicillin")]
    assert notes["further annotations of the same text left out"] == 1
    assert notes["texts that nobody annotated left out"] == 2


def test_a_label_studio_relation_to_the_left_runs_from_its_second_region(read):
    regions = [span(*RASH, name="a"), span(*DRUG, name="b")]
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "left", "labels": ["causes"]}
    examples, _ = read(json.dumps([task({"result": [*regions, relation]})]), "a.json", ("re", ""))
    ((found,),) = (example.gold.relations for example in examples)
    assert [examples[0].arguments[end][0] for end in (found.head, found.tail)] == ["amoxicillin", "Rash"]


def test_label_studio_names_the_label_that_is_missing(read):
    bare = span(*RASH)
    bare["value"].pop("labels")
    relation = {"type": "relation", "from_id": "r", "to_id": "r", "direction": "right"}
    _, notes = read(json.dumps([task({"result": [bare]})]), "a.json")
    assert notes["skipped: entity without the key 'label' (found end, id, start, text)"] == 1
    _, notes = read(json.dumps([task({"result": [span(*RASH), relation]})]), "a.json", ("re", ""))
    assert notes["skipped: relation without the key 'label' (found head, tail)"] == 1


@pytest.mark.parametrize(("kind", "gold"), [(("classification", "single"), 0), (("classification", "multiple"), (0,))])
def test_label_studio_choices_are_labels(kind, gold, read):
    for content, name in [
        (json.dumps([task({"result": [choices("urgent")]})]), "a.json"),
        (table([{"id": 1, "text": TEXT, "urgency": "urgent", "annotator": 1, "annotation_id": 2}]), "a.csv"),
        (table([{"id": 1, "text": TEXT, "x": '{"choices": ["urgent"]}', "annotator": 1, "annotation_id": 2}]), "a.csv"),
    ]:
        (example,), _ = read(content, name, kind)
        assert gold in (example.gold.choice, example.gold.labels)


def test_answers_to_several_questions_of_label_studio_are_chosen_by_the_card(read):
    content = json.dumps([task({"result": [choices("x", control="tone"), choices("routine")]})])
    kind = ("classification", "single")
    with pytest.raises(InputError, match="lacks columns; found .*tone.*urgency; wanted answer"):
        read(content, "a.json", kind)
    (example,), _ = read(content, "a.json", kind, answer="urgency")
    assert example.gold.choice == 1


def test_label_studio_rows_read_one_annotation_of_a_text(read):
    spans = json.dumps([{"start": 0, "end": 4, "text": "Rash", "labels": ["Problem", "Drug"]}])
    row = {"id": 1, "text": TEXT, "label": spans, "annotator": 1, "annotation_id": 5}
    rows = [row, {**row, "annotation_id": 6, "label": ""}, {**row, "id": 2, "annotation_id": ""}]
    examples, notes = read(table(rows), "a.csv")
    assert entities(examples) == [("Drug", "Rash"), ("Problem", "Rash")]
    assert notes["further annotations of the same text left out"] == notes["texts that nobody annotated left out"] == 1


# doccano, Prodigy, LightTag


@pytest.mark.parametrize(("kind", "gold"), [(("classification", "single"), 1), (("classification", "multiple"), (1,))])
def test_doccano_labels_of_texts(kind, gold, read):
    (example,), _ = read(lines([{"id": 1, "text": TEXT, "label": ["routine"], "Comments": []}]), kind=kind)
    assert gold in (example.gold.choice, example.gold.labels)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("start_offset", "begins"), "entity without the key 'start' (found begins, end_offset, id, label, perhaps begins)"),
        (("label", "labell"), "entity without the key 'label' (found end_offset, id, labell, start_offset, perhaps labell)"),
    ],
)
def test_a_key_that_doccano_entities_lack_is_named(change, problem, read):
    items = [{"id": n, "start_offset": s, "end_offset": e, "label": label} for n, (s, e, label) in enumerate([RASH, DRUG])]
    items[0][change[1]] = items[0].pop(change[0])
    examples, notes = read(lines([{"id": 1, "text": TEXT, "entities": items, "Comments": []}]))
    assert notes[f"skipped: {problem}"] == 1
    assert entities(examples) == [("Drug", "amoxicillin")]


def test_a_key_that_doccano_relations_lack_is_named(read):
    items = [{"id": n, "start_offset": s, "end_offset": e, "label": label} for n, (s, e, label) in enumerate([RASH, DRUG])]
    record = {"id": 1, "text": TEXT, "entities": items, "relations": [{"from": 1, "toid": 0, "type": "causes"}]}
    _, notes = read(lines([record]), kind=("re", ""))
    assert notes["skipped: relation without the key 'tail' (found from, toid, type, perhaps toid)"] == 1


def test_prodigy_options_are_labels_by_their_ids_or_words(read):
    options = [{"id": 0, "text": "urgent"}, {"id": 1, "text": "routine"}]
    rows = [{"text": TEXT, "options": options, "accept": [1], "answer": "accept"}]
    rows += [{"text": "Later.", "options": options, "accept": ["urgent"], "answer": "accept"}]
    examples, _ = read(lines(rows), kind=("classification", "single"))
    assert [e.gold.choice for e in examples] == [1, 0]


def test_prodigy_spans_asked_for_one_by_one_are_put_together(read):
    rows = [{"text": TEXT, "spans": [{"start": s, "end": e, "label": label}], "answer": "accept", "_input_hash": 7}
            for s, e, label in (RASH, DRUG)]  # fmt: skip
    rows.append({**rows[0], "spans": [{"start": 5, "end": 10, "label": "Drug"}], "answer": "reject"})
    examples, notes = read(lines(rows))
    assert entities(examples) == [("Problem", "Rash"), ("Drug", "amoxicillin")]
    assert notes["examples of the same input put together"] == 1


@pytest.mark.parametrize("kind", [("ner", ""), ("classification", "single"), ("classification", "multiple"), ("qa", "free")])
def test_one_mark_of_prodigy_is_enough_to_leave_out_what_is_rejected(kind, read):
    rows = [{"text": f"{TEXT} {n}", "entities": [], "label": "urgent", "Question": "?", "answer": "accept"} for n in range(9)]
    examples, notes = read(lines([*rows, {**rows[0], "text": SECRET, "answer": "reject", "_task_hash": 1}]), kind=kind)
    assert len(examples) == 9 and SECRET not in [example.text for example in examples]
    assert notes["examples marked reject in Prodigy left out"] == 1


def test_an_annotation_that_light_tag_s_reviewer_found_wrong_is_no_gold(read):
    items = [
        {"start": s, "end": e, "tag_name": label, "correct": right} for (s, e, label), right in ((RASH, False), (DRUG, True))
    ]
    record = {"content": TEXT, "annotations": items, "classifications": [{"classname": "urgent"}]}
    examples, notes = read(json.dumps({"examples": [record]}), "a.json")
    assert entities(examples) == [("Drug", "amoxicillin")]
    assert notes["annotations reviewed as wrong left out"] == 1
    (example,), _ = read(json.dumps({"examples": [record]}), "a.json", ("classification", "single"))
    assert example.gold.choice == 0


# Hugging Face


def test_tags_that_are_numbers_without_names_are_named(read):
    row = {"tokens": ["Rash", "."], "ner_tags": [1, 0]}
    _, notes = read(lines([row, {"tokens": ["Rash"], "ner_tags": ["B-Drug"]}, row]))
    assert notes["skipped: field 'ner_tags' holds numbers, and the file does not name their classes"] == 2


@pytest.mark.parametrize("form", ["extractive", "free"])
def test_squad_rows_as_lists_and_structs(form, read):
    row = {"context": TEXT, "question": "Which drug?", "answers": {"text": ["amoxicillin"], "answer_start": [11]}}
    rows = [row, {**row, "answers": [{"text": "Rash", "answer_start": 0}]}, {**row, "answers": {"text": [], "answer_start": []}}]
    examples, notes = read(lines(rows), kind=("qa", form))
    assert [e.gold.text for e in examples] == ["amoxicillin", "Rash"]
    assert notes["unanswerable questions"] == 1


def write_parquet(path, columns, features):
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path.read_bytes()


def test_class_names_are_read_wherever_the_metadata_have_them(read, tmp_path):
    label = {"names": ["routine", "urgent"], "_type": "ClassLabel"}
    columns = {"text": ["a", "b", "c"], "label": [1, 0, -1]}
    content = write_parquet(tmp_path / "x", columns, {"label": label, "text": {"dtype": "string", "_type": "Value"}})
    examples, notes = read(content, "a.parquet", ("classification", "single"))
    assert [e.gold.choice for e in examples] == [0, 1]
    assert notes["skipped: field 'answer' is missing"] == 1
    content = write_parquet(tmp_path / "x", {"text": ["a"], "labels": [[1, 0]]}, {"labels": [label]})
    (example,), _ = read(content, "a.parquet", ("classification", "multiple"))
    assert example.gold.labels == (0, 1)
    items = pa.array([[{"start": 0, "end": 4, "label": 1}]])
    kinds = {"names": ["Drug", "Problem"], "_type": "ClassLabel"}
    for features in (
        {"feature": {"label": kinds}, "_type": "Sequence"},
        [{"label": kinds}],
        {"_type": "List", "feature": {"label": kinds}},
    ):
        content = write_parquet(tmp_path / "x", {"text": [TEXT], "entities": items}, {"entities": features})
        assert entities(read(content, "a.parquet")[0]) == [("Problem", "Rash")]


@pytest.mark.parametrize(
    "metadata", ["{", "[]", '{"info": 3}', '{"info": {"features": []}}', '{"info": {"features": {"label": 3}}}']
)
def test_damaged_metadata_change_nothing(metadata, read, tmp_path):
    table = pa.table({"text": ["a"], "label": ["urgent"]}).replace_schema_metadata({"huggingface": metadata})
    parquet.write_table(table, tmp_path / "x")
    (example,), _ = read((tmp_path / "x").read_bytes(), "a.parquet", ("classification", "single"))
    assert example.gold.choice == 0


@pytest.mark.parametrize(
    ("numbers", "gold"),
    [
        ([0, 1, 1], [0, 1, 1]),
        (["0", "1", ""], [0, 1]),
        ([0, 1, -1], [0, 1]),
        ([1, 1, 1], []),
        ([0, 1, 2], []),
        ([0.0, 1.0], [0, 1]),
    ],
)
def test_numbers_are_labels_in_the_order_of_the_card_only_if_they_count_from_zero(numbers, gold, read):
    rows = [{"text": f"Case {n}.", "answer": number} for n, number in enumerate(numbers)]
    examples, notes = read(lines(rows), kind=("classification", "single"))
    assert [e.gold.choice for e in examples] == gold
    assert any("0 = urgent, 1 = routine" in note for note in notes) == bool(gold)


@pytest.mark.parametrize(
    "options",
    [
        [{"key": "x1", "value": "aspirin"}, {"key": "x2", "value": "heparin"}],
        {"x1": "aspirin", "x2": "heparin", "x3": None},
        {"text": ["aspirin", "heparin"], "label": ["x1", "x2"]},
        '[{"id": "x1", "text": "aspirin"}, {"id": "x2", "text": "heparin"}]',
    ],
)
def test_options_have_names_of_their_own(options, read):
    (example,), _ = read(lines([{"question": "Which?", "options": options, "answer": "x2"}]), kind=("qa", "choice"))
    assert (example.choices, example.gold.choice, example.text) == (("aspirin", "heparin"), 1, "Which?")


def test_an_option_without_words_is_named(read):
    _, notes = read(lines([{"question": "?", "options": [{"key": "a"}, {"key": "b"}], "answer": "a"}]), kind=("qa", "choice"))
    assert notes["skipped: option without the key 'text'"] == 1


# How files are told


def test_a_format_that_is_named_overrules_what_is_recognised(read):
    rows = [{"text": TEXT, "label": "urgent", "answer": "reject"}, {"text": "Later.", "label": "routine", "answer": "accept"}]
    kind = ("classification", "single")
    assert [e.gold.choice for e in read(lines(rows), kind=kind)[0]] == [1]
    assert [e.gold.choice for e in read(lines(rows), kind=kind, file_format="jsonl")[0]] == [1]
    examples, notes = read(lines(rows), kind=kind, file_format="table", answer="label")
    assert ([e.gold.choice for e in examples], notes) == ([0, 1], {})


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.json", '{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        ("a.json", '[\n{"text": "a"}]', "json"),
        ("a.txt", '[{"text": "a"}]', "json"),
        ("a.json", '{"examples": [{"text": "a"}]}', "json"),
        ("a.jsonl", '{"text": "a", "entities": [{"start": 0}]}', "jsonl"),
        ("a.json", '{"data": [{"paragraphs": []}]}', "squad"),
        ("a.jsonl", '{"text": "a\n', "jsonl"),
        ("a.tsv", "Rash\tB-Problem\n\nNo\tO\n", "conll"),
        ("a.tsv", "text\tanswer\nRash\tO\n", "tsv"),
        ("a.txt", "12|t|Title\n12|a|Abstract\n", "pubtator"),
        ("a.xml", "<?xml?>\n<ClinicalNarrativeTemporalAnnotation>", "i2b2-2012"),
        ("a.xml", "<a/>", ""),
        ("a.txt", "A note of a patient.", ""),
        ("a", "", ""),
    ],
)
def test_a_file_is_told_by_its_content(name, content, told, tmp_path):
    (tmp_path / name).write_text(content)
    assert sniff.written_as(tmp_path / name) == told


def test_archives_are_told_by_the_files_in_them(tmp_path):
    (tmp_path / "a.ann").write_text("x")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x/a.ann", "")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "a.ann", "x/a.con")
    (tmp_path / "c.tar.xz").write_bytes(b"\xfd7zXZ\x00damaged")
    told = [sniff.written_as(tmp_path / name) for name in ("b.zip", "b.tar.gz", "c.tar.xz")]
    assert told == ["brat", "i2b2-2010", ""]


def test_texts_in_another_folder_than_their_annotations_are_brat(tmp_path):
    for folder, file in (("text", "a.txt"), ("original", "a.ann")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("Rash." if file == "a.txt" else "T1\tProblem 0 4\tRash\n")
    assert sniff.all_written_as([tmp_path / "text", tmp_path / "original"]) == ["brat", "brat"]
    examples = formats.read("", layout(), "c", [tmp_path / "text", tmp_path / "original"], Notes())
    assert entities(examples) == [("Problem", "Rash")]


def test_a_file_that_cannot_be_told_is_one_sentence(read):
    with pytest.raises(
        InputError, match="The format of .*a.txt cannot be told from its content; wanted one of jsonl, .* --format"
    ):
        read(SECRET, "a.txt")


def test_a_file_that_holds_no_such_task_is_one_sentence(read):
    with pytest.raises(InputError, match="a.conll was recognised as CoNLL; .* wanted a format for tasks of type qa free"):
        read("Rash\tB-Problem\n", "a.conll", ("qa", "free"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("3", "wanted records in an array"),
        ('{"a": 1}', "has no list of records"),
        ('{"a": [{"x": 1}], "b": [{"x": 1}]}', "has no list of records"),
        ("[3]", "has no usable record"),
        ("[1,", "is not valid JSON"),
    ],
)
def test_json_without_records_is_one_sentence(content, problem, read):
    with pytest.raises(InputError, match=problem):
        read(content, "a.json", file_format="json")


def test_json_with_a_record_under_each_id(read):
    examples, _ = read(json.dumps({"p1": {"text": TEXT, "entities": [RASH]}, "p2": {"text": "No.", "entities": []}}), "a.json")
    assert [example.id for example in examples] == ["c:p1@0", "c:p2@0"]


def test_files_of_several_formats_make_one_split(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines([{"text": TEXT, "entities": [RASH]}]))
    (tmp_path / "b.conll").write_text("Fever\tB-Problem\n")
    notes = Notes()
    examples = formats.read("", layout(), "c", [tmp_path / "a.jsonl", tmp_path / "b.conll"], notes)
    assert entities(examples) == [("Problem", "Rash"), ("Problem", "Fever")]
    assert notes.counts == {"examples recognised as CoNLL": 1}
    assert len({example.id for example in examples}) == 2


# CoNLL and PubTator of users


def test_conll_passes_over_comments_and_document_starts(read):
    content = "-DOCSTART- -X- O\n\n# id = 1\nRash NN B-Problem\n# O\n. . O\n\nbroken\n\nNo DT O\n"
    examples, notes = read(content, "a.conll")
    assert [example.text for example in examples] == ["Rash # .", "No"]
    assert notes["skipped: line that is no token with a tag"] == 1


def test_pubtator_relations_are_between_concepts(read):
    content = (
        "1|t|Rash\n1|a|after amoxicillin.\n1\t0\t4\tRash\tProblem\tD1\n1\t11\t22\tamoxicillin\tDrug\tD2\n1\tcauses\tD2\tD1\n"
    )
    (example,), _ = read(content, "a.txt", ("re", ""))
    (relation,) = example.gold.relations
    assert [example.arguments[end] for end in (relation.head, relation.tail)] == [("amoxicillin",), ("Rash",)]


def test_a_bigbio_passage_far_behind_the_others_is_refused(read):
    passages = [{"text": ["Rash."], "offsets": [[0, 5]]}, {"text": ["Fine."], "offsets": [[10**30, 10**30 + 5]]}]
    examples, notes = read(lines([{"passages": passages, "entities": []}]))
    assert not examples and notes["skipped: passage that starts far behind the one before it"] == 1


# The page about formats


def test_the_page_names_every_format_key_and_title():
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    names = {*formats.FORMATS, *(key for keys in (ENTITY_KEYS, RELATION_KEYS) for several in keys.values() for key in several)}
    missing = [name for name in names if f"`{name}`" not in page]
    assert not missing
    titles = [format.title for format in formats.FORMATS.values() if not format.is_table]
    assert not [title for title in titles if title.partition(" ")[0] not in page]
