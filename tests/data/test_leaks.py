"""The leak rule: what counts as shared, and that a source keeps nothing that a test holds."""

import zipfile
from dataclasses import replace

import pytest
from openpyxl import Workbook

from mpdd.data import leaks
from mpdd.data.leaks import Held, example_runs, runs, words
from mpdd.data.task import Answer, Example, Splits

RUN = " ".join(f"w{number}" for number in range(13))


def example(name, text="", **others):
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
        example("a", f"Before. {RUN.upper()} after"),
        example("a", RUN.replace(" ", ", ")),
        example("a", fields=(("Question", f"What {RUN}?"),)),
        example("a", choices=("no", RUN)),
        example("a", gold=Answer(text=RUN)),
    ],
)
def test_every_part_of_an_example_counts(other):
    assert example_runs(other) & set(runs(RUN.split()))


def test_parts_are_not_joined_and_twelve_words_are_not_enough():
    first, rest = RUN.split()[:6], RUN.split()[6:]
    apart = example("a", " ".join(first), fields=(("Question", " ".join(rest)),))
    assert not example_runs(apart) & set(runs(RUN.split()))
    assert not example_runs(example("a", " ".join(RUN.split()[:12]) + " other")) & set(runs(RUN.split()))


def test_a_source_loses_what_shares_a_document_or_a_run_with_a_test():
    held = Held.by([example("t1", f"so {RUN}"), example("t2", document="pmid:1")])
    source = Splits(
        (example("a"), example("b", document="pmid:1"), example("c", f"{RUN} too")),
        (example("d", gold=Answer(text=RUN)), example("e", document="doc:t1"), example("f")),
        (example("g", RUN),),
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
