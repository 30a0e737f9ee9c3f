"""The spaCy pipe: known to spaCy by its entry point, and the same answers as from Python."""

from __future__ import annotations

import pytest

spacy = pytest.importorskip("spacy")

from mpdd.annotate.annotator import Annotator, open_backbone  # noqa: E402
from mpdd.annotate.answers.types import AnnotatedNote, Entity, TaskAnswer  # noqa: E402
from mpdd.annotate.spacy_docs import fill  # noqa: E402
from mpdd.annotate.spacy_pipe import AnnotatingPipe  # noqa: E402
from mpdd.errors import InputError  # noqa: E402
from mpdd.prompts.store import load_tasks  # noqa: E402
from tests.api.conftest import TRIAGE, shelf  # noqa: E402, F401  fixtures

TEXTS = ["Aspirin was given for fever.", "", "Then ibuprofen 💊 and cough."]


def test_the_pipe_answers_as_the_annotator_does(shelf, tiny_folder):  # noqa: F811
    nlp = spacy.blank("en")
    paths = [str(shelf / "drugs.safetensors"), str(shelf / "urgency.safetensors")]
    nlp.add_pipe("mpdd", config={"prompts": paths, "backbone": str(tiny_folder)})
    notes = Annotator(load_tasks(paths), open_backbone(tiny_folder)).annotate(TEXTS)
    for doc, note in zip(nlp.pipe(TEXTS, batch_size=2), notes, strict=True):
        assert list(doc._.mpdd_answers) == [answer.to_dict() for answer in note.answers]
        assert set(doc.cats) == set(TRIAGE.labels)
        chosen = note["urgency"].answer
        assert max(doc.cats, key=doc.cats.__getitem__) == chosen if chosen else not any(doc.cats.values())
        assert len(doc.spans["drugs"]) == len(note.entities)
    assert nlp(TEXTS[0])._.mpdd_answers == next(iter(nlp.pipe(TEXTS[:1])))._.mpdd_answers


def test_the_pipe_is_found_by_its_entry_point():
    from importlib.metadata import entry_points

    names = [e.value for e in entry_points(group="spacy_factories") if e.name == "mpdd"]
    if not names:
        pytest.skip("mpdd was installed before it had this entry point")
    assert set(names) == {"mpdd.annotate.spacy_pipe:create"}
    assert "mpdd" in spacy.blank("en").factory_names


def test_a_pipe_without_a_task_is_refused():
    with pytest.raises(InputError, match="has no task; wanted config="):
        spacy.blank("en").add_pipe("mpdd")


def test_entities_that_are_there_and_ours_are_put_together():
    doc = spacy.blank("en")("Gave 100mg aspirin to John Smith.")
    doc.ents = [doc.char_span(22, 32, "PERSON")]
    entities = (Entity("Dose", 5, 8, "100", 0.9), Entity("Drug", 11, 18, "aspirin", 0.8), Entity("Long", 5, 18, "100mg aspirin"))
    note = AnnotatedNote("1", doc.text, (TaskAnswer("drugs", "entities", entities),))
    fill(doc, note)
    assert [(e.text, e.label_) for e in doc.ents] == [("100mg aspirin", "Long"), ("John Smith", "PERSON")]
    assert [s.text for s in doc.spans["drugs"]][1:] == ["aspirin", "100mg aspirin"]
    assert doc.spans["drugs"][1]._.mpdd_confidence == 0.8
    assert [e["start"] for e in doc._.mpdd_answers[0]["entities"]] == [5, 11, 5]
    other = spacy.blank("en")(doc.text)
    fill(other, note, entities=False)
    assert not other.ents and len(other.spans["drugs"]) == 3


def test_several_tasks_name_their_labels():
    doc = spacy.blank("en")("x")
    answers = (TaskAnswer("a", "answer", answer="yes", confidence=0.7), TaskAnswer("b", "labels", labels=("p", "q")))
    fill(doc, AnnotatedNote("1", "x", answers), labels={"a": ("yes", "no")})
    assert doc.cats == {"a:yes": 0.7, "a:no": 0.0, "b:p": 1.0, "b:q": 1.0}
    assert AnnotatingPipe.__doc__
