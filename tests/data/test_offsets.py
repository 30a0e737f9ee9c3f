"""Offsets in whatever way a file counts: the span that is found holds the words quoted, and the way is named."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpdd.data.cards import card_file
from mpdd.data.readers import brat, pubtator, squad
from mpdd.data.readers.base import Notes
from mpdd.data.readers.offsets import NEAR, Counting, Offsets, Quote, locate
from mpdd.data.task import SPLITS
from tests.data import brat_cases
from tests.data.cards.conftest import lines
from tests.data.cards.conftest import write as write  # noqa: PLC0414, F401 (a fixture)
from tests.data.refusals import refusal

UNITS = ("characters", "UTF-16 units", "UTF-8 bytes")
COUNTINGS = [Counting(unit, returns, mark) for unit in UNITS for returns in (False, True) for mark in (False, True)]
WORDS = [
    "fever",
    "Ärzte",
    "e\u0301tat",
    "\U0001f622",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "n\u0303",
    "x",
    "痛み",
    "\U00010348ok",
]
GAPS = [" ", "\r\n", "\n", "  ", "\r\n\r\n", "\t"]


def length(text, counting):
    """How long a piece of a text is in a file that counts so; written without the code under test."""
    text = text.replace("\r\n", "\n") if counting.skips_returns else text
    text = text.replace("\ufeff", "") if counting.skips_mark else text
    return {
        "characters": len(text),
        "UTF-16 units": len(text.encode("utf-16-le")) // 2,
        "UTF-8 bytes": len(text.encode()),
    }[counting.unit]


@st.composite
def documents(draw, numbered=False):
    """A text, and mentions in it as (start, end) in characters of the text; `numbered`: no two words are the same."""
    parts = draw(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), min_size=1, max_size=25))
    text, spans = draw(st.sampled_from(["", "\ufeff"])), []
    for number, (word, gap) in enumerate(parts):
        word = f"{word}{number}" if numbered else word
        spans.append((len(text), len(text) + len(word)))
        text += word + gap
    firsts = draw(st.lists(st.integers(0, len(spans) - 1), min_size=1, max_size=8))
    lasts = [min(first + draw(st.integers(0, 2)), len(spans) - 1) for first in firsts]
    return text, [(spans[first][0], spans[last][1]) for first, last in zip(firsts, lasts, strict=True)]


def quotes(text, spans, counting):
    return [
        Quote(((length(text[:start], counting), length(text[:end], counting)),), " ".join(text[start:end].split()))
        for start, end in spans
    ]


@given(documents(), st.sampled_from(COUNTINGS))
def test_the_spans_found_hold_the_words_quoted_however_the_file_counts(document, counting):
    text, spans = document
    quoted = quotes(text, spans, counting)
    located = locate(text, quoted, Notes())
    assert None not in located
    for quote, ((start, end),) in zip(quoted, located, strict=True):
        assert text[start:end].split() == quote.words.split()


@given(documents(numbered=True), st.sampled_from(COUNTINGS))
def test_words_that_occur_once_are_found_where_they_stand(document, counting):
    text, spans = document
    located = locate(text, quotes(text, spans, counting), Notes())
    assert [text[a:b].strip("\ufeff") for ((a, b),) in located] == [text[a:b] for a, b in spans]
    assert [b for ((_, b),) in located] == [b for _, b in spans]


@given(documents(numbered=True), st.sampled_from(COUNTINGS))
def test_a_brat_folder_gives_the_words_quoted_and_counts_how(document, counting):
    import tempfile
    from pathlib import Path

    text, spans = document
    quoted = quotes(text, spans, counting)
    ann = "".join(f"T{n}\tX {q.spans[0][0]} {q.spans[0][1]}\t{q.words}\n" for n, q in enumerate(quoted))
    notes = Notes(strict=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.txt").write_bytes(text.encode())
        (Path(folder) / "a.ann").write_bytes(ann.encode())
        (read,) = brat.read(Path(folder), notes)
    assert len(read.text) == len(text)
    found = sorted(" ".join(m.form(read.text)[2].split()) for m in read.mentions)
    assert found == sorted(quote.words for quote in quoted)
    assert not any(note.startswith("skipped") for note in notes.counts)
    used = [number for note, number in notes.counts.items() if " with offsets in " in note]
    assert used == [] or used == [len(spans)]


@pytest.mark.parametrize(
    ("text", "counting", "note"),
    [
        ("a\r\nb\r\nfever", Counting("characters", skips_returns=True), "characters, without carriage returns"),
        ("\U0001f622 fever", Counting("UTF-16 units"), "UTF-16 units"),
        ("\U0001f622\U0001f622\r\n fever", Counting("UTF-16 units", True), "UTF-16 units, without carriage returns"),
        ("é fever", Counting("UTF-8 bytes"), "UTF-8 bytes"),
        ("\ufefffever", Counting(skips_mark=True), "characters, without the byte order mark"),
    ],
)
def test_the_way_of_counting_is_named(text, counting, note):
    notes = Notes()
    start = text.index("fever")
    assert locate(text, quotes(text, [(start, start + 5)], counting), notes) == [((start, start + 5),)]
    assert notes.counts == {f"mentions with offsets in {note}": 1}


def test_words_are_taken_where_they_stand_nearest_only_if_that_is_clear():
    text = "pain " + "x" * 50 + " pain " + "y" * 50 + " fever pain"

    def found(start, words, **options):
        notes = Notes()
        (spans,) = locate(text, [Quote(((start, start + len(words)),), words)], notes, **options)
        assert notes.counts == ({} if spans is None else {"mentions taken where their words stand nearest to the offset": 1})
        return spans

    second = text.index("pain", 5)
    assert found(second + NEAR, "pain") == ((second, second + 4),)
    assert found(second - 28, "pain") is None  # halfway between two places
    assert found(3, "fever") == ((text.index("fever"), text.index("fever") + 5),)  # the only place
    assert found(3, "fever", nearest=False) is None
    assert found(3, "fever", reach=NEAR) is None
    assert found(0, "cough") is None
    assert found(10**400, "fever") is not None


def test_offsets_inside_a_character_give_nothing():
    offsets = Offsets("\U0001f622x")
    assert offsets.spans(Quote(((1, 3),)), Counting("UTF-16 units")) is None
    assert offsets.spans(Quote(((2, 3),)), Counting("UTF-16 units")) == ((1, 2),)


def test_spans_without_words_count_characters_unless_others_say_otherwise():
    text = "\U0001f6220 fever fever"
    assert locate(text, [Quote(((2, 3),))], Notes()) == [None]
    assert locate(text, [Quote(((3, 8),))], Notes()) == [((3, 8),)]
    with_words = [Quote(((4, 9),)), Quote(((4, 9),), "fever")]
    assert locate(text, with_words, Notes()) == [((3, 8),)] * 2


# The readers that have offsets


def splits_of(write, files, kind="ner", **values):  # noqa: F811
    path = write(
        kind, {f"corpus/{name}": content for name, content in files.items()}, {"format": "brat", "train": "corpus"}, **values
    )
    return card_file.read(path, strict=True).load(path.parent)


def items(splits):
    examples = [example for split in SPLITS for example in splits[split]]
    return [example.text[e.start : e.end] for example in examples for e in example.gold.entities]


def test_brat_texts_with_crlf_and_offsets_that_count_a_line_end_as_one(write):  # noqa: F811
    splits = splits_of(write, brat_cases.crlf(), labels=["Drug", "Problem", "Sign"])
    assert sorted(items(splits)) == sorted(["metoprolol", "atrial fibrillation", "Pulse"] * 14)
    assert splits.notes == {"mentions with offsets in characters, without carriage returns": 42}


def test_brat_offsets_in_utf16_units(write):  # noqa: F811
    splits = splits_of(write, brat_cases.emoji(), labels=["Drug", "Effect"])
    assert sorted(items(splits)) == sorted(["sertraline", "nausea"] * 14)
    assert splits.notes == {"mentions with offsets in UTF-16 units": 28}


def test_entities_of_a_table_that_quote_their_words(write):  # noqa: F811
    rows = []
    for n in range(12):
        text = f"Case {n} \U0001f622\U0001f622 had a fever."
        start = brat_cases.utf16(text[: text.index("fever")])
        rows.append({"text": text, "entities": [{"start": start, "end": start + 5, "label": "Sign", "text": "fever"}]})
    path = write("ner", {"train.jsonl": lines(rows)}, labels=["Sign"])
    splits = card_file.read(path, strict=True).load(path.parent)
    assert items(splits) == ["fever"] * 12
    assert splits.notes == {"mentions with offsets in UTF-16 units": 12}


def test_answers_in_utf16_units_in_a_table_and_in_squad(write, tmp_path):  # noqa: F811
    text = "\U0001f622" * 40 + " No fever. No rash."
    start = brat_cases.utf16(text[: text.rindex("No")])
    rows = [{"text": f"{text} {n}", "Question": "What?", "answer": "No rash", "answer_start": start} for n in range(12)]
    path = write("extractive", {"train.jsonl": lines(rows)})
    splits = card_file.read(path, strict=True).load(path.parent)
    assert splits.notes == {"answers with offsets in UTF-16 units": 12}
    asked = [
        {"question": q, "answers": [{"text": a, "answer_start": s}]} for q, a, s in [("?", "No rash", start), ("!", "No", start)]
    ]
    content = {"data": [{"paragraphs": [{"context": text, "qas": asked}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(content))
    notes = Notes(strict=True)
    assert [question.start for question in squad.read(tmp_path / "squad.json", notes)] == [text.rindex("No")] * 2
    assert notes.counts == {"answers with offsets in UTF-16 units": 2}


def test_pubtator_offsets_in_utf16_units(tmp_path):
    title = "\U0001f622\U0001f622 Fever."
    start = brat_cases.utf16(title[: title.index("Fever")])
    (tmp_path / "a.txt").write_text(f"1|t|{title}\n1|a|Rash.\n1\t{start}\t{start + 5}\tFever\tSign\n", encoding="utf-8")
    notes = Notes(strict=True)
    (document,) = pubtator.read(tmp_path / "a.txt", notes)
    assert [document.text[m.start : m.end] for m in document.mentions] == ["Fever"]
    assert notes.counts == {"mentions with offsets in UTF-16 units": 1}


# Texts and annotations apart


def folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("files", [brat_cases.apart(), brat_cases.apart("", "", upper=True), brat_cases.apart("a/b/", "c/")])
def test_texts_and_annotations_are_paired_by_name(files, tmp_path):
    notes = Notes(strict=True)
    documents = brat.read(folder(tmp_path, files), notes)
    assert [m.form(d.text)[2] for d in documents for m in d.mentions] == ["ibuprofen"] * 14
    assert notes.counts == {}


def test_half_a_corpus_is_one_sentence_that_says_where_the_other_half_is(tmp_path):
    corpus = folder(tmp_path / "corpus", brat_cases.apart())
    message = refusal(brat.read, corpus / "text", Notes())
    assert message.startswith(f"{corpus / 'text'} has no annotation files: those of the same names lie in {corpus / 'original'}")
    assert message.endswith(f"Name the folder above, {corpus}, or list both folders.")
    message = refusal(brat.read, corpus / "original", Notes())
    assert message.startswith(f"{corpus / 'original'} has no texts: those of the same names lie in {corpus / 'text'}")
    alone = folder(tmp_path / "alone" / "here", {"a.ann": b""})
    assert "has no texts; found 1 files *.ann alone; wanted for each text NAME.txt" in refusal(brat.read, alone, Notes())
    other = folder(tmp_path / "other", {"a.ann": b"", "b.txt": b"x"})
    assert "found 1 annotation files and 1 texts of other names" in refusal(brat.read, other, Notes())


def test_both_halves_may_be_listed_and_one_of_several_annotations_chosen(write):  # noqa: F811
    files = brat_cases.apart() | {f"second/p{n}.ann": b"" for n in range(14)}
    files = {f"corpus/{name}": content for name, content in files.items()}
    path = write("ner", files, {"format": "brat", "train": ["corpus/text", "corpus/original"]}, labels=["Drug"])
    splits = card_file.read(path, strict=True).load(path.parent)
    assert (items(splits), splits.notes) == (["ibuprofen"] * 14, {})
    whole = refusal(brat.read, path.parent / "corpus", Notes())
    assert (
        "has several annotation files for the same text; found 14 such texts, annotated in the folders original, second" in whole
    )


def test_folders_that_are_whole_do_not_lend_each_other_texts(tmp_path):
    first = folder(tmp_path / "first", {"a.txt": b"Fever.", "a.ann": b"", "b.ann": b"T1\tSign 0 5\tFever\n"})
    second = folder(tmp_path / "second", {"b.txt": b"Fever, too."})
    notes = Notes()
    assert [d.stem for d in brat.read(first, notes, others=[second])] == ["a"]
    assert notes.counts == {"skipped: annotations without a text": 1}


# The roles of relations


def test_arg1_is_the_head_in_whatever_order_a_file_names_its_arguments(write):  # noqa: F811
    splits = splits_of(write, brat_cases.relations(), "re", labels=["Causes"])
    examples = [example for split in SPLITS for example in splits[split]]
    pairs = [(e.arguments[r.head], e.arguments[r.tail]) for e in examples for r in e.gold.relations]
    assert pairs == [(("amoxicillin",), ("rash",))] * 14
    assert splits.notes == {}


@pytest.mark.parametrize(
    ("roles", "in_order"),
    [
        ("Arg1 Arg2", True), ("Arg2 Arg1", False), ("arg2 arg1", False), ("Theme2 Theme", False), ("Theme Theme2", True),
        ("To From", False), ("Target Source", False), ("Object Subject", False), ("Tail Head", False), ("Object Drug", False),
        ("Drug Problem", True), ("Problem Drug", True), ("Arg1 Arg1", True), ("Arg10 Arg9", False),
    ],
)  # fmt: skip
def test_the_rule_for_roles(roles, in_order):
    named = [(role, place) for place, role in enumerate(roles.split())]
    assert [place for _, place in brat.in_roles(named)] == ([0, 1] if in_order else [1, 0])
