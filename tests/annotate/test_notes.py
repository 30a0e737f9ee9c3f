"""Notes: answered with exact offsets whatever the text looks like, and never quoted in an error."""

from __future__ import annotations

import json
import unicodedata
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.annotate import notes as notes_module
from mpdd.annotate.note_files import read_notes
from mpdd.annotate.notes import Note, answer_notes, fewest_requests, requests_for, shard
from mpdd.data.placeholders import Placeholders
from mpdd.data.task import Answer, Entity, Example, TaskCard
from mpdd.data.types import parse, target_of
from mpdd.data.types.spans import escape
from mpdd.data.windows import windows
from mpdd.errors import InputError
from mpdd.inference.engines import local
from mpdd.inference.engines.local import Local
from mpdd.inference.predict import Prediction, Request, ask
from mpdd.prompts.store import Header, load_prompt, save_prompt
from tests.cases import CASES
from tests.conftest import tries

NER = TaskCard("drugs", "ner", "List drugs.", labels=("Drug", "Dose: mg"), max_answer_tokens=8)
RE = TaskCard("causes", "re", "List pairs.", labels=("induces", "treats; or cures"), max_answer_tokens=8)
QA = TaskCard("choose", "qa", "Choose.", text_field="Case", fields=("Question",))
FIXED = TaskCard("maybe", "qa", "Answer yes, no or maybe.", labels=("yes", "no", "maybe"))
NLI = TaskCard("says", "nli", "Does it say so?", labels=("yes", "no"), fields=("Hypothesis",))
SUMMARY = TaskCard("short", "summarization", "Say it in one line.", max_answer_tokens=6)
LENGTHS = {NER: 5, RE: 3, QA: 8, FIXED: 4, NLI: 2, SUMMARY: 1}
ODD = {
    "accents": "Der Patient nimmt Ibuprofen täglich. Größe: 1,80 m.",
    "emoji": "👩🏽‍⚕️ says: aspirin 💊 was given. 🤒🤒 Then ibuprofen.",
    "combining marks": "Cafe\u0301 au lait; nai\u0308ve cells. A\u030angstro\u0308m of aspirin.",
    "line ends of Windows": "aspirin 100 mg\r\n\r\nibuprofen 200 mg\r\nnone\r\n",
    "tabs": "drug\tdose\naspirin\t100\n\tibuprofen\t200",
    "blank lines": "\n\n\naspirin\n\n   \n\t\n\nibuprofen\n\n",
    "separators of Unicode": "aspirin\u2028ibuprofen\u2029end\x85next\x0bline\x0cpage",
    "zero": "nul \x00 and a mark \ufeff and \u200b none",
    "right to left": "המטופל קיבל aspirin אתמול. أسبرين",
    "long": "Fever, cough and aspirin were noted today. " * 200,
    "one endless word": "aspirin" * 400,
    "notation": "Drug: aspirin; ibuprofen @2 \\n -> none",
}


@pytest.fixture(scope="module")
def prompts(tiny, tmp_path_factory):
    """A prompt file for each card, each of its own length."""
    folder, made = tmp_path_factory.mktemp("prompts"), {}
    for seed, (card, length) in enumerate(LENGTHS.items()):
        rows = torch.randn(length, tiny.width, generator=torch.Generator().manual_seed(seed))
        bound = {"backbone": tiny.name, "fingerprint": tiny.fingerprint, "length": length, "width": tiny.width}
        path = folder / f"{card.name}.safetensors"
        save_prompt(path, {"rows": rows}, Header(kind="soft", card=card, tasks=(card.name,), **bound))
        made[card.name] = load_prompt(path, tiny)
    return made


@contextmanager
def saying(output):
    """Let the model answer each request with `output(request)`, read back as any answer is."""

    def predict(_, requests, tick, cache):
        written = [output(request) for request in requests]
        tick(len(requests))
        return [Prediction(text, parse(r.card, r.example, text), 0) for r, text in zip(requests, written, strict=True)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "predict", predict)
        yield


SCRIPTS = ["乳腺癌", "阿司匹林", "患者入院", "fever", " ", "。", ". ", "💊"]
ENDLESS = 10**9  # tokens of context
NO_MODEL = SimpleNamespace(vocabulary=SimpleNamespace(tokenizer=None, context=ENDLESS))


def of_card(card):
    """What stands for the prompt file of a card, where no model reads it."""
    return SimpleNamespace(
        header=SimpleNamespace(card=card, calibration={}, priors={}, template=None, digest=""), rows=lambda: None
    )


def answered(prompt, note, output):
    with saying(output):
        (found,) = answer_notes(Local(NO_MODEL), [prompt], [note])
    return found


# Parts


SECRET = "ZZPATIENTNAMEZZ"


@given(st.integers(0, 40), st.integers(1, 12))
def test_parts_one_behind_the_other_are_the_notes(count, n):
    notes = [Note(str(i), "x", {}) for i in range(count)]
    parts = [shard(notes, f"{i}/{n}") for i in range(1, n + 1)]
    assert [note for part in parts for note in part] == notes
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("part", ["0/3", "4/3", "1/0", "1", "a/b", "-1/2", "1/2/3", "", "٣/٤"])
def test_no_other_part_is_taken(part):
    with pytest.raises(InputError, match="No such part of the notes.*wanted i/n"):
        shard([], part)


# Answering with the model


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_the_model_answers_odd_notes_and_every_span_is_in_its_note(tiny, prompts, text):
    note = Note("odd", text, {"Question": "Which?", "Hypothesis": "fever"}, ("one", "two 💊"))
    found = {result["task"]: result for result in answer_notes(Local(tiny), list(prompts.values()), [note])}
    spans = [*found["drugs"]["entities"], *(r[end] for r in found["causes"]["relations"] for end in ("head", "tail"))]
    assert all(span["text"] == text[span["start"] : span["end"]] for span in spans)
    assert found["choose"]["answer"] in ("one", "two 💊")
    assert found["says"]["answer"] in NLI.labels
    assert found["maybe"]["answer"] in FIXED.labels
    assert isinstance(found["short"]["summary"], str)


def test_many_prompts_at_once_answer_as_each_alone_in_the_order_of_notes_then_prompts(tiny, prompts):
    fields = {"Question": "Which of them?", "Hypothesis": "fever"}
    texts = [" ".join(["aspirin", "fever", "none ->"][: k % 3 + 1] * k) for k in range(1, 5)]
    given_notes = [Note(str(k), text, fields, ("a", "b", "a b")) for k, text in enumerate(texts)]
    files = [prompts[name] for name in ("short", "says", "drugs", "choose", "causes", "maybe")]
    together = list(answer_notes(Local(tiny), files, given_notes))
    assert [(r["id"], r["task"]) for r in together] == [(n.id, p.header.card.name) for n in given_notes for p in files]
    assert together == [result for n in given_notes for p in files for result in answer_notes(Local(tiny), [p], [n])]
    assert len({r["summary"] for r in together if "summary" in r}) > 1


def test_what_does_not_fit_the_context_is_cut_and_counted(tiny, prompts):
    text = "fever and cough " * 100
    (long,) = answer_notes(Local(tiny), [prompts["short"]], [Note("n", text, {})])
    (short,) = answer_notes(Local(tiny), [prompts["short"]], [Note("n", text[:60], {})])
    (kept,) = answer_notes(Local(tiny), [prompts["short"]], [Note("n", text[: -long["cut_characters"]], {})])
    assert 0 < long["cut_characters"] < len(text)
    assert short["cut_characters"] == kept["cut_characters"] == 0
    assert kept["summary"] == long["summary"]


def test_cuts_in_several_windows_add_up(tiny, prompts):
    """A word of 900 letters does not fit the tiny model's context, and no window is smaller than a word."""
    word = "Zyxwvqponmlkjih" * 60
    (found,) = answer_notes(Local(tiny), [prompts["drugs"]], [Note("n", f"{word} {word} {word}", {})])
    (first,) = answer_notes(Local(tiny), [prompts["drugs"]], [Note("n", word, {})])
    assert found["cut_characters"] > 2 * first["cut_characters"] > 0


def test_ticks_count_every_request(tiny, prompts):
    seen = []
    text = "Zyxwv qponm lkjih. " * 60
    read = len(requests_for(Note("n", text, {}), NER, prompts["drugs"].rows(), tiny.vocabulary))
    list(answer_notes(Local(tiny), [prompts["drugs"], prompts["short"]], [Note("n", text, {})], tick=seen.append))
    assert sum(seen) == read + 1 > len(windows(text))


# Answering with known outputs


def test_missing_fields_are_named_with_note_and_task_and_nothing_is_quoted(prompts):
    note = Note("n7", SECRET, {"Note": SECRET, "Hypothesis": ""})
    with pytest.raises(InputError, match="Note n7 lacks what the task says asks about.*wanted columns Hypothesis") as caught:
        list(answer_notes(Local(NO_MODEL), [prompts["says"]], [note]))
    assert SECRET not in str(caught.value)
    with pytest.raises(InputError, match="task choose.*wanted columns Question, choices"):
        list(answer_notes(Local(NO_MODEL), [prompts["choose"]], [note]))


def test_options_belong_to_tasks_without_answers_of_their_own(prompts):
    """A column `choices` is for questions that bring their options; the other tasks must neither show nor answer with it."""
    note = Note("n", "fever", {"Question": "Which?", "Hypothesis": "h"}, ("left", "right", "middle"))
    seen = {}

    def second(request):
        seen[request.card.name] = request.example.choices
        return (request.example.choices or request.card.labels)[1]

    assert [answered(prompts[name], note, second)["answer"] for name in ("choose", "maybe", "says")] == ["right", "no", "no"]
    assert seen == {"choose": note.choices, "maybe": (), "says": ()}


@pytest.mark.parametrize("name", ["drugs", "causes"])
@pytest.mark.parametrize("output", ["Disease: aspirin", "aspirin", "", "Disease: aspirin -> fever"])
def test_a_label_that_the_card_lacks_gives_nothing_and_is_said(prompts, name, output):
    found = answered(prompts[name], Note("n", "aspirin for fever", {}), lambda _: output)
    assert not found.get("entities") and not found.get("relations")
    assert found["unparseable"] is True


def test_what_the_text_lacks_is_counted_and_left_out(prompts):
    note = Note("n", "aspirin for fever", {})
    found = answered(prompts["drugs"], note, lambda _: "Drug: aspirin; warfarin; heparin")
    assert [e["text"] for e in found["entities"]] == ["aspirin"]
    assert (found["ungrounded"], found["unparseable"]) == (2, False)
    found = answered(prompts["causes"], note, lambda _: "induces: aspirin -> fever; warfarin -> fever")
    assert [(r["head"]["text"], r["tail"]["text"]) for r in found["relations"]] == [("aspirin", "fever")]
    assert found["ungrounded"] == 1


def test_a_blank_note_among_others_has_no_entities(prompts):
    with saying(lambda _: "Drug: aspirin"):
        found = list(
            answer_notes(Local(NO_MODEL), [prompts["drugs"]], [Note("blank", " \r\n\t", {}), Note("full", " aspirin", {})])
        )
    assert [[e["text"] for e in r["entities"]] for r in found] == [[], ["aspirin"]]
    assert found[1]["entities"][0] == {"label": "Drug", "start": 1, "end": 8, "text": "aspirin", "confidence": None}


def test_a_mention_is_grounded_however_the_note_spaces_it(prompts):
    """Exports of notes: wrapped lines, no-break and zero-width spaces, soft hyphens, ligatures, page breaks, Chinese."""
    notes = read_notes(CASES / "whitespace" / "n.jsonl")
    words = {"cjk": ["\u4e73\u817a\u764c"], "lig": ["cystic fibrosis", "breast cancer"]}
    for note in notes:
        wanted = words.get(note.id, ["breast cancer"])
        found = answered(prompts["drugs"], note, lambda _, wanted=wanted: f"Drug: {'; '.join(wanted)}")
        assert found["ungrounded"] == 0
        assert len(found["entities"]) == len(windows(note.text)) * len(wanted)
        for entity in found["entities"]:
            assert entity["text"] == note.text[entity["start"] : entity["end"]]
            assert loose(entity["text"]) in map(loose, wanted)


def loose(words):
    """The letters alone, as they are read."""
    return "".join(character for character in unicodedata.normalize("NFKC", words) if character.isalnum())


def test_all_of_a_text_without_spaces_is_read(prompts):
    note = next(note for note in read_notes(CASES / "whitespace" / "n.jsonl") if note.id == "cjk")
    seen = []
    answered(prompts["drugs"], note, lambda request: seen.append(request.example.text) or "none")
    assert "".join(seen) == note.text


@settings(deadline=None, max_examples=tries(30))
@given(st.lists(st.sampled_from(SCRIPTS), min_size=1, max_size=250).map("".join))
def test_no_window_is_cut_by_the_context_whatever_the_script(tiny, prompts, text):
    """A letter of another script may take three tokens: its windows are smaller, and hold all of the note but white space."""
    asked = requests_for(Note("n", text, {}), NER, prompts["drugs"].rows(), tiny.vocabulary)
    assert all(ask(tiny.vocabulary, request).cut == 0 for request in asked)
    assert "".join("".join(request.example.text.split()) for request in asked) == "".join(text.split())
    for request in asked:
        assert text[request.example.offset :].startswith(request.example.text)
    assert 0 <= fewest_requests(Note("n", text, {}), NER) <= len(asked)


def test_windows_of_a_note_are_worked_out_once_for_all_tasks(tiny, prompts, monkeypatch):
    sizes = []
    monkeypatch.setattr(notes_module, "windows", lambda text, size: sizes.append(size) or windows(text, size))
    note = Note("n", "Fever rose. " * 100, {})
    cards = [NER, replace(NER, name="other"), replace(NER, name="wide", window=800)]
    counts = [fewest_requests(note, card) for card in cards]
    asked = [requests_for(note, card, None, replace(tiny.vocabulary, context=2000)) for card in cards]
    assert sizes == [400, 800] and counts == [len(requests) for requests in asked] == [4, 4, 2]


def test_a_window_is_smaller_only_where_the_context_asks_for_it(tiny, prompts):
    text = "乳腺癌。" * 100
    asked = requests_for(Note("n", text, {}), NER, prompts["drugs"].rows(), tiny.vocabulary)
    assert len(asked) > len(windows(text))
    whole = Request(NER, Example("n", "n", text, Answer()), prompts["drugs"].rows())
    assert ask(tiny.vocabulary, whole).cut > 0
    english = "Fever. " * 57
    assert len(requests_for(Note("n", english, {}), NER, None, replace(tiny.vocabulary, context=600))) == 1


def test_a_note_without_text_is_answered_empty_and_never_asked(prompts):
    cards = {
        "extract": TaskCard("e", "qa", "A.", fields=("Question",), form="extractive"),
        "free": TaskCard("f", "qa", "A.", fields=("Question",), form="free"),
        "several": TaskCard("s", "classification", "A.", labels=("a", "b"), form="multiple"),
    }
    every = [*prompts.values(), *map(of_card, cards.values())]
    with saying(lambda request: pytest.fail("asked")):
        found = list(answer_notes(Local(NO_MODEL), every, [Note("n", " \n", {})]))
    empty = {"drugs": [], "causes": [], "choose": None, "maybe": None, "says": None, "short": "", "e": None, "f": "", "s": []}
    assert {
        r["task"]: next(r[k] for k in ("entities", "relations", "labels", "summary", "answer") if k in r) for r in found
    } == empty
    assert all(r["id"] == "n" and r["confidence"] is None for r in found)
    assert not any(r["unparseable"] or r["ungrounded"] or r["cut_characters"] for r in found)


def test_an_answer_that_names_no_option_is_none_and_said(prompts):
    found = answered(prompts["maybe"], Note("n", "fever", {}), lambda _: "perhaps")
    assert (found["answer"], found["unparseable"]) == (None, True)


pieces = st.sampled_from(
    ["aspirin", "Aspirin", "ASPIRIN", " ", "  ", "\n", "\r\n", "\t", ". ", "; ", ": ", " -> ", " @2", "\\", "none", "Drug: x",
     "💊", "👩🏽‍⚕️", "e\u0301", "ß", "ſ", "İ", "ﬁ", "\u2028", "\x85", "\x00", "\ufeff", "fever and cough. ", "x" * 150]
)  # fmt: skip
texts = st.lists(pieces | st.text(max_size=5), min_size=1, max_size=60).map("".join)
letters = st.characters(codec="utf-8")


@st.composite
def notes_with_spans(draw):
    """A text with anything in it, and spans that each lie within one of its windows."""
    text = draw(texts.filter(str.strip))
    places = []
    for start, end in windows(text):
        for _ in range(draw(st.integers(0, 3))):
            first = draw(st.integers(start, end - 1))
            places.append((first, draw(st.integers(first + 1, min(end, first + 30)))))
    return text, sorted(set(places))


def without_parts_of_placeholders(drawn):
    """The text, and the spans that may be written: none begins or ends within a placeholder of de-identification."""
    text, places = drawn
    return text, Placeholders(text).without_cuts(places)


@settings(deadline=None)
@given(notes_with_spans(), st.data())
def test_entities_come_back_at_exactly_their_place_in_the_note(prompts, note_with_spans, data):
    text, places = note_with_spans
    gold = {(start, end, data.draw(st.sampled_from(NER.labels))) for start, end in places}

    def perfect(request):
        start, end = request.example.offset, request.example.offset + len(request.example.text)
        here = (Entity(s - start, e - start, label) for s, e, label in gold if start <= s and e <= end)
        return target_of(NER, request.example, Answer(entities=tuple(here)))

    found = answered(prompts["drugs"], Note("n", text, {}), perfect)["entities"]
    assert {(e["start"], e["end"], e["label"]) for e in found} == gold
    assert len(found) == len(gold)
    assert all(e["text"] == text[e["start"] : e["end"]] for e in found)
    assert [e["start"] for e in found] == sorted(e["start"] for e in found)


@settings(deadline=None)
@given(notes_with_spans().map(without_parts_of_placeholders).filter(lambda drawn: drawn[1]), st.data())
def test_both_ends_of_a_relation_come_back_as_words_of_the_note(prompts, note_with_spans, data):
    text, places = note_with_spans
    (a, b), (c, d) = data.draw(st.sampled_from(places)), data.draw(st.sampled_from(places))
    named = " -> ".join(escape(text[start:end], ";", "->") for start, end in ((a, b), (c, d)))
    (relation,) = answered(prompts["causes"], Note("n", text, {}), lambda _: f"treats\\; or cures: {named}")["relations"]
    assert relation["label"] == "treats; or cures"
    assert (relation["head"]["text"], relation["tail"]["text"]) == (text[a:b], text[c:d])
    for end in (relation["head"], relation["tail"]):
        assert end["text"] == text[end["start"] : end["end"]]


@settings(deadline=None)
@given(
    texts.filter(str.strip), st.lists(pieces | st.text(letters, max_size=8), max_size=12), st.sampled_from(["drugs", "causes"])
)
def test_whatever_the_model_writes_every_span_is_in_the_note(prompts, text, words, name):
    output = "".join(["Drug: " if name == "drugs" else "induces: ", *words, text[:40], " -> ", text[-9:]])
    found = answered(prompts[name], Note("n", text, {}), lambda _: output)
    spans = [*found.get("entities", []), *(r[end] for r in found.get("relations", []) for end in ("head", "tail"))]
    for span in spans:
        assert 0 <= span["start"] < span["end"] <= len(text)
        assert span["text"] == text[span["start"] : span["end"]]
    json.dumps(found)


@pytest.mark.parametrize(
    ("output", "place"),
    [("ASPIRIN  100 mg", (6, 20)), ("ibuprofen", (None, None)), (" ", None)],
)
def test_an_extracted_answer_has_its_place_or_none(output, place):
    prompt = of_card(TaskCard("find", "qa", "Answer from the text.", fields=("Question",), form="extractive"))
    note = Note("n", "Takes aspirin\n100 mg.", {"Question": "What?"}, ("an option", "of another task"))
    found = answered(prompt, note, lambda _: output)
    if place is None:
        assert (found["answer"], found["unparseable"], found["ungrounded"]) == (None, True, 0)
    else:
        text = output if place[0] is None else "aspirin\n100 mg"
        assert found["answer"] == {"start": place[0], "end": place[1], "text": text}
        assert (found["unparseable"], found["ungrounded"]) == (False, place[0] is None)


def test_a_free_answer_is_its_words():
    prompt = of_card(TaskCard("ask", "qa", "Answer.", fields=("Question",), form="free"))
    note = Note("n", "Takes aspirin.", {"Question": "What?"}, ("an option", "of another task"))
    found = answered(prompt, note, lambda _: " Ibuprofen, I think.\n")
    assert (found["answer"], found["unparseable"], found["ungrounded"]) == ("Ibuprofen, I think.", False, 0)
    assert found["free"] is True  # not one of several options
    assert answered(prompt, note, lambda _: " ") | {"answer": ""} == answered(prompt, note, lambda _: "")
    assert answered(prompt, note, lambda _: "")["unparseable"]


def test_a_class_is_one_label_or_none():
    prompt = of_card(TaskCard("risk", "classification", "How high is the risk?", labels=("low", "high")))
    assert answered(prompt, Note("n", "Fell twice.", {}), lambda _: "high")["answer"] == "high"
    found = answered(prompt, Note("n", "Fell twice.", {}), lambda _: "who knows")
    assert (found["answer"], found["unparseable"]) == (None, True)


@pytest.mark.parametrize(
    ("output", "labels", "ungrounded"),
    [("asthma; HYPERTENSION", ["hypertension", "asthma"], 0), ("none", [], 0), ("asthma; gout", ["asthma"], 1)],
)
def test_multiple_labels_are_a_list_in_the_cards_order(output, labels, ungrounded):
    card = TaskCard("codes", "classification", "Which?", labels=("hypertension", "asthma"), form="multiple")
    found = answered(of_card(card), Note("n", "Wheezes.", {}), lambda _: output)
    assert (found["labels"], found["unparseable"], found["ungrounded"]) == (labels, False, ungrounded)
