"""What is written for annotation tools or as lines of answers is read again with the same items and offsets."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mpdd.annotate.answers.file import annotated, read_answers
from mpdd.annotate.answers.results import answer_of, to_result
from mpdd.annotate.answers.types import AnnotatedNote, Entity, Span, TaskAnswer
from mpdd.annotate.convert import write
from mpdd.annotate.notes import Note
from mpdd.annotate.writers import formats, writer
from mpdd.annotate.writers.base import without_spaces
from mpdd.data.cards.labelled import Naming, read_labelled
from mpdd.errors import InputError
from tests.annotate.strategies import LABELS, NER, RE, RELATIONS, batches, entities_of, relations_of
from tests.conftest import tries

# A label without white space stands for ours in brat; [data.labels] of a card says so.
NAMES = {name: label for label, name in (without_spaces(LABELS) | without_spaces(RELATIONS)).items() if name != label}


def accept_predictions(path: Path) -> Path:
    """Do what a person does in Label Studio who accepts every prediction."""
    tasks = json.loads((path / "tasks.json").read_text(encoding="utf-8"))
    for task in tasks:
        task["annotations"] = [{"id": 1, "result": task.pop("predictions")[0]["result"]}]
    (path / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    return path / "tasks.json"


def accept_examples(path: Path) -> Path:
    """Do what a person does in Prodigy who accepts every example."""
    examples = [json.loads(line) | {"answer": "accept"} for line in path.read_text(encoding="utf-8").split("\n") if line]
    path.write_text("".join(json.dumps(example) + "\n" for example in examples), encoding="utf-8")
    return path


FORMATS = {
    "bioc-json": ("out.json", lambda path: path, ""),
    "bioc-xml": ("out.xml", lambda path: path, ""),
    "brat": ("out", lambda path: path, ""),
    "label-studio": ("out", accept_predictions, ""),
    "prodigy": ("out.jsonl", accept_examples, ""),
    "doccano": ("out.jsonl", lambda path: path, ""),
    "spacy": ("out.spacy", lambda path: path, ""),
    "inception": ("out", lambda path: path, ""),
}
NEEDS = {"spacy": "spacy", "inception": "cassis"}


@pytest.mark.parametrize("to", FORMATS)
@given(notes=batches())
@settings(max_examples=tries(12), deadline=None)
def test_entities_and_relations_come_back_as_they_were(to, notes):
    assume(any(note.entities for note in notes))  # files without one item of a card are refused
    if to in NEEDS:
        pytest.importorskip(NEEDS[to])
    name, accepted, file_format = FORMATS[to]
    with TemporaryDirectory() as folder:
        output = Path(folder) / name
        write(notes, output, to)
        path = accepted(output)
        naming = Naming(file_format, labels=NAMES)
        entities, _ = read_labelled(NER, [path], naming)
        relations, _ = read_labelled(RE, [path], naming)
    assert [read_entities(example) for example in entities] == [entities_of(note) for note in notes]
    assert [read_relations(example) for example in relations] == [relations_of(note) for note in notes]


def read_entities(example):
    return {(e.label, example.offset + e.start, example.offset + e.end) for e in example.gold.entities}


def read_relations(example):
    forms = {key: " ".join(words[0].split()) for key, words in example.arguments.items()}
    return {(r.label, forms[r.head], forms[r.tail]) for r in example.gold.relations}


# docs/formats.md lists every format that is written, with what it does not hold.

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def test_the_page_lists_what_can_be_written():
    table = PAGE.partition("## What is written")[2]
    for name in formats():
        of = writer(name)
        output = f"`{of.suffix}`" if of.suffix else "a folder"
        assert f"| `{name}` | {output} | {of.title} | {of.lost} |" in table


# Lines of `mpdd predict` as typed answers and back, and the file of them beside its notes.

SECRET = "ZZPATIENTNAMEZZ"
OTHERS = (
    TaskAnswer("codes", "labels", labels=("a", "b"), confidence=0.5, ungrounded=1),
    TaskAnswer("short", "summary", answer="All well."),
    TaskAnswer("ask", "extract", answer="aspirin", span=Span(3, 10, "aspirin")),
    TaskAnswer("ask", "extract", answer="elsewhere", unparseable=True),
)


@given(notes=batches(), other=st.sampled_from(OTHERS))
@settings(max_examples=tries(20), deadline=None)
def test_a_line_says_all_that_an_answer_has(notes, other):
    for answer in (other, *(answer for note in notes for answer in note.answers)):
        assert answer_of(json.loads(json.dumps(to_result(answer)))) == answer


@given(notes=batches())
@settings(max_examples=tries(20), deadline=None)
def test_a_file_of_answers_is_put_beside_its_notes(tmp_path_factory, notes):
    path = tmp_path_factory.mktemp("answers") / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for note in notes for line in note.to_dicts()), encoding="utf-8")
    assert annotated(read_answers(path), [Note(note.id, note.text, {}) for note in notes]) == notes


def test_notes_of_the_same_id_get_their_own_answers():
    texts = ["first aspirin", "second one"]
    notes = [AnnotatedNote("1", text, (TaskAnswer("short", "summary", answer=text[:5]),)) for text in texts]
    lines = [(note.id, answer) for note in notes for answer in note.answers]
    assert annotated(lines, [Note(note.id, note.text, {}) for note in notes]) == notes


def test_answers_of_workers_are_read_in_any_order(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    notes = [Note("a", "x", {}), Note("b", "y", {})]
    lines = [{"id": note.id, "task": task, "summary": f"{note.id} {task}"} for task in ("s", "t") for note in notes]
    for number, part in enumerate((lines[:1], lines[1:])):
        table = pyarrow.table({"id": [line["id"] for line in part], "result": [json.dumps(line) for line in part]})
        parquet.write_table(table, tmp_path / f"part-{number}.parquet")
    found = annotated(read_answers(tmp_path), notes)
    assert [[answer.answer for answer in note.answers] for note in found] == [["a s", "a t"], ["b s", "b t"]]


def test_notes_without_answers_are_left_out():
    answer = TaskAnswer("short", "summary", answer="x")
    assert [note.id for note in annotated([("b", answer)], [Note("a", "x", {}), Note("b", "y", {})])] == ["b"]


@pytest.mark.parametrize(
    ("text", "notes", "message"),
    [
        ("", [], "no answers"),
        ("[1]\n", [], "line 1 is no answer; found no JSON object"),
        (f'{{"task": "{SECRET}"}}\n', [], "line 1 is no answer to a note; found no id"),
        (
            f'{{"id": "1", "entities": "{SECRET}", "task": "t"}}\n',
            [],
            "line 1 is not an answer of mpdd; found values of another kind",
        ),
        ('{"id": "1", "task": "t", "summary": "s"}\n', [("2", "x")], "have no note|without their note"),
        (
            f'{{"id": "1", "task": "t", "entities": [{{"label": "D", "start": 0, "end": 3, "text": "{SECRET}"}}]}}\n',
            [("1", "abc")],
            "Answers for the task t do not fit their note; found other words at 0 to 3",
        ),
    ],
)
def test_what_is_no_file_of_answers_is_refused_without_its_text(tmp_path, text, notes, message):
    path = Path(tmp_path) / "a.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as refused:
        annotated(read_answers(path), [Note(name, words, {}) for name, words in notes])
    assert SECRET not in str(refused.value)


def test_an_answer_is_found_by_its_task():
    note = AnnotatedNote("1", "aspirin", (TaskAnswer("drugs", "entities", (Entity("Drug", 0, 7, "aspirin"),)),))
    assert note["drugs"].entities == note.entities
    with pytest.raises(InputError, match="no answer for this task; found other; wanted drugs"):
        note["other"]
