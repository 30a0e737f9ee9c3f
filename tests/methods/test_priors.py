"""Priors: what is fitted on dev recovers the right shares, is applied alike on every path, and stays in the prompt file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpdd.annotate.notes import Note, answer_notes
from mpdd.backbone.template import PLAIN
from mpdd.data.batch import encode_answer
from mpdd.data.task import Answer, Entity, Example, TaskCard
from mpdd.errors import InputError
from mpdd.inference.decoding import steering
from mpdd.inference.decoding.priors import Priors, shifts_of
from mpdd.inference.engines.local import Local
from mpdd.inference.predict import Request, predict, score_options
from mpdd.methods.priors import fit_classes, fit_priors, fit_share, fit_shift
from mpdd.prompts.store import Header, load_prompt, save_prompt

NER = TaskCard("t", "ner", "List the drugs named in the text.", labels=("Drug", "Side effect"), max_answer_tokens=12)
NLI = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no", "not said"), fields=("Hypothesis",))
CODES = TaskCard("codes", "classification", "Which?", labels=("none left", "none", "other")[::2], form="multiple")


def listed(number, empty):
    text = f"aspirin given {number}"
    return Example(str(number), str(number), text, Answer(entities=() if empty else (Entity(0, 7, "Drug"),)))


def compared(number, choice):
    return Example(str(number), str(number), f"fever {number}", Answer(choice=choice), (("Hypothesis", "cough"),))


@pytest.fixture
def prompt(tiny):
    return torch.randn(4, tiny.width, generator=torch.Generator().manual_seed(1))


# The fit


def test_a_shift_makes_the_mean_probability_what_happened():
    rng = np.random.default_rng(0)
    odds = rng.normal(size=4000) - 2.0  # says it far too rarely
    happened = rng.random(4000) < 1 / (1 + np.exp(-(odds + 2.5)))
    shift = fit_shift(list(zip(odds.tolist(), happened.tolist(), strict=True)))
    assert shift == pytest.approx(2.5, abs=0.15)
    assert (1 / (1 + np.exp(-(odds + shift)))).mean() == pytest.approx(happened.mean(), abs=1e-3)


@given(
    st.lists(st.tuples(st.floats(-20, 20).map(lambda x: round(x, 3)), st.booleans()), max_size=40, unique_by=lambda pair: pair[0])
)
def test_with_the_shift_of_a_share_as_many_margins_are_above_0_as_happened(margins):
    shift, happened = fit_share(margins), sum(is_right for _, is_right in margins)
    assert sum(x + shift > 0 for x, _ in margins) == happened
    if sum(x > 0 for x, _ in margins) == happened:
        assert shift == 0.0


def test_shifts_of_classes_recover_the_shares_and_stay_finite():
    rng = np.random.default_rng(0)
    true = np.array([1.0, -2.0, 0.0, 0.0])
    scores = rng.normal(size=(4000, 4))
    chances = np.exp(scores + true)
    right = [int(rng.choice(4, p=row / row.sum())) for row in chances]
    shifts = fit_classes(scores, right)
    p = np.exp(scores + shifts)
    shares = (p / p.sum(1, keepdims=True)).mean(0)
    assert shares == pytest.approx(np.bincount(right, minlength=4) / 4000, abs=2e-3)
    assert shifts - shifts.mean() == pytest.approx(true - true.mean(), abs=0.2)
    never = fit_classes(scores[:40], [0] * 40)
    assert np.isfinite(never).all() and never[0] > 0 > never[1:].max()


def test_without_examples_or_in_free_words_there_are_no_priors(tiny):
    assert fit_shift([]) == 0.0
    assert fit_priors(tiny, []) == {}
    summary = TaskCard("s", "summarization", "Sum up.")
    assert fit_priors(tiny, [Request(summary, Example("a", "a", "fever", Answer(text="fever")))]) == {}


# What it does to answers


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_none_is_answered_as_often_as_in_dev(tiny, prompt, share):
    examples = [listed(n, n < 80 * share) for n in range(80)]
    priors = fit_priors(tiny, [Request(NER, e, prompt) for e in examples])
    first = encode_answer(tiny.tokenizer, "none", PLAIN)[0]

    def share_of_none(known):
        answers = predict(tiny, [Request(NER, e, prompt, priors=known) for e in examples])
        return np.mean([answer.tokens[0][0] == first for answer in answers])

    assert share_of_none(None) == 0.0 and share_of_none(Priors.of(priors)) == pytest.approx(share, abs=0.03)
    assert priors["examples"] == 80 and priors["classes"] == []


def test_a_class_is_chosen_as_often_as_in_dev(tiny, prompt):
    examples = [compared(n, n % 2) for n in range(120)]  # "not said" never, the others alike
    priors = fit_priors(tiny, [Request(NLI, e, prompt) for e in examples])
    known = Priors.of(priors)
    scores = np.array(score_options(tiny, [Request(NLI, e, prompt, priors=known) for e in examples]))
    plain = np.array(score_options(tiny, [Request(NLI, e, prompt) for e in examples]))
    assert scores - plain == pytest.approx(np.tile(priors["classes"], (120, 1)), abs=1e-5)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares = (shares / shares.sum(1, keepdims=True)).mean(0)
    assert shares == pytest.approx([0.5, 0.5, 0.0], abs=0.05)
    answers = predict(tiny, [Request(NLI, e, prompt, priors=known) for e in examples])
    assert {"yes", "no"} >= {a.output for a in answers}
    chosen = NLI.labels.index(answers[0].output)
    assert answers[0].confidence == pytest.approx(np.exp(scores[0, chosen]) / np.exp(scores[0]).sum(), rel=1e-4)


def test_large_priors_decide(tiny, prompt):
    example = listed(0, False)

    def answer(**priors):
        return predict(tiny, [Request(NER, example, prompt, priors=Priors(**priors))])[0]

    assert answer(none=50.0).output.startswith("none")
    never = answer(none=-50.0)
    assert not never.output.startswith("none")
    assert len(answer(none=-50.0, stop=50.0).tokens) == 2  # a first token, and the end
    assert len(answer(none=-50.0, stop=-50.0).tokens) == NER.max_answer_tokens
    assert answer().output == predict(tiny, [Request(NER, example, prompt)])[0].output


@pytest.mark.parametrize("grounded", [False, True])
def test_the_padded_path_has_the_same_priors(tiny, prompt, grounded):
    examples = [listed(n, n % 3 == 0) for n in range(6)]
    priors = Priors.of(fit_priors(tiny, [Request(NER, e, prompt, grounded=grounded) for e in examples]))
    asked = [Request(NER, e, prompt, grounded=grounded, priors=priors) for e in examples]
    asked += [Request(NLI, compared(n, 0), prompt, priors=Priors(classes=(0.0, 2.0, -1.0))) for n in range(3)]
    packed, padded = predict(tiny, asked), predict(replace(tiny, packs=False), asked)
    assert [a.output for a in padded] == [a.output for a in packed]
    assert [a.confidence for a in padded] == pytest.approx([a.confidence for a in packed], rel=1e-3)


def test_none_is_told_from_a_label_that_begins_like_it(tiny):
    shifts = shifts_of(tiny.tokenizer, CODES, PLAIN, Priors(none=1.0, stop=2.0))
    none, label = (encode_answer(tiny.tokenizer, text, PLAIN) for text in ("none", "none left"))
    assert shifts.none_tokens != label[: len(shifts.none_tokens)] and shifts.none_tokens == none[: len(shifts.none_tokens)]
    assert shifts.next(none[: len(shifts.none_tokens) - 1]) == (shifts.none_tokens[-1], 1.0)
    assert shifts.next(label[:-1]) == (tiny.end, 2.0)
    assert shifts.next(none) is None
    assert shifts_of(tiny.tokenizer, NLI, PLAIN, Priors()) is None


# The file


def saved(path, tiny, prompt, card, priors):
    header = Header("soft", tiny.name, tiny.fingerprint, *prompt.shape, tasks=(card.name,), card=card, priors=priors)
    return save_prompt(path, {"rows": prompt}, header)


def test_a_prompt_file_keeps_its_priors_and_notes_are_answered_with_them(tiny, prompt, tmp_path, monkeypatch):
    monkeypatch.setattr(steering, "LEAST", 0.0)  # an untrained model would go on with any words
    priors = {"none": 50.0, "stop": 0.0, "classes": [], "examples": 3}
    saved(tmp_path / "a.safetensors", tiny, prompt, NER, priors)
    file = load_prompt(tmp_path / "a.safetensors", tiny)
    assert file.header.priors == priors
    (result,) = answer_notes(Local(tiny, grounded=True), [file], [Note("n", "aspirin given", {})])
    assert result["entities"] == [] and not result["unparseable"]
    saved(tmp_path / "b.safetensors", tiny, prompt, NER, {**priors, "none": 0.0})
    without = load_prompt(tmp_path / "b.safetensors")
    (other,) = answer_notes(Local(tiny, grounded=True), [without], [Note("n", "aspirin given", {})])
    assert other["confidence"] != result["confidence"]
    old = saved(tmp_path / "old.safetensors", tiny, prompt, NER, {})
    assert Priors.of(old.header.priors) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"none": float("nan"), "stop": 0.0, "classes": [], "examples": 1},
        {"none": 0.0, "stop": 0.0, "classes": [0.0], "examples": 1},
        {"none": 0.0, "stop": 0.0, "classes": []},
        {"other": 0.0},
    ],
    ids=str,
)
def test_priors_that_do_not_fit_are_refused(tiny, prompt, tmp_path, wrong):
    saved(tmp_path / "a.safetensors", tiny, prompt, NER, wrong)
    with pytest.raises(InputError):
        load_prompt(tmp_path / "a.safetensors", tiny)
