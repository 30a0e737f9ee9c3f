"""Every gold answer may be written under grounded decoding, and whatever may be written reads back as an answer in the text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.backbone.vocabulary import load as load_vocabulary
from mpdd.data.batch import encode_answer
from mpdd.data.task import Answer, Entity, Example, Relation, TaskCard
from mpdd.data.types import parse, render_target
from mpdd.inference.decoding.answers import grammar_of
from mpdd.inference.decoding.note import Note
from mpdd.inference.decoding.tokens import Allowed, Tokens, tokens_of
from tests.conftest import tries

NER = TaskCard("t", "ner", "Find.", labels=("Drug", "Side effect"))
RE = TaskCard("t", "re", "Find.", labels=("causes", "treats"))
EXTRACT = TaskCard("t", "qa", "Answer.", form="extractive")
CODES = TaskCard("t", "classification", "Code.", labels=("A; B", "C", "D"), form="multiple")
WORDS = (
    "aspirin",
    "5 mg",
    "cancer",
    "breast\ncancer",
    "a;b",
    "x -> y",
    "c\\d",
    "né",
    "\u00a0",
    "HER2",
    "(no)",
    "肺炎",
    "soft\u00adhyphen",
    "cafe\u0301",
    "ne\u200d\u0301",
    "left\u200eright",
    "3\ufe0f",
    "\u2060",
    "x\u00a8",
    "1.5",
)
notes = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)


def example(text, **gold):
    return Example("e", "d", text, Answer(**gold))


def written(grammar, chance, most=200):
    """A random walk to an answer that may end."""
    state, answer = grammar.start, bytearray()
    while len(answer) < most:
        moves = grammar.moves(state)
        if state.may_end and (not moves or chance.random() < 0.2):
            return bytes(answer)
        byte = chance.choice(sorted(moves))
        answer.append(byte)
        state = moves[byte]
    return None


def bounded_spans(text):
    bounds = Note(text).bounds
    return [
        (start, end)
        for start in Note(text).starts
        for end in range(start + 1, len(text) + 1)
        if bounds[end] and Note(text).may_end(end)
    ]


@settings(max_examples=tries(50), deadline=None)
@given(notes, st.data())
def test_gold_entities_of_whole_words_may_be_written(text, data):
    spans = data.draw(st.lists(st.sampled_from(bounded_spans(text)), max_size=4, unique=True)) if bounded_spans(text) else []
    entities = tuple(Entity(*span, data.draw(st.sampled_from(NER.labels))) for span in spans)
    gold = example(text, entities=entities)
    assert grammar_of(NER, Note(gold.text), True).accepts(f" {render_target(NER, gold)}".encode())


@settings(max_examples=tries(50), deadline=None)
@given(notes, st.integers(0, 10**6))
@pytest.mark.parametrize("card", [NER, RE, EXTRACT, CODES], ids=lambda card: card.form or card.type)
def test_whatever_may_be_written_is_parseable_and_in_the_text(card, text, seed):
    one = example(text)
    if not Note(text).starts:
        return
    answer = written(grammar_of(card, Note(one.text), True), random.Random(seed))
    if answer is not None:
        parsed = parse(card, one, answer.decode())
        assert (parsed.unparseable, parsed.ungrounded) == (False, 0)


def test_relations_labels_and_extracts_of_the_gold_may_be_written():
    text = "aspirin; causes breast\ncancer and -> fever"
    one = Example(
        "e", "d", text, Answer(relations=(Relation("causes", "a", "b"),)), arguments={"a": ("aspirin",), "b": ("fever",)}
    )
    assert grammar_of(RE, Note(one.text), True).accepts(f" {render_target(RE, one)}".encode())
    assert grammar_of(EXTRACT, Note(one.text), True).accepts(b" breast cancer")
    assert grammar_of(EXTRACT, Note(one.text), False).accepts(b"breast\ncancer and -> fever")
    labelled = example(text, labels=(0, 2))
    assert grammar_of(CODES, Note(labelled.text), True).accepts(f" {render_target(CODES, labelled)}".encode())


@pytest.mark.parametrize(
    "answer", [" Drug: ibuprofen", " Pill: aspirin", " Drug: aspir", " Drug:", " Drug: aspirin; ", " nothing", "none"]
)
def test_what_is_not_in_the_text_or_on_the_card_may_not(answer):
    assert not grammar_of(NER, Note("aspirin was given"), True).accepts(answer.encode())


def test_entities_stand_in_any_order_within_their_label():
    grammar = grammar_of(NER, Note("aspirin given"), True)
    assert grammar.accepts(b" Drug: aspirin; given")
    assert grammar.accepts(b" Drug: given; aspirin\nSide effect: aspirin given")
    assert not grammar.accepts(b" Side effect: given\nDrug: aspirin")


def test_mentions_may_be_written_in_another_case_as_they_are_read_back():
    grammar = grammar_of(NER, Note("ASPIRIN Given"), True)
    assert grammar.accepts(b" Drug: aspirin; given; Aspirin")
    assert not grammar.accepts(b" Drug: aspirine")


@pytest.mark.parametrize(
    ("written", "goes_on"),
    [
        (" Drug: ibuprofen;", " aspirin"),  # an item that the text lacks, and then one of it
        (" Drug: ibuprofen; ", "aspirin\nSide effect: given"),
        (" Drug: ibuprofen; asp", "irin"),
        (" Drug: a\\;b;", " given"),  # no separator within an item
        (" Pill: aspirin\n", "Drug: aspirin"),  # a label that the card lacks
        (" Side effect: given\nDrug: ", "aspirin; given"),  # labels in another order
    ],
)
def test_an_answer_is_followed_again_behind_words_that_may_not_be_written(written, goes_on):
    grammar = grammar_of(NER, Note("aspirin given"), True)
    assert grammar.after(grammar.start, written.encode()) is None
    state = grammar.taken_up(written.encode())
    end = grammar.after(state, goes_on.encode())
    assert end is not None and end.may_end


@pytest.mark.parametrize("written", [" Drug: ibuprofen", " Drug: ibuprofen; ibu", " Pill: x;", " what"])
def test_words_that_may_not_be_written_are_not_over_before_a_separator(written):
    assert grammar_of(NER, Note("aspirin given"), True).taken_up(written.encode()) is None


def test_labels_are_followed_again_and_an_extract_is_not():
    codes = grammar_of(CODES, Note("x"), True)
    assert codes.after(codes.taken_up(b" E; "), b"C; D").may_end
    assert grammar_of(EXTRACT, Note("fever"), True).taken_up(b" cough; ") is None


def test_free_texts_and_options_have_no_grammar():
    assert grammar_of(TaskCard("t", "summarization", "Sum."), Note("x"), True) is None
    assert grammar_of(TaskCard("t", "nli", "Compare.", labels=("yes", "no")), Note("x"), True) is None


# Tokens that a grammar allows: those of the gold answer always, and what they spell is what the grammar says.

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
