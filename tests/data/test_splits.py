"""The splitting rule, by document and from ids alone, and the leak rule between sources and tests."""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from mpdd.data import leaks, splits
from mpdd.data.leaks import Held, example_runs, runs, words
from mpdd.data.mixture import few_shot, mixed, single
from mpdd.data.readers.base import Notes
from mpdd.data.task import Answer, Example, Splits


def example(name, document=None, text=None, fields=()):
    return Example(name, document or name, text or f"text of {name}", Answer(choice=0), fields)


def test_the_order_is_by_sha256_of_seed_and_id():
    ids = [f"doc:{number}" for number in range(20)]
    expected = sorted(ids, key=lambda name: hashlib.sha256(f"open-31{name}".encode()).hexdigest())
    assert splits.order([*reversed(ids), *ids]) == expected
    assert splits.order(ids, seed="other") != expected


@given(st.lists(st.integers(0, 30), max_size=60), st.sampled_from([(70, 10, 20), (90, 10)]))
def test_a_cut_keeps_every_example_once_and_documents_together(numbers, shares):
    examples = [example(f"e{place}", f"d{number}") for place, number in enumerate(numbers)]
    parts = splits.cut(examples, shares)
    assert sorted(e.id for part in parts for e in part) == sorted(e.id for e in examples)
    documents = [{e.document for e in part} for part in parts]
    assert sum(map(len, documents)) == len(set(numbers))


def test_a_cut_depends_on_ids_only_and_has_the_wanted_shares():
    examples = [example(f"d{number}") for number in range(100)]
    parts = splits.cut(examples, (70, 10, 20))
    assert [len(part) for part in parts] == [70, 10, 20]
    again = splits.cut(examples[::-1], (70, 10, 20))
    assert [{e.id for e in part} for part in parts] == [{e.id for e in part} for part in again]


def test_what_a_later_split_holds_is_dropped_and_counted():
    test = [example("t1", "d1"), example("t2", text="same", fields=(("Q", "q"),))]
    dev = [example("v1", "d1"), example("v2")]
    train = [
        example("a", "d1"),
        example("b", text="same", fields=(("Q", "q"),)),
        example("c", text="same", fields=(("Q", "other"),)),
        example("d", "v2"),
    ]
    made = splits.make(train, dev, test, Notes())
    assert [[e.id for e in made[name]] for name in ("train", "dev", "test")] == [["c"], ["v2"], ["t1", "t2"]]
    assert made.notes == {
        "dev: examples of a document that a later split holds": 1,
        "train: examples of a document that a later split holds": 2,
        "train: examples whose input a later split holds": 1,
    }


def test_texts_that_share_a_long_sentence_are_one_document():
    one, two, three = (f"This is the long sentence number {n} of an abstract." for n in ("one", "two", "three"))
    ids = splits.link_documents([f"{one} {two}", f"{two} {three}", three, "Short. Other.", "Short. Another.", three])
    assert ids[0] == ids[1] == ids[2] == ids[5]
    assert len({ids[0], ids[3], ids[4]}) == 3


def test_linked_ids_do_not_depend_on_the_order():
    texts = [f"This is the long sentence number {n % 3} of an abstract. And {n}." for n in range(7)]
    assert splits.link_documents(texts) == splits.link_documents(texts[::-1])[::-1]


def test_a_fingerprint_ignores_case_spacing_and_punctuation_only():
    texts = ("What is IT?", "what  is it", "(What) is\nit!!")
    assert len({splits.fingerprint(text) for text in texts}) == 1
    assert len({splits.fingerprint(text) for text in ("is it what", "what isit", "what is it 2", "was ist es")}) == 4
    assert splits.fingerprint("2.5 mg") != splits.fingerprint("25 mg")


# Batches are a function of seed and step; every example of an epoch comes once.


def test_single_goes_through_every_example_once_an_epoch():
    seen = [item for step in range(5) for item in single(range(20), size=4, step=step, seed=0)]
    assert sorted(seen) == list(range(20))
    assert single(range(20), size=4, step=7, seed=0) == single(range(20), size=4, step=7, seed=0)
    assert single(range(20), size=4, step=7, seed=0) != single(range(20), size=4, step=7, seed=1)


def test_single_wraps_when_the_batch_is_larger_than_the_data():
    assert Counter(single("ab", size=6, step=0, seed=0)) == {"a": 3, "b": 3}


def test_mixed_draws_a_random_number_of_tasks_and_is_uniform_over_them():
    pools = {name: [name] for name in "abcd"}
    batches = [mixed(pools, size=64, step=step, seed=0) for step in range(300)]
    assert {len(set(batch)) for batch in batches} == {2, 3, 4}
    counts = Counter(item for batch in batches for item in batch)
    assert all(0.2 < count / (64 * 300) < 0.3 for count in counts.values())
    everyone = [len(set(mixed(pools, size=64, step=step, seed=0, stochastic=False))) for step in range(50)]
    assert set(everyone) == {4}


def test_few_shot_is_nested_over_shots_and_differs_over_seeds():
    items = list(range(100))
    assert set(few_shot(items, 4, 0)) < set(few_shot(items, 16, 0))
    assert few_shot(items, 16, 0) != few_shot(items, 16, 1)
    assert few_shot(items, 1000, 0) == tuple(items)


# The leak rule: what counts as shared, and that a source keeps nothing that a test holds.

RUN = " ".join(f"w{number}" for number in range(13))


def example_with(name, text="", **others):
    return Example(name, others.pop("document", f"doc:{name}"), text or f"text of {name}", others.pop("gold", Answer()), **others)


def test_words_are_lower_case_letters_and_digits_without_json_escapes():
    assert words(r"The 2-Drug\ncombo\u00e9s: IL-2, “cat”!") == ["the", "2", "drug", "combo", "s", "il", "2", "cat"]


def test_runs_are_all_thirteen_words_in_a_row():
    tokens = RUN.split()
    assert list(runs(tokens[:12])) == []
    assert len(list(runs(tokens))) == 1
    assert len(list(runs([*tokens, "x", "y"]))) == 3
    assert list(runs([*tokens, "x"]))[0] == next(runs(tokens))


@pytest.mark.parametrize(
    "other",
    [
        example_with("a", f"Before. {RUN.upper()} after"),
        example_with("a", RUN.replace(" ", ", ")),
        example_with("a", fields=(("Question", f"What {RUN}?"),)),
        example_with("a", choices=("no", RUN)),
        example_with("a", gold=Answer(text=RUN)),
    ],
)
def test_every_part_of_an_example_counts(other):
    assert example_runs(other) & set(runs(RUN.split()))


def test_parts_are_not_joined_and_twelve_words_are_not_enough():
    first, rest = RUN.split()[:6], RUN.split()[6:]
    apart = example_with("a", " ".join(first), fields=(("Question", " ".join(rest)),))
    assert not example_runs(apart) & set(runs(RUN.split()))
    assert not example_runs(example_with("a", " ".join(RUN.split()[:12]) + " other")) & set(runs(RUN.split()))


def test_a_source_loses_what_shares_a_document_or_a_run_with_a_test():
    held = Held.by([example_with("t1", f"so {RUN}"), example_with("t2", document="pmid:1")])
    source = Splits(
        (example_with("a"), example_with("b", document="pmid:1"), example_with("c", f"{RUN} too")),
        (example_with("d", gold=Answer(text=RUN)), example_with("e", document="doc:t1"), example_with("f")),
        (example_with("g", RUN),),
        {"former": 2},
    )
    apart = leaks.without(source, held)
    assert [[e.id for e in apart[part]] for part in ("train", "dev", "test")] == [["a"], ["f"], ["g"]]
    assert apart.notes == {
        "dev: examples of a document that a target tests on": 1,
        "dev: examples that share 13 words in a row with a target's test": 1,
        "former": 2,
        "train: examples of a document that a target tests on": 1,
        "train: examples that share 13 words in a row with a target's test": 1,
    }
    assert source.notes == {"former": 2}
    assert leaks.without(source, leaks.NOTHING) == source
    assert leaks.without(source, Held.by([replace(e, document="x") for e in source.test])).test == source.test


def test_the_runs_of_a_folder_are_those_of_its_texts_and_sheets(tmp_path):
    folder = tmp_path / "set" / "inner"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text('["' + RUN.replace(" ", "\\n") + '"]', encoding="utf-8")
    (tmp_path / "set" / "README.md").write_text("r " * 13, encoding="utf-8")
    (tmp_path / "other.txt").write_text("o " * 13, encoding="utf-8")
    (folder / "latin.txt").write_bytes(b"\xe9 " + b"l " * 13)
    book = Workbook()
    book.active.append([1, None, "x " * 13])
    book.save(folder / "b.xlsx")
    found = leaks.folder_runs(tmp_path, ["set", "not there"])
    assert set(runs(RUN.split())) | set(runs(["l"] * 13)) | set(runs(["x"] * 13)) == found
    assert zipfile.is_zipfile(folder / "b.xlsx")
