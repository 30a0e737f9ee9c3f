"""The catalogue: found by listing a folder, unknown names answered with near ones, cheap to import."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import mpdd
from mpdd.data import catalogue
from mpdd.data.store import registry
from mpdd.data.task import FORMS, TaskCard
from mpdd.data.tasks import __path__ as folders
from mpdd.errors import InputError

HEAVY = ("torch", "pandas", "openpyxl", "lxml", "pooch", "numpy", "transformers")


def test_every_module_of_the_folder_is_a_task():
    files = {path.stem for path in Path(folders[0]).glob("*.py")} - {"__init__"}
    assert set(catalogue.names()) == files
    assert list(catalogue.names()) == sorted(files)


@pytest.mark.parametrize("name", catalogue.names())
def test_a_task_goes_by_its_file_name_and_is_complete(name):
    task = catalogue.get(name)
    assert task.name == name
    assert task.card.instruction.endswith((".", "?"))
    assert "\n" not in task.card.instruction
    assert task.licence
    assert task.citation
    assert task.files


def test_the_registry_pins_what_the_tasks_read_and_nothing_else():
    assert {file for name in catalogue.names() for file in catalogue.get(name).files} == set(registry())


@pytest.mark.parametrize(
    ("name", "near"), [("bc5cdr", "bc5cdr_ner"), ("PubMed-QA", "pubmedqa"), ("NCBI-Disease", "ncbi_disease")]
)
def test_an_unknown_name_is_answered_with_near_ones(name, near):
    for call in (catalogue.get, catalogue.load):
        with pytest.raises(InputError) as caught:
            call(name)
        assert repr(name) in str(caught.value)
        assert near in str(caught.value)


def test_a_name_like_none_is_answered_with_all():
    with pytest.raises(InputError, match=f"one of {catalogue.names()[0]}, "):
        catalogue.get("zzzz")


def test_getting_every_task_imports_nothing_heavy():
    program = (
        "import sys; from mpdd.data import catalogue; [catalogue.get(name) for name in catalogue.names()];"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(mpdd.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


# Task cards: forms of answers, and JSON.


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
