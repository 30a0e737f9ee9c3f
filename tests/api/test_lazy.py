"""Importing the package loads nothing heavy, and every name of the API is there, typed and documented."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys

import pytest
import torch

import mpdd
from mpdd.annotate.answers.types import Entity, Relation, Span, TaskAnswer
from mpdd.annotate.notes import Note, answer_notes
from mpdd.api.pipeline import _result as pipeline_result
from mpdd.inference.engines.local import Local
from mpdd.prompts import ready
from mpdd.prompts.store import load_prompt
from tests.api.conftest import NER, NLI, TRIAGE

HEAVY = ("torch", "transformers", "numpy", "pydantic", "pyarrow", "rich", "typer", "lxml")


def test_importing_the_package_loads_no_library():
    code = f"import mpdd, sys; dir(mpdd); print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_types_of_answers_need_no_library():
    code = f"import mpdd, sys; mpdd.AnnotatedNote, mpdd.TaskCard; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", mpdd.__all__)
def test_every_name_is_there_and_documented(name):
    found = getattr(mpdd, name)
    assert found.__name__ == name
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        signature = inspect.signature(found)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


def test_all_names_are_what_type_checkers_see():
    assert sorted(mpdd._MODULE_OF) == sorted(mpdd.__all__)
    assert set(mpdd.__all__) <= set(dir(mpdd))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        mpdd.nothing  # noqa: B018


# Texts annotated from Python: the very answers of `mpdd predict`, typed; prompts loaded, saved and ready ones.

SECRET = "ZZPATIENTNAMEZZ"
TEXTS = ["Aspirin 💊 was given.\r\nThen ibuprofen.", "", "Fever and cough."]


def test_answers_are_those_of_predict(shelf, backbone):
    prompts = mpdd.load_prompts(shelf / "drugs.safetensors", shelf / "urgency.safetensors")
    notes = mpdd.Annotator(prompts, backbone).annotate(TEXTS)
    asked = [Note(str(number), text, {}) for number, text in enumerate(TEXTS, start=1)]
    expected = json.loads(json.dumps(list(answer_notes(backbone, prompts, asked))))
    assert [line for note in notes for line in note.to_dicts()] == expected
    assert [note.text for note in notes] == TEXTS
    for note in notes:
        assert all(note.text[e.start : e.end] == e.text for e in note.entities)
        assert note["urgency"].answer in (*TRIAGE.labels, None)


def test_texts_may_be_mappings_with_ids_and_further_inputs(shelf, backbone):
    annotator = mpdd.Annotator(mpdd.load_prompts(shelf / "says.safetensors"), backbone)
    assert annotator.tasks == ("says",)
    (note,) = annotator.annotate([{"id": "a", "text": "Fever.", "Hypothesis": "cough"}])
    assert note.id == "a" and note["says"].answer in NLI.labels
    with pytest.raises(mpdd.InputError, match="Note 1 lacks what the task says asks about.*columns Hypothesis"):
        annotator.annotate([SECRET])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (SECRET, "annotated as a list; found str"),
        ({"text": SECRET}, "annotated as a list; found dict"),
        ([5], "row 1: the text cannot be read; found int"),
        (["x", {"note": SECRET}], "row 2: no text"),
        ([f"{SECRET}\ud800"], "row 1: not Unicode"),
    ],
)
def test_what_is_no_text_is_refused_without_quoting_it(shelf, backbone, texts, message):
    annotator = mpdd.Annotator(mpdd.load_prompts(shelf / "drugs.safetensors"), backbone)
    with pytest.raises(mpdd.InputError, match=message) as refused:
        annotator.annotate(texts)
    assert SECRET not in str(refused.value)


def test_prompts_that_do_not_go_together_are_refused(shelf, backbone, tiny_folder):
    drugs = load_prompt(shelf / "drugs.safetensors")
    with pytest.raises(mpdd.InputError, match="Two prompts are for the task drugs; found "):
        mpdd.Annotator([drugs, drugs], backbone)
    with pytest.raises(mpdd.InputError, match="needs prompts"):
        mpdd.Annotator([], backbone)
    with pytest.raises(mpdd.InputError, match="not for one task; found kind meta"):
        mpdd.load_prompts(shelf / "meta.safetensors")
    with pytest.raises(mpdd.InputError, match="opened for free answers"):
        mpdd.Annotator(drugs, backbone, grounded=True)
    with pytest.raises(mpdd.InputError, match="made for another backbone"):
        mpdd.Annotator(drugs, "embedded")


def test_a_folder_gives_its_task_prompts(shelf, tmp_path):
    assert [prompt.header.card.name for prompt in mpdd.load_prompts(shelf)] == ["drugs", "says", "urgency"]
    shutil.copy(shelf / "meta.safetensors", tmp_path)
    with pytest.raises(mpdd.InputError, match="holds no task prompts"):
        mpdd.load_prompts(tmp_path)
    with pytest.raises(mpdd.InputError, match="No prompt file was named"):
        mpdd.load_prompts()


def test_a_saved_prompt_needs_no_other_file(shelf, tmp_path):
    (prompt,) = mpdd.load_prompts(shelf / "urgency.safetensors")
    mpdd.save_prompt(prompt, tmp_path / "mine.safetensors")
    (again,) = mpdd.load_prompts(tmp_path / "mine.safetensors")
    assert torch.equal(again.rows(), prompt.rows())
    assert again.header.card == TRIAGE
    with pytest.raises(mpdd.InputError, match="another ending; found mine.bin"):
        mpdd.save_prompt(prompt, tmp_path / "mine.bin")


def test_a_backbone_is_opened_once_for_several_annotators(shelf, tiny_folder):
    backbone = mpdd.open_backbone(tiny_folder)
    first, second = (mpdd.Annotator(mpdd.load_prompts(shelf / f"{name}.safetensors"), backbone) for name in ("drugs", "urgency"))
    assert first.backbone is second.backbone and isinstance(backbone, Local)


def test_notes_are_written_and_read_again(shelf, backbone, tmp_path):
    notes = mpdd.Annotator(mpdd.load_prompts(shelf / "drugs.safetensors"), backbone).annotate([TEXTS[0], TEXTS[2]])
    mpdd.write_notes(notes, tmp_path / "out", to="brat")
    assert (tmp_path / "out" / "1.txt").read_bytes().decode() == TEXTS[0]
    (tmp_path / "n.jsonl").write_text("".join(json.dumps({"text": note.text}) + "\n" for note in notes))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for note in notes for line in note.to_dicts()))
    assert mpdd.read_answers(tmp_path / "a.jsonl", tmp_path / "n.jsonl") == notes


# Prompts that come with the package


def test_source_tasks_of_the_package_are_ready(tmp_path):
    tasks = ready.ready_tasks("embedded")
    assert len(tasks) == 21 and "bc5cdr_ner" in tasks
    (prompt,) = mpdd.ready_prompts("bc5cdr_ner")
    meta = load_prompt(ready.shipped("embedded"))
    assert torch.equal(prompt.rows(), meta.metaprompt()("bc5cdr_ner").detach())
    assert prompt.header.card == ready.catalogue.get("bc5cdr_ner").card
    assert (prompt.header.template, prompt.header.depth) == (meta.header.template, meta.header.depth)
    saved = mpdd.save_prompt(prompt, tmp_path / "p.safetensors")
    assert load_prompt(saved.path).header == saved.header  # it fits the schema of prompt files
    assert [p.header.card.name for p in mpdd.ready_prompts(backbone="embedded")] == list(tasks)


def test_tasks_and_backbones_without_a_ready_prompt_are_named():
    with pytest.raises(mpdd.InputError, match="No prompt for the task bc5cdr comes.*perhaps bc5cdr_ner"):
        mpdd.ready_prompts("bc5cdr")
    with pytest.raises(mpdd.InputError, match="No prompts come with the package for the backbone some/model.*one of embedded"):
        mpdd.ready_prompts(backbone="some/model")
    assert ready.ready_tasks("some/model") == ()
    assert NER.name not in ready.ready_tasks()


def test_a_pipeline_gives_the_annotators_answers_in_the_shapes_of_transformers(shelf, backbone):
    pipe = mpdd.pipeline(shelf / "drugs.safetensors", backbone)
    (note,) = mpdd.Annotator(pipe.annotator.prompts, backbone).annotate(TEXTS[:1])
    places = [
        {"entity_group": e.label, "score": e.confidence, "word": e.text, "start": e.start, "end": e.end} for e in note.entities
    ]
    assert pipe(TEXTS[0]) == places
    assert pipe(TEXTS[:2]) == [places, pipe(TEXTS[1])] and pipe([]) == []
    (label,) = mpdd.pipeline(str(shelf / "urgency.safetensors"), backbone)(TEXTS[2])
    assert label["label"] in TRIAGE.labels and 0 < label["score"] <= 1
    says = mpdd.pipeline(load_prompt(shelf / "says.safetensors"), backbone)
    assert says({"text": "Fever.", "Hypothesis": "cough"})[0]["label"] in NLI.labels
    with pytest.raises(mpdd.InputError, match="A pipeline answers for one task; found drugs.safetensors, says"):
        mpdd.pipeline(shelf, backbone)
    with pytest.raises(mpdd.InputError):
        mpdd.pipeline("no such task")


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (
            TaskAnswer("t", "entities", entities=(Entity("Drug", 0, 7, "Aspirin", 0.5),)),
            [{"entity_group": "Drug", "score": 0.5, "word": "Aspirin", "start": 0, "end": 7}],
        ),
        (
            TaskAnswer("t", "relations", relations=(Relation("treats", Span(0, 1, "a"), Span(2, 3, "b")),)),
            [
                {
                    "relation": "treats", "score": None, "head": {"word": "a", "start": 0, "end": 1},
                    "tail": {"word": "b", "start": 2, "end": 3},
                }
            ],
        ),
        (TaskAnswer("t", "labels", labels=("I10", "E11"), confidence=0.5), [{"label": x, "score": 0.5} for x in ("I10", "E11")]),
        (TaskAnswer("t", "answer", answer="yes", confidence=0.9), [{"answer": "yes", "score": 0.9}]),
        (TaskAnswer("t", "extract", answer="a", span=Span(4, 5, "a")), [{"answer": "a", "score": None, "start": 4, "end": 5}]),
        (TaskAnswer("t", "summary", answer="Well."), [{"summary_text": "Well."}]),
        (TaskAnswer("t", "answer", unparseable=True), []),
    ],
)  # fmt: skip
def test_results_of_a_pipeline_by_kind(answer, result):
    assert pipeline_result(answer, chooses_label=False) == result
