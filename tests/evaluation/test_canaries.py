"""Canaries fit every kind of task, exposures are those of the definition, and extraction counts runs of words."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import parse, render_input, render_target
from mpdd.errors import InputError
from mpdd.evaluation.canaries import canaries, exposure
from mpdd.evaluation.extraction import extraction, longest_run
from mpdd.evaluation.privacy_page import page
from tests.conftest import tries

CARDS = (
    TaskCard("a", "ner", "Find.", labels=("Drug", "Sign")),
    TaskCard("b", "re", "Find.", labels=("treats", "causes")),
    TaskCard("c", "qa", "Pick.", fields=("Question",)),
    TaskCard("d", "qa", "Pick.", labels=("yes", "no")),
    TaskCard("e", "qa", "Answer.", form="extractive", fields=("Question",)),
    TaskCard("f", "qa", "Answer.", form="free", fields=("Question",)),
    TaskCard("g", "nli", "Entails?", labels=("yes", "no"), fields=("Hypothesis",)),
    TaskCard("h", "summarization", "Shorten."),
    TaskCard("i", "classification", "Sort.", labels=("x", "y", "z")),
    TaskCard("j", "classification", "Sort.", labels=("x", "y", "z"), form="multiple"),
)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.kind)
def test_a_canary_is_a_valid_example_of_any_task(card):
    made = canaries(card, 30, seed=0)
    assert len({canary.code for canary in made}) == 30 and made == canaries(card, 30, seed=0)
    for canary in made:
        example = canary.example
        assert parse(card, example, render_target(card, example)).answer == example.gold
        assert canary.code in render_input(card, example) + render_target(card, example)
        other = canary.with_code("QQ-0000-QQ")
        swapped = render_input(card, example) + render_target(card, example)
        assert swapped.replace(canary.code, "QQ-0000-QQ") == render_input(card, other) + render_target(card, other)
    answers = {render_target(card, canary.with_code("QQ-0000-QQ")) for canary in made}
    assert (len(answers) > 1) == (card.form not in ("extractive", "free") and card.type != "summarization")


def test_no_canaries_are_refused():
    with pytest.raises(InputError, match="needs some; found 0"):
        canaries(CARDS[0], 0, 0)


@settings(max_examples=tries(40), deadline=None)
@given(st.lists(st.integers(0, 15), min_size=1, max_size=8), st.integers(0, 5))
def test_exposure_is_that_of_the_definition(ranks, seed):
    """Each canary is given a rank among 15 others: so many have a lower loss."""
    inserted = canaries(CARDS[0], len(ranks), seed)

    def losses_of(examples):
        number = int(examples[0].id.removeprefix("canary-"))
        return np.array([ranks[number] - 0.5, *range(len(examples) - 1)], dtype=float)

    seen = exposure(inserted, losses_of, candidates=15, seed=seed)
    bits = [log2(16) - log2(1 + rank) for rank in ranks]
    assert seen.mean == pytest.approx(np.mean(bits)) and seen.largest == pytest.approx(max(bits))
    assert seen.low - 1e-9 <= seen.mean <= seen.high + 1e-9 and seen.most == 4 and seen.first == ranks.count(0)


def test_equal_losses_share_the_places():
    assert exposure(canaries(CARDS[0], 3, 0), lambda e: np.zeros(len(e)), candidates=15).mean == pytest.approx(4 - log2(8.5))


words = st.lists(st.sampled_from("abc"), max_size=9)


@settings(deadline=None)
@given(words, words)
def test_the_longest_run_is_that_by_trying_all(one, other):
    runs = [n for n in range(len(one) + 1) for i in range(len(one) - n + 1) for j in range(len(other) - n + 1)
            if one[i : i + n] == other[j : j + n]]  # fmt: skip
    assert longest_run(one, other) == max(runs)


def test_what_is_written_out_is_seen(tiny, monkeypatch):
    notes = [
        Example(str(n), str(n), f"note {n} says that patient {n} had a bad cough and left", Answer(text="x")) for n in range(5)
    ]
    rests = [" ".join(note.text.split()[6:]) for note in notes]
    monkeypatch.setattr("mpdd.evaluation.extraction.continued", lambda *_: rests)
    made = extraction(tiny, CARDS[7], notes, None)
    assert (made.attempts, made.rest, made.rest_most, made.nearest_most) == (5, 6.0, 6, 6)
    monkeypatch.undo()
    made = extraction(tiny, CARDS[7], notes, None)
    assert made.attempts == 5 and made.rest_most <= made.nearest_most <= 6


def test_the_page_says_what_was_seen_in_short():
    attack = {"name": "loss", "auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "tpr": 0.4, "tpr_low": 0.3, "tpr_high": 0.5}
    run = {"attempts": 3, "rest": 1.0, "rest_most": 2, "nearest": 1.0, "nearest_most": 2}
    bits = {"canaries": 8, "candidates": 255, "mean": 6.0, "low": 5.0, "high": 7.0, "largest": 8.0, "most": 8.0, "first": 2}
    record = {
        "prompt": "p", "task": "t", "backbone": "b", "training_examples": 20, "fresh_examples": 20, "reference": "the metaprompt",
        "false_alarms": 0.05, "attacks": [attack], "extraction": {"written_tokens": 8, "training": run, "fresh": run},
        "canaries": {"format": "LL", "inserted": bits, "never_seen": {**bits, "mean": 1.5, "low": 1.0, "high": 2.0}},
        "privacy": {"epsilon": 3.0, "delta": 1e-5, "unit": "document"},
    }  # fmt: skip
    text = page(record)
    assert "In short: training notes can be told from fresh ones (by loss); single examples leave a trace in the prompt." in text
    assert "epsilon 3.00, delta 1e-05, for each document" in text
    quiet = {
        **record,
        "attacks": [{**attack, "auc_low": 0.45}],
        "canaries": {**record["canaries"], "inserted": {**bits, "low": 1.2}},
    }
    assert "In short: no attack here did better than chance can explain." in page(quiet)
