"""Tokens that a grammar allows: those of the gold answer always, and what they spell is what the grammar says."""

from __future__ import annotations

import pytest

from mpdd.backbone.vocabulary import load as load_vocabulary
from mpdd.data.batch import encode_answer
from mpdd.data.task import Answer, Entity, Example, TaskCard
from mpdd.data.types import parse, render_target
from mpdd.inference.decoding.answers import grammar_of
from mpdd.inference.decoding.note import Note
from mpdd.inference.decoding.tokens import Allowed, Tokens, tokens_of

CARD = TaskCard("t", "ner", "Find.", labels=("Drug", "Side effect"))
TEXT = "Aspirin 5 mg was given; né the patient had breast\ncancer."


@pytest.fixture(scope="module", params=["tiny", "embedded"])
def tokenizer(request, tiny):
    return tiny.tokenizer if request.param == "tiny" else load_vocabulary("embedded").tokenizer


def test_every_token_spells_what_it_decodes_to(tokenizer):
    tokens = tokens_of(tokenizer)
    assert tokens_of(tokenizer) is tokens
    checked = 0
    for token, written in list(tokens.bytes_of.items())[:2000]:
        text = written.decode("utf-8", "replace")
        if "\ufffd" not in text:
            assert tokenizer.decode([token], clean_up_tokenization_spaces=False) == text
            checked += 1
    assert checked > 200


def test_the_gold_answers_tokens_are_allowed_one_by_one(tokenizer):
    gold = Example(
        "e", "e", TEXT, Answer(entities=(Entity(0, 7, "Drug"), Entity(TEXT.index("breast"), len(TEXT) - 1, "Side effect")))
    )
    allowed = Allowed(grammar_of(CARD, Note(gold.text), True), tokens_of(tokenizer))
    for token in encode_answer(tokenizer, render_target(CARD, gold)):
        assert token in allowed.next()
        allowed.write(token)


def test_whichever_allowed_token_is_taken_the_answer_reads_back(tokenizer):
    example = Example("e", "e", TEXT, Answer())
    tokens = tokens_of(tokenizer)
    for turn in range(20):
        allowed, written = Allowed(grammar_of(CARD, Note(example.text), True), tokens), []
        while not written or written[-1] != tokens.end:
            choice = sorted(allowed.next())
            written.append(tokens.end if tokens.end in choice and len(written) > 12 else choice[(turn * 7919) % len(choice)])
            allowed.write(written[-1])
        parsed = parse(CARD, example, tokenizer.decode(written[:-1]))
        assert (parsed.unparseable, parsed.ungrounded) == (False, 0)


def test_special_tokens_are_never_text(tokenizer):
    assert not set(tokenizer.all_special_ids) & set(Tokens(tokenizer).bytes_of)
