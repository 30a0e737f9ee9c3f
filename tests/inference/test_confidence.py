"""Confidence: scales that are the best there are, and each entity's tokens found among all that were written."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from mpdd.annotate.notes import Confidence
from mpdd.data.task import Answer, Entity, Example, TaskCard
from mpdd.data.types import parse
from mpdd.inference.confidence import Scale, fit, of_items, units
from mpdd.inference.predict import Prediction

NER = TaskCard("drugs", "ner", "List drugs.", labels=("Drug", "Sign"))
RE = TaskCard("causes", "re", "List pairs.", labels=("induces",))
NLI = TaskCard("says", "nli", "Does it say so?", labels=("yes", "no"))
FREE = TaskCard("ask", "qa", "Answer.", form="free")
CODES = TaskCard("codes", "classification", "Which?", labels=("fever", "cough"), form="multiple")
EXTRACT = TaskCard("find", "qa", "Answer.", form="extractive")


def raw_and_right(slope, shift, count=4000, seed=0):
    """Probabilities that are off by a known scale."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(1, 2, count)
    right = rng.random(count) < 1 / (1 + np.exp(-(slope * odds + shift)))
    return (1 / (1 + np.exp(-odds))).tolist(), right.tolist()


@pytest.mark.parametrize(("slope", "shift"), [(0.3, -1.0), (1.0, 0.0), (2.0, 0.5)])
def test_a_known_scale_is_found(slope, shift):
    found = fit(*raw_and_right(slope, shift))
    assert (found.slope, found.shift) == pytest.approx((slope, shift), abs=0.15)


@pytest.mark.parametrize("count", [3, 20, 300])
def test_the_fit_is_where_a_general_optimiser_ends(count):
    raw, right = raw_and_right(0.5, -0.4, count, seed=count)
    odds = np.log(np.array(raw) / (1 - np.array(raw)))
    sign = np.where(right, 1, -1)

    def loss(at):
        return np.logaddexp(0, -sign * (at[0] * odds + at[1])).sum() + ((at[0] - 1) ** 2 + at[1] ** 2) / 2

    found = fit(raw, right)
    assert (found.slope, found.shift) == pytest.approx(tuple(minimize(loss, [1.0, 0.0]).x), abs=1e-3)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40), st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_a_scale_never_turns_the_order_round_and_stays_a_probability(known, asked):
    scale = fit([p for p, _ in known], [right for _, right in known])
    said = [scale(p) for p in sorted(asked)]
    assert said == sorted(said) and all(0 <= p <= 1 for p in said)


def test_without_examples_nothing_changes():
    assert fit([], []) == Scale()
    assert Scale()(0.3) == pytest.approx(0.3)


def written(tiny, card, example, output, weights=None):
    """A prediction of this output; the log-probability of token n is `weights[n]`, else -0.1."""
    ids = tiny.tokenizer(output)["input_ids"] + [tiny.end]
    tokens = tuple((token, (weights or {}).get(n, -0.1)) for n, token in enumerate(ids))
    return Prediction(output, parse(card, example, output), 0, 0.5, tokens)


def test_an_entity_has_the_mean_of_its_own_tokens(tiny):
    example = Example("1", "1", "aspirin and zyx for fever", Answer())
    plain = written(tiny, NER, example, "Drug: aspirin; zyx\nSign: fever")
    aspirin, zyx, fever = (Entity(0, 7, "Drug"), Entity(12, 15, "Drug"), Entity(20, 25, "Sign"))
    assert of_items(tiny.tokenizer, plain) == pytest.approx({aspirin: exp(-0.1), zyx: exp(-0.1), fever: exp(-0.1)})
    ids = [token for token, _ in plain.tokens]
    own = [n for n in range(len(ids)) if tiny.tokenizer.decode(ids[n]).strip() in ("z", "y", "x")]
    assert len(own) == 3  # the tokenizer has no longer token for it
    unsure = written(tiny, NER, example, plain.output, dict.fromkeys(own, -2.0))
    assert of_items(tiny.tokenizer, unsure) == pytest.approx({aspirin: exp(-0.1), zyx: exp(-2.0), fever: exp(-0.1)}, abs=0.25)
    assert of_items(tiny.tokenizer, unsure)[aspirin] == pytest.approx(exp(-0.1))
    assert of_items(tiny.tokenizer, Prediction(plain.output, plain.parsed, 0)) == {}


def test_what_counts_as_right(tiny):
    both = Example("1", "1", "aspirin and fever", Answer(entities=(Entity(0, 7, "Drug"),)))
    answers = [written(tiny, NER, both, "Drug: aspirin; fever")]
    assert [right for _, right in units(tiny.tokenizer, NER, [both], answers)] == [True, False]
    yes = Example("1", "1", "t", Answer(choice=0))
    chosen = [Prediction(word, parse(NLI, yes, word), 0, 0.7) for word in ("yes", "no")]
    assert units(tiny.tokenizer, NLI, [yes, yes], chosen) == [(0.7, True), (0.7, False)]
    coded = Example("1", "1", "t", Answer(labels=(1, 0)))
    said = [Prediction(text, parse(CODES, coded, text), 0, 0.6) for text in ("fever; cough", "fever")]
    assert units(tiny.tokenizer, CODES, [coded, coded], said) == [(0.6, True), (0.6, False)]
    asked = Example("1", "1", "a mild fever", Answer(text="Mild  fever"))
    found = [Prediction(text, parse(EXTRACT, asked, text), 0, 0.4) for text in ("mild fever", "fever")]
    assert units(tiny.tokenizer, EXTRACT, [asked, asked], found) == [(0.4, True), (0.4, False)]
    assert units(tiny.tokenizer, FREE, [asked], [Prediction("fever", parse(FREE, asked, "fever"), 0, 0.4)]) == []
    assert units(tiny.tokenizer, NLI, [yes], [Prediction("yes", parse(NLI, yes, "yes"), 0)]) == []


def test_a_note_is_as_sure_as_its_least_sure_entity(tiny):
    example = Example("1", "1", "aspirin and fever", Answer())
    one, none = (written(tiny, NER, example, output) for output in ("Drug: aspirin", "none"))
    said = Confidence(tiny.tokenizer, Scale(2.0, -1.0))
    expected = Scale(2.0, -1.0)(exp(-0.1))
    assert said.whole(NER, [one, none]) == pytest.approx(expected, abs=1e-4)
    assert said.whole(NER, [none]) == 0.5  # the scale is of entities, and there is none
    assert said.whole(NLI, [one, none]) == pytest.approx(Scale(2.0, -1.0)(0.5), abs=1e-4)
    assert Confidence(tiny.tokenizer).items(one) == {Entity(0, 7, "Drug"): pytest.approx(exp(-0.1), abs=1e-4)}
    assert said.whole(NLI, [Prediction("yes", one.parsed, 0)]) is None


def test_a_token_across_an_edge_counts_for_both(tiny):
    """Byte-level tokens hold a leading space, so the item's place falls inside a token."""
    example = Example("1", "1", "fever", Answer())
    prediction = written(tiny, NER, example, "Sign: fever")
    (sure,) = of_items(tiny.tokenizer, prediction).values()
    assert log(sure) == pytest.approx(-0.1)
