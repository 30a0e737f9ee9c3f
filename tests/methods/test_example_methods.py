"""The methods that read examples, and the ensemble: against the same thing done by hand on a tiny backbone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpdd.data.batch import fitting
from mpdd.data.task import Answer, Entity, Example, TaskCard
from mpdd.data.types import render_input, render_target
from mpdd.inference.predict import Request, predict, score_options
from mpdd.methods import ensemble
from mpdd.methods.cell import Cell
from mpdd.methods.ensemble import sesom
from mpdd.methods.examples import in_context
from mpdd.methods.options import Adapt
from mpdd.prompts.meta import MetaPrompt
from mpdd.training.tune import Data

NER = TaskCard("drugs", "ner", "List the drugs.", labels=("Drug",), max_answer_tokens=6)
NLI = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no", "not sure"))


def drug(k):
    return Example(f"d{k}", f"d{k}", f"aspirin {k}", Answer(entities=(Entity(0, 7, "Drug"),)))


def says(k):
    return Example(f"s{k}", f"s{k}", f"fever and cough {k}", Answer(choice=k % 3))


def cell(tiny, card, train, test, **values):
    given = {"data": Data((), ()), **values}
    return Cell(
        backbone=tiny, task=SimpleNamespace(card=card, name=card.name), train=train, dev=train, test=test, seed=0,
        adapt=Adapt(in_context_examples=2), shape=None, save_to=None, watch_one=None, tick=lambda _: None, provenance={}, **given,
    )  # fmt: skip


def greedy(tiny, text, most):
    """What the model itself writes behind a text."""
    ids = tiny.tokenizer(text)["input_ids"]
    written = []
    while len(written) < most and tiny.end not in written:
        logits = tiny.model(input_ids=torch.tensor([[*ids, *written]])).logits
        written.append(int(logits[0, -1].argmax()))
    return tiny.tokenizer.decode(written, skip_special_tokens=True).strip()


def test_in_context_is_the_backbone_behind_the_written_out_examples(tiny):
    train, test = (drug(0), drug(1)), (drug(7), drug(8))
    outcome = in_context(cell(tiny, NER, train, test))
    front = "".join(f"{render_input(NER, e)} {render_target(NER, e)}<end>\n\n" for e in train)
    assert [p.output for p in outcome.predictions] == [greedy(tiny, front + render_input(NER, e), 6) for e in test]
    assert outcome.trainable == outcome.stored_bytes == outcome.trials == 0
    bare = predict(tiny, [Request(NER, e) for e in test])
    assert [p.output for p in outcome.predictions] != [p.output for p in bare]


def test_examples_that_do_not_fit_are_left_out_and_the_question_is_never_cut(tiny):
    long = Example("l", "l", "aspirin " * 30, Answer(entities=(Entity(0, 7, "Drug"),)))
    test = (drug(7), Example("w", "w", "word " * 120, Answer()))
    first, second = in_context(cell(tiny, NER, (long, drug(0)), test)).predictions
    assert first.cut == 0
    bare = predict(tiny, [Request(NER, test[1])])[0]
    assert (second.output, second.cut) == (bare.output, bare.cut)


@given(st.lists(st.integers(1, 50), max_size=9), st.integers(0, 120))
def test_what_is_shown_fits_and_nothing_more_does(lengths, room):
    numbers = fitting(lengths, room)
    taken = sum(lengths[number] for number in numbers)
    assert taken <= room and list(numbers) == sorted(set(numbers))
    for number, length in enumerate(lengths):  # what was left out did not fit behind what was taken before it
        if number not in numbers:
            assert length > room - sum(lengths[n] for n in numbers if n < number)


@pytest.fixture
def sources(tiny):
    rows = torch.randn(3, tiny.width, generator=torch.Generator().manual_seed(0))
    meta = MetaPrompt(rows, ("a", "b", "c"), 1)
    with torch.no_grad():
        meta.u.normal_(generator=torch.Generator().manual_seed(1))
        meta.v.normal_(generator=torch.Generator().manual_seed(2))
    return meta


def of_sources(tiny, card, make, meta):
    train, test = [make(k) for k in range(4)], [make(k) for k in range(10, 16)]
    data = Data.of(tiny, card, train, [], 3)
    return cell(tiny, card, train, test, data=data, meta=SimpleNamespace(metaprompt=lambda: meta))


def test_in_context_answers_have_priors_where_they_are_asked_for(tiny):
    outcome = in_context(cell(tiny, NER, (drug(0), drug(1)), (drug(7),), fits_priors=True))
    assert outcome.priors["examples"] == 2 and outcome.priors["stop"] != 0.0


def test_an_ensemble_of_one_source_is_that_source(tiny, sources, monkeypatch):
    monkeypatch.setattr(ensemble, "MOST", 1)
    made = of_sources(tiny, NLI, says, sources)
    outputs = [p.output for p in sesom(made).predictions]
    alone = {
        task: [p.output for p in predict(tiny, [Request(NLI, e, sources(task).detach()) for e in made.test])]
        for task in sources.tasks
    }
    assert outputs in alone.values()


def test_choices_take_the_weighted_mean_of_probabilities(tiny, sources, monkeypatch):
    monkeypatch.setattr(ensemble, "weights_of_losses", lambda losses: torch.full((len(losses),), 1 / len(losses)))
    made = of_sources(tiny, NLI, says, sources)
    scores = [score_options(tiny, [Request(NLI, e, sources(task).detach()) for e in made.test]) for task in sources.tasks]
    mean = torch.tensor(scores).softmax(-1).mean(0)
    found = sesom(made).predictions
    assert [p.output for p in found] == [NLI.labels[number] for number in mean.argmax(-1).tolist()]
    assert [p.confidence for p in found] == pytest.approx(mean.max(-1).values.tolist(), rel=1e-4)
    assert [p.parsed.answer.choice for p in found] == mean.argmax(-1).tolist()


def test_where_answers_are_generated_the_best_source_answers_alone(tiny, sources):
    made = of_sources(tiny, NER, drug, sources)
    losses = ensemble.fit_to(made, {task: sources(task).detach() for task in sources.tasks})
    best = min(losses, key=losses.__getitem__)
    wanted = predict(tiny, [Request(NER, e, sources(best).detach()) for e in made.test])
    assert [p.output for p in sesom(made).predictions] == [p.output for p in wanted]


def test_scores_of_options_are_those_that_predict_picks_by(tiny):
    requests = [Request(NLI, says(k), torch.randn(2, tiny.width)) for k in range(5)]
    scores = torch.tensor(score_options(tiny, requests))
    found = predict(tiny, requests)
    assert [p.output for p in found] == [NLI.labels[number] for number in scores.argmax(-1).tolist()]
    assert [p.confidence for p in found] == pytest.approx(scores.softmax(-1).max(-1).values.tolist(), rel=1e-4)
