"""Membership attacks: the area is scikit-learn's, a prompt that knows its notes by heart is found out, a fresh one is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mpdd.data.task import Answer, Example, TaskCard
from mpdd.evaluation.membership import FALSE_ALARMS, area, attack, attacks
from mpdd.prompts.soft import SoftPrompt, from_random
from mpdd.training.loop import Group, Plan
from mpdd.training.tune import Data, Job, tune

CARD = TaskCard("sums", "summarization", "Say it shortly.", max_answer_tokens=8)
scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


@given(scores, scores)
def test_the_area_is_that_of_scikit_learn(members, fresh):
    labels = [1] * len(members) + [0] * len(fresh)
    assert area(np.array(members), np.array(fresh)) == pytest.approx(roc_auc_score(labels, members + fresh))


def test_what_is_found_and_how_surely():
    found = attack("loss", np.arange(50.0, 100.0), np.arange(0.0, 50.0))
    assert (found.auc, found.low, found.high, found.found) == (1.0, 1.0, 1.0, 1.0)
    generator = np.random.default_rng(0)
    guessing = attack("loss", generator.normal(size=400), generator.normal(size=400))
    assert guessing.low < 0.5 < guessing.high
    assert guessing.found == pytest.approx(FALSE_ALARMS, abs=0.04)


def test_a_prompt_that_learnt_its_notes_by_heart_is_found_out(tiny):
    words = ["fever", "cough", "pain", "rash", "ache", "chill", "faint", "cramp"]
    notes = [Example(str(n), str(n), f"{words[n % 8]} {n}", Answer(text=f"{words[(n * 5 + n // 8) % 8]}")) for n in range(32)]
    members, fresh = notes[:16], notes[16:]
    start = from_random(tiny, 8, 0)
    before = {one.name: one for one in attacks(tiny, CARD, members, fresh, start, None)}
    prompt = SoftPrompt(start)
    data = Data.of(tiny, CARD, members, members, 8)
    tune(tiny, {"sums lr 0.5": Job(data, [Group({"rows": prompt.rows}, 0.5)], prompt)}, Plan(60, 16, 60), seed=0)
    after = {one.name: one for one in attacks(tiny, CARD, members, fresh, prompt.rows.detach(), start)}
    assert before["loss"].low < 0.5 < before["loss"].high
    assert after["loss against the reference"].auc > max(0.7, before["loss"].auc)
    assert after["loss against the reference"].low > 0.5
