"""The windows rule: whole sentences, words cut only where one alone is too long, offsets recoverable, edges counted."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpdd.data import windows as windows_module
from mpdd.data.readers.base import Notes
from mpdd.data.task import Entity
from mpdd.data.windows import NER_CHARS, cut, sentences, windows

TEXTS = st.text(st.sampled_from("aB .!?\n\t(\"'9é\u00a0\u0301。癌"), max_size=120)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Given 0.5 mg, e.g. Aspirin vs. Placebo.", ["Given 0.5 mg, e.g. Aspirin vs. Placebo."]),
        ("See Fig. 2 and Smith et al. 2019. Then stop.", ["See Fig. 2 and Smith et al. 2019.", "Then stop."]),
        ("Cultures of S. Aureus grew.", ["Cultures of S. Aureus grew."]),
        ('He said "stop." (Then he left.) Good.', ['He said "stop."', "(Then he left.)", "Good."]),
        ("No capital. follows", ["No capital. follows"]),
        ("Line one\nline two\n\n", ["Line one", "line two"]),
        ("患者入院。「痛い。」治療した！なぜ？", ["患者入院。", "「痛い。」", "治療した！", "なぜ？"]),
        ("रोगी आया। दर्द है।", ["रोगी आया।", "दर्द है।"]),
        ("ہسپتال۔ بخار؟ ہاں", ["ہسپتال۔", "بخار؟", "ہاں"]),
        ("  ", []),
    ],
)
def test_sentences(text, expected):
    assert [text[start:end] for start, end in sentences(text)] == expected


def test_sentences_are_packed_as_long_as_they_fit():
    text = "Aaa bbb. Ccc ddd. Eee fff."
    assert [text[start:end] for start, end in windows(text, 17)] == ["Aaa bbb. Ccc ddd.", "Eee fff."]


def test_a_long_sentence_is_cut_between_words_and_a_long_word_is_kept_whole():
    text = "aaaa bbbb cccccccccccc dd"
    assert [text[start:end] for start, end in windows(text, 9)] == ["aaaa bbbb", "cccccccccccc", "dd"]


def test_a_word_longer_than_any_word_is_cut(monkeypatch):
    monkeypatch.setattr(windows_module, "LONGEST_WORD", 11)
    text = "aaaa bbbb cccccccccccc dd"
    assert [text[start:end] for start, end in windows(text, 9)] == ["aaaa bbbb", "ccccccccc", "ccc dd"]


def test_a_cut_word_keeps_accents_with_their_letters(monkeypatch):
    monkeypatch.setattr(windows_module, "LONGEST_WORD", 0)
    text = "abce\u0301fg"
    assert [text[start:end] for start, end in windows(text, 4)] == ["abc", "e\u0301fg"]


def test_nothing_of_a_text_without_spaces_goes_unread():
    text = "患者因乳腺癌入院。" * 900
    spans = windows(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert max(end - start for start, end in spans) <= NER_CHARS
    assert all(text[end - 1] == "。" for _, end in spans)


@given(TEXTS, st.integers(1, 40), st.sampled_from([0, 10, 1000]))
def test_windows_cover_every_character_once_and_cut_no_word_that_fits(text, max_chars, longest_word):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_module, "LONGEST_WORD", longest_word)
        spans = windows(text, max_chars)
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
    assert spans == sorted(spans)
    for start, end in spans:
        assert text[start:end] == text[start:end].strip()
        assert end - start <= max_chars or len(text[start:end].encode()) <= longest_word and not re.search(r"\s", text[start:end])
        if not text[end : end + 1].strip():
            continue  # the window ends where a word ends
        assert re.search(r"[。.!?][\"')]*\Z", text[:end]) or word_around(text, end) > max_chars


def word_around(text, place):
    """The length of the word that a place stands in."""
    return next(len(word[0]) for word in re.finditer(r"\S+", text) if word.start() < place < word.end())


def test_entities_move_with_their_window_and_crossing_ones_are_lost_where_they_start():
    text = "Fever rose. Then acute pain came."
    entities = [Entity(24, 28, "D"), Entity(0, 5, "D"), Entity(6, 16, "D"), Entity(0, 5, "D")]
    notes = Notes()
    first, second = cut("doc", text, entities, notes, max_chars=22)
    assert (first.gold.entities, first.lost) == ((Entity(0, 5, "D"),), 1)
    assert (second.gold.entities, second.lost, second.offset) == ((Entity(12, 16, "D"),), 0, 12)
    assert [text[e.offset : e.offset + len(e.text)] for e in (first, second)] == [first.text, second.text]
    assert (first.document, first.id, second.id) == ("doc", "doc@0", "doc@12")
    assert notes.counts == {"entities across a window's edge": 1}


@given(TEXTS, st.data())
def test_no_entity_disappears(text, data):
    words = [match.span() for match in re.finditer(r"\S+", text)]
    picked = data.draw(st.sets(st.sampled_from(words))) if words else set()
    stretched = [Entity(s, data.draw(st.sampled_from([e for _, e in words if e >= e0])), "D") for s, e0 in picked]
    examples = cut("doc", text, stretched, Notes(), max_chars=20)
    assert sum(len(e.gold.entities) + e.lost for e in examples) == len(stretched)
    kept = {Entity(x.start + e.offset, x.end + e.offset, x.label) for e in examples for x in e.gold.entities}
    assert kept <= set(stretched)


_BACKTRACKING = re.compile(r"""\n|。+["'”’)\]」』》）]*|[.!?]+["'”’)\]]*(?=\s+["'“‘(\[]*[^\W_a-zß-ÿ])""")


@given(TEXTS)
def test_sentence_ends_are_those_of_the_plain_rule_that_backtracks(text):
    assert [m.span() for m in windows_module._END.finditer(text)] == [m.span() for m in _BACKTRACKING.finditer(text)]


PARTS = [".", "!", '"', ")", "(", " ", "\u00a0", "a", "A", "\n", ". ", ".'", "?\u201d"]


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=4))
def test_windows_take_linear_time_in_any_repetition(parts):
    """Eight times the text takes about eight times the processor's time; the quadratic rule took sixty-four times as much."""
    unit = "".join(parts)

    def seconds(length):
        text, best = (unit * length)[:length] + " a", 9.0
        for _ in range(3):
            began = time.process_time()
            windows(text)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(8_000) < 24 * seconds(1_000) + 0.05
