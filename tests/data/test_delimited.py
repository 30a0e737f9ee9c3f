"""Tables are read strictly: whatever quote is lost or added, no row is given with the words of another one."""

import csv
import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mpdd.data.readers.delimited import AFTER_QUOTE, CELLS, ESCAPED, STRAY, SWALLOWED, UNCLOSED, rows
from tests.cases import CASES

PIECES = ["Seen for", " flu", ",", ", ", "\n", "\r\n", '"', "6'2\"", " 5 mg", "; ", "\\", "\u2028", "'", "\t", ""]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text("abc 1", max_size=4), min_size=1, max_size=8).map("".join)
DELIMITERS = st.sampled_from([",", ";", "\t"])


def good(text, delimiter=","):
    return [row.cells for row in rows(text, delimiter)[1:] if not row.problem]


def problems(text, delimiter=","):
    return [(row.number, row.problem) for row in rows(text, delimiter) if row.problem]


def written(table, delimiter, quoting=csv.QUOTE_MINIMAL):
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows(table)
    return out.getvalue()


@st.composite
def tables(draw):
    """Rows of id, text and label; ids are distinct and of one kind, as in a real table."""
    make = draw(st.sampled_from([lambda n: str(100 + n), lambda n: f"note-{n}", lambda n: f"{n:08x}"]))
    texts = draw(st.lists(TEXTS, min_size=1, max_size=8))
    return [("id", "text", "label"), *((make(n), text, draw(st.sampled_from("ab"))) for n, text in enumerate(texts))]


@given(tables(), DELIMITERS, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_what_a_strict_writer_writes_is_read_back_exactly(table, delimiter, quoting):
    found = rows(written(table, delimiter, quoting), delimiter)
    assert [(row.problem, row.cells) for row in found] == [("", row) for row in table]


@given(tables(), st.sampled_from([",", ";"]), st.data())
def test_one_quote_too_few_or_too_many_never_mixes_rows(table, delimiter, data):
    text = written(table, delimiter)
    if data.draw(st.booleans()):
        quotes = [place for place, character in enumerate(text) if character == '"']
        assume(quotes)
        place = data.draw(st.sampled_from(quotes))
        damaged = text[:place] + text[place + 1 :]
    else:
        place = data.draw(st.integers(len("id,text,label\r\n"), len(text)))
        damaged = text[:place] + '"' + text[place:]
    changed = [row for row in good(damaged, delimiter) if row not in table]
    assert len(changed) <= 1 and {row[0] for row in changed} <= {row[0] for row in table}
    if not problems(damaged, delimiter):  # as when a quote is added to one in the middle of a text
        assert [row[0] for row in good(damaged, delimiter)] == [row[0] for row in table[1:]]
        assert sum(a != b for a, b in zip(good(damaged, delimiter), table[1:], strict=True)) <= 1


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('3,"open', UNCLOSED),
        ('3,"said "no" twice"', AFTER_QUOTE),
        ('3,"said \\"no\\""', ESCAPED),
        ('3,"\\"no\\" said"', ESCAPED),
        ('3,height 6"', STRAY),
        ('3,said "no" twice', STRAY),
        ("3,a,b", CELLS),
        ("3", CELLS),
        ('3,"Ankle wound.\n4,Height 6\'2"', SWALLOWED),
        ('3,"Ankle wound.\n\n4,Fine.\n5,Has asthma."', SWALLOWED),
    ],
)
def test_a_row_that_cannot_be_trusted_says_why(row, problem):
    assert problems(f"id,text\n1,Fine today.\n2,Has asthma.\n{row}\n") == [(4, problem)]


def test_a_list_within_a_note_is_not_taken_for_rows():
    text = 'id,text\n1012,"1, aspirin\n2, ibuprofen, 200 mg\n"\n1013,"Was seen, on 1\n1012, the ward"\n1014,Fine.\n'
    assert problems(text) == []


@pytest.mark.parametrize(
    ("name", "ids", "found"),
    [
        ("unclosed.csv", ["1", "3", "4"], [(3, UNCLOSED)]),
        ("spark.csv", [], [(2, ESCAPED)]),
        ("train.csv", [str(n) for n in range(25) if n != 10], [(12, UNCLOSED)]),
    ],
)
def test_real_exports_that_went_wrong(name, ids, found):
    text = (CASES / "csv" / name).read_text(encoding="utf-8")
    assert problems(text) == found
    assert [row[0] for row in good(text)] == ids
    assert all(f"\n{number},{words}" in text for number, words, *_ in good(text))


def test_lines_that_are_lost_with_a_row_are_counted():
    (bad,) = (row for row in rows('id,text\nx1,Fine.\nx2,"Ankle\nwound, deep\nand more\nx3,Fine.\n') if row.problem)
    assert (bad.first_line, bad.last_line, bad.lost) == (3, 5, 2)
    (bad,) = (row for row in rows('text\n"Ankle\nwound\n') if row.problem)
    assert (bad.first_line, bad.last_line, bad.lost) == (2, 3, 1)


def test_programs_that_quote_nothing_may_write_quotes_in_tsv():
    assert good('id\ttext\n1\theight 6"\n', "\t") == [("1", 'height 6"')]
    assert rows('1,height 6"\n', stray_quotes=True)[0].problem == ""
