"""Grounded answers of an untrained model: never unparseable, never outside the text; and free answers stay as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mpdd.data.task import Answer, Example, TaskCard
from mpdd.inference.decoding import steering
from mpdd.inference.decoding.answers import grammar_of
from mpdd.inference.decoding.note import Note
from mpdd.inference.decoding.steering import Steering
from mpdd.inference.decoding.tokens import Allowed, tokens_of
from mpdd.inference.predict import Request, predict

NER = TaskCard("t", "ner", "List the drugs named in the text.", labels=("Drug", "Side effect"), max_answer_tokens=40)
RE = TaskCard("t", "re", "List the relations.", labels=("causes",), max_answer_tokens=40)
EXTRACT = TaskCard("t", "qa", "What was given?", form="extractive", max_answer_tokens=40)
SUMMARY = TaskCard("t", "summarization", "Sum up.", max_answer_tokens=12)
TEXTS = ("aspirin given", "fever; and\ncough", "né 5 mg -> aspirin \\ x")


def requests(tiny, grounded):
    prompt = torch.randn(4, tiny.width, generator=torch.Generator().manual_seed(3))
    return [
        Request(card, Example(t, t, t, Answer()), prompt if turn else None, grounded=grounded)
        for turn, t in enumerate(TEXTS)
        for card in (NER, RE, EXTRACT, SUMMARY)
    ]


def test_without_leave_for_other_words_answers_read_back_and_stand_in_the_text(tiny, monkeypatch):
    monkeypatch.setattr(steering, "LEAST", 0.0)
    asked = requests(tiny, True)
    free = predict(tiny, requests(tiny, False))
    grounded = predict(tiny, asked)
    for request, answer, before in zip(asked, grounded, free, strict=True):
        if request.card is SUMMARY:
            assert answer.output == before.output  # no grammar for words of its own
        elif len(answer.tokens) < request.card.max_answer_tokens:  # an answer that was cut may end within an item
            assert (answer.parsed.unparseable, answer.parsed.ungrounded) == (False, 0)
        assert answer.confidence is not None and 0 < answer.confidence <= 1
    assert sum(answer.parsed.unparseable or answer.parsed.ungrounded > 0 for answer in free) > 0


def test_grounded_answers_do_not_depend_on_the_batch(tiny):
    asked = [replace(each, card=replace(each.card, max_answer_tokens=14)) for each in requests(tiny, True)]
    whole = [answer.output for answer in predict(tiny, asked)]
    for size in (1, 5):
        assert [answer.output for answer in predict(tiny, asked, batch_size=size)] == whole


@pytest.mark.parametrize(("least", "stays"), [(0.9, True), (0.3, False), (0.0, False)])
def test_a_word_of_the_note_is_taken_where_it_is_likely_enough(tiny, monkeypatch, least, stays):
    monkeypatch.setattr(steering, "LEAST", least)
    tokens = tokens_of(tiny.tokenizer)
    allowed = Allowed(grammar_of(EXTRACT, Note("given"), True), tokens)
    inside = allowed.next()[0]
    outside = next(token for token in tokens.bytes_of if token not in allowed.next())
    logits = torch.full((tiny.table.shape[0],), -20.0)
    logits[outside], logits[inside] = 0.0, -0.7  # half as likely
    before = logits.clone()
    Steering(allowed, None)(logits)
    assert int(logits.argmax()) == (outside if stays else inside)
    assert torch.equal(logits, before) is stays


def test_what_the_model_says_of_the_note_stays_as_it_is(tiny):
    """Where free answers already name only the note, grounded ones are the same, and so is how sure they are."""
    card = TaskCard("t", "summarization", "Sum up.", max_answer_tokens=12)
    asked = [Request(card, Example(t, t, t, Answer())) for t in TEXTS]
    said = [answer.output for answer in predict(tiny, asked)]
    of_notes = [
        Request(EXTRACT, Example(t, t, t, Answer())) for t in said if t.strip()
    ]  # a note that holds what will be answered
    free = predict(tiny, of_notes)
    grounded = predict(tiny, [replace(request, grounded=True) for request in of_notes])
    same = [(f, g) for f, g in zip(free, grounded, strict=True) if not f.parsed.ungrounded]
    assert all(f.output == g.output and f.confidence == pytest.approx(g.confidence) for f, g in same)
