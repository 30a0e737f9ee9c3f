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


class Fixed:
    """Stands in for an annotator: the same words are drugs and problems in every text."""

    labels: dict[str, tuple[str, ...]] = {}
    entities = {"aspirin": "Drug", "diabetes": "Problem", "asthma": "Problem"}

    def annotate(self, texts):
        return [AnnotatedNote(str(number), text, (self.answer(text),)) for number, text in enumerate(texts)]

    def answer(self, text):
        places = {word: text.find(word) for word in self.entities}
        found = (Entity(self.entities[word], at, at + len(word), word, 0.9) for word, at in places.items() if at >= 0)
        return TaskAnswer("findings", "entities", tuple(found))


NOTE = """Past Medical History: diabetes

Medications: aspirin once a day

Family History:
Mother has asthma.
"""


def sectioned(pipe_is_last):
    """A Doc that medspaCy's sectionizer and our pipe went over."""
    pytest.importorskip("medspacy")
    from medspacy.section_detection import Sectionizer

    nlp = spacy.blank("en")
    sectionizer, ours = Sectionizer(nlp), AnnotatingPipe(Fixed())
    first, last = (sectionizer, ours) if pipe_is_last else (ours, sectionizer)
    return last(first(nlp(NOTE)))


@pytest.mark.parametrize("pipe_is_last", [True, False], ids=["behind", "before"])
def test_entities_have_the_section_that_the_sectionizer_of_medspacy_set(pipe_is_last):
    doc = sectioned(pipe_is_last)
    names = ["past_medical_history", "medications", "family_history"]
    assert [section.category for section in doc._.sections] == names
    assert [(e.text, e._.section_category) for e in doc.ents] == list(zip(("diabetes", "aspirin", "asthma"), names, strict=True))
    assert [s._.section_category for s in doc.spans["findings"]] == ["medications", "past_medical_history", "family_history"]
    assert {e._.mpdd_confidence for e in doc.ents} == {0.9}
    assert doc.ents[2]._.section_title.text.strip() == "Family History:"


def test_the_sectionizer_behind_the_pipe_marks_its_entities():
    assert [e._.is_family for e in sectioned(pipe_is_last=False).ents] == [False, False, True]
    assert [e._.is_family for e in sectioned(pipe_is_last=True).ents] == [False, False, False]
