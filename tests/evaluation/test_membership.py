"""Membership attacks and canaries: the area is scikit-learn's, a prompt that knows its notes by heart is recognised, a private
one is not."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import parse, render_input, render_target
from mpdd.errors import InputError
from mpdd.evaluation.canaries import canaries, exposure
from mpdd.evaluation.extraction import extraction, longest_run
from mpdd.evaluation.membership import FALSE_ALARMS, area, attack, attacks, halves, likelihood_ratio, log_odds, losses
from mpdd.evaluation.privacy_page import page
from mpdd.prompts.soft import SoftPrompt, from_random
from mpdd.training.loop import Group, Plan
from mpdd.training.private import Guarantee, Private, fit_privately, spent
from mpdd.training.tune import Data, Job, tune
from tests.conftest import tries

CARD = TaskCard("sums", "summarization", "Say it shortly.", max_answer_tokens=16)
scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


@settings(max_examples=tries(40))
@given(scores, scores)
def test_the_area_is_that_of_scikit_learn(members, fresh):
    labels = [1] * len(members) + [0] * len(fresh)
    assert area(np.array(members), np.array(fresh)) == pytest.approx(roc_auc_score(labels, members + fresh))


def test_what_is_recognised_and_how_surely():
    one = attack("loss", np.arange(50.0, 100.0), np.arange(0.0, 50.0))
    assert (one.auc, one.auc_low, one.auc_high, one.tpr, one.tpr_low, one.tpr_high) == (1.0,) * 6
    generator = np.random.default_rng(0)
    guessing = attack("loss", generator.normal(size=400), generator.normal(size=400))
    assert guessing.auc_low < 0.5 < guessing.auc_high
    assert guessing.tpr_low < FALSE_ALARMS < guessing.tpr_high
    assert guessing.tpr == pytest.approx(FALSE_ALARMS, abs=0.04)


@settings(deadline=None)
@given(st.floats(0.01, 700))
def test_log_odds_are_those_of_the_likelihood(loss):
    p = np.exp(-loss)
    assert log_odds(np.array([loss]))[0] == pytest.approx(np.log(p) - np.log1p(-p), rel=1e-6)
    assert np.isfinite(log_odds(np.array([0.0, loss]))).all()


@settings(deadline=None)
@given(st.integers(2, 9), st.lists(st.integers(0, 12), min_size=4, max_size=40), st.integers(0, 99))
def test_every_document_is_left_out_by_half_of_the_shadows(shadows, numbers, seed):
    documents = [str(number) for number in numbers]
    inside = halves(documents, shadows, seed)
    assert inside.shape == (shadows, len(documents))
    assert set(inside.sum(0).tolist()) <= {shadows // 2, shadows - shadows // 2}
    for name in set(documents):
        assert len({tuple(inside[:, place]) for place, other in enumerate(documents) if other == name}) == 1


def test_the_likelihood_ratio_takes_into_account_how_easy_an_example_is():
    """Training examples are 2 standard deviations surer than without them; easy ones hide that from an attack by loss."""
    generator, count = np.random.default_rng(0), 200
    easy = generator.normal(scale=10, size=2 * count)
    shadows = easy + generator.normal(size=(8, 2 * count))
    target = easy + generator.normal(size=2 * count) + 2.0 * (np.arange(2 * count) < count)
    left_out = ~halves([str(number) for number in range(2 * count)], 8, 0)
    shadows = shadows + np.where(left_out, 0.0, 1e6)  # what shadows that hold an example say of it is not looked at
    scores = likelihood_ratio(target, shadows, left_out)
    by_ratio, by_loss = attack("r", scores[:count], scores[count:]), attack("l", target[:count], target[count:])
    assert by_ratio.auc > 0.85 and by_loss.auc < 0.65
    assert np.std(scores[count:]) == pytest.approx(np.sqrt(1 + 1 / 4), rel=0.2)


def fitted(tiny, notes, start, *, epsilon=None):
    """A prompt fitted to notes by heart, or with so small an epsilon, for which there is noise enough, that it cannot be."""
    prompt, data = SoftPrompt(start), Data.of(tiny, CARD, notes, notes, 8)
    if epsilon is None:
        tune(tiny, {"sums lr 0.5": Job(data, [Group({"rows": prompt.rows}, 0.5)], prompt)}, Plan(60, 20, 60), seed=0)
        return prompt.rows.detach()
    documents = [note.document for note in notes]
    noise, delta, rate, steps = 11.0, 1e-3, 0.5, 20
    assert spent(noise, delta, rate, steps) <= epsilon
    promise = Guarantee(epsilon, delta, "example", len(notes), rate, steps, 1.0, noise)
    private = Private.of(data.train, documents, lambda _: promise, "example")
    fit_privately(tiny, private, [Group({"rows": prompt.rows}, 0.5)], lambda _: prompt(), Plan(20, 10, 20), secret=b"a" * 32)
    return prompt.rows.detach()


def test_an_epsilon_that_no_noise_gives_is_refused():
    with pytest.raises(InputError, match="No amount of noise .* found epsilon 0.0001 in 60 steps; wanted a larger epsilon"):
        Guarantee.calibrated(epsilon=1e-4, delta=1e-5, unit="example", units=40, batch=32, steps=60, clip=1.0)


def test_a_prompt_that_learnt_its_notes_by_heart_is_recognised_and_a_private_one_is_not(tiny):
    words = ["fever", "cough", "pain", "rash", "ache", "chill", "faint", "cramp"]
    notes = [Example(str(n), str(n), f"{words[n % 8]} {n}", Answer(text=f"{words[(n * 5 + n // 8) % 8]}")) for n in range(32)]
    members, fresh, inserted = notes[:16], notes[16:], canaries(CARD, 4, seed=0)
    start, train = from_random(tiny, 8, 0), [*members, *(canary.example for canary in inserted)]
    heart, private = fitted(tiny, train, start), fitted(tiny, train, start, epsilon=0.5)
    before, by_heart, kept = (
        {a.name: a for a in attacks(tiny, CARD, members, fresh, rows, start)} for rows in (start, heart, private)
    )
    assert before["loss"].auc_low < 0.5 < before["loss"].auc_high
    assert by_heart["loss against the reference"].auc > max(0.7, before["loss"].auc)
    assert by_heart["loss against the reference"].auc_low > 0.5
    assert all(one.auc_low < 0.5 for one in kept.values())
    bits = {
        name: exposure(inserted, lambda examples, rows=rows: losses(tiny, CARD, examples, rows), candidates=31)
        for name, rows in (("start", start), ("heart", heart), ("private", private))
    }
    assert bits["heart"].low > 3 > max(bits["start"].mean, bits["private"].mean)
    assert bits["heart"].mean <= bits["heart"].most == 5


# Canaries fit every kind of task, exposures are those of the definition, and extraction counts runs of words.

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


@settings(max_examples=tries(10), deadline=None)
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
