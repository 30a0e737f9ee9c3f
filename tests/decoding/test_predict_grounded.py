"""Grounded answers of an untrained model: never unparseable, never outside the text; and free answers stay as they were."""

from __future__ import annotations

import pytest
import torch

from mpdd.data.task import Answer, Example, TaskCard
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


def test_grounded_answers_read_back_and_stand_in_the_text(tiny):
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


@pytest.mark.parametrize("size", [1, 5])
def test_grounded_answers_do_not_depend_on_the_batch(tiny, size):
    whole, parts = predict(tiny, requests(tiny, True)), predict(tiny, requests(tiny, True), batch_size=size)
    assert [answer.output for answer in whole] == [answer.output for answer in parts]
