"""What a run records beside a task's own metrics."""

from dataclasses import replace

import pytest

from mpdd.data.task import Answer, Entity, Example, Parsed, Splits, Task, TaskCard
from mpdd.data.tasks import maccrobat_ner
from mpdd.evaluation.n2c2 import other_values

N2C2 = {f"n2c2_{mode}_{mean}_f1" for mode in ("strict", "lenient") for mean in ("micro", "macro")}


def task(kind, form=""):
    card = TaskCard("t", kind, "Do it.", labels=() if form == "free" else ("Date", "Time"), form=form)
    return Task(card, "target", (), lambda root: Splits((), (), ()), "", "")


def spans(*items):
    return Answer(entities=tuple(Entity(*item) for item in items))


@pytest.mark.parametrize(
    ("kind", "form", "names"),
    [("ner", "", N2C2), ("re", "", N2C2), ("qa", "free", set()), ("nli", "", set()), ("classification", "multiple", set())],
)
def test_entities_and_relations_have_the_values_of_n2c2(kind, form, names):
    assert set(other_values(task(kind, form), [Example("e", "d", "", Answer())], [Parsed(Answer())])) == names


def test_maccrobat_is_scored_by_its_groups_too():
    gold = spans((0, 4, "Date"), (5, 9, "Duration"), (10, 15, "Medication"))
    answer = spans((0, 4, "Duration"), (5, 9, "Duration"), (12, 15, "Dosage"))
    found = other_values(maccrobat_ner.TASK, [Example("e", "d", "", gold)], [Parsed(answer)])
    # Date and Duration are of the group Time, Medication and Dosage of Treatment: 2 of 3 strictly, all leniently.
    assert found["coarse_strict_f1"] == pytest.approx(200 / 3)
    assert found["coarse_lenient_f1"] == 100
    assert found["n2c2_strict_micro_f1"] == pytest.approx(100 / 3)
    assert set(found) == N2C2 | {"coarse_strict_f1", "coarse_lenient_f1"}


def test_spans_that_fall_into_one_group_count_once():
    made = replace(task("ner"), coarse=maccrobat_ner.coarse)
    both = spans((0, 4, "Date"), (0, 4, "Time"))
    found = other_values(made, [Example("e", "d", "", both)], [Parsed(spans((0, 4, "Date")))])
    assert found["coarse_strict_f1"] == 100
    assert found["n2c2_strict_micro_f1"] == pytest.approx(200 / 3)


def test_coarse_labels_are_the_groups_of_the_card():
    assert {maccrobat_ner.COARSE[label] for label in maccrobat_ner.TASK.card.labels} == set(maccrobat_ner.GROUPS)
