"""Task cards: forms of answers, and JSON."""

from dataclasses import replace

import pytest

from mpdd.data.task import FORMS, TaskCard
from mpdd.errors import InputError


@pytest.mark.parametrize(
    ("kind", "form"),
    [("qa", "choice"), ("classification", "single"), ("ner", ""), ("re", ""), ("nli", ""), ("summarization", "")],
)
def test_the_form_is_filled_in(kind, form):
    assert TaskCard("t", kind, "Do it.").form == form


@pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind, forms in FORMS.items() for form in forms])
def test_every_form_survives_json(kind, form):
    card = TaskCard("t", kind, "Do it.", form=form)
    assert card.form == form
    assert TaskCard.from_dict(card.to_dict()) == card
    assert replace(card, name="u").form == form


def test_a_choice_may_have_labels_or_not():
    assert TaskCard("t", "qa", "Answer.", labels=("yes", "no")).form == "choice"
    assert TaskCard("t", "qa", "Answer.", labels=("yes", "no"), form="choice").form == "choice"


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "ner", "form": "single"},
        {"type": "nli", "form": "choice"},
        {"type": "summarization", "form": "free"},
        {"type": "qa", "form": "multiple"},
        {"type": "classification", "form": "extractive"},
        {"type": "qa", "form": "Free"},
        {"type": "qa", "form": "extractive", "labels": ("yes", "no")},
        {"type": "qa", "form": "free", "labels": ("yes", "no")},
        {"type": "qa", "form": True},
        {"type": "qa", "form": False},
        {"type": "qa", "form": None},
        {"type": "qa", "form": ["free"]},
    ],
)
def test_a_form_that_does_not_fit_is_one_error(wrong):
    with pytest.raises(InputError, match="The task t cannot have answers of this form; found form .* wanted for qa: choice, "):
        TaskCard(**{"name": "t", "instruction": "Do it.", **wrong})
