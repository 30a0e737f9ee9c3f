"""The audit finds a planted leak, shows that the rule removes it, and agrees with what is committed."""

import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from mpdd.data import audit, catalogue, counts, leaks, store
from mpdd.data.leaks import runs, words
from mpdd.data.task import Answer, Example, Splits
from mpdd.errors import InputError

COMMITTED = json.loads((Path(__file__).parents[2] / "results" / "audit.json").read_text(encoding="utf-8"))
SECRET = " ".join(f"secret{number}" for number in range(15))


def example(name, text="", document=""):
    return Example(name, document or f"doc:{name}", text or f"text of {name}", Answer())


@pytest.fixture
def planted():
    """Two targets and three sources; the first source leaks into the first target, by 15 words and by a document."""
    tests = {"one": [example("t1", f"Well, {SECRET}."), example("t2"), example("t3", document="pmid:7")], "two": [example("t4")]}
    leaking = Splits(
        (example("a", f"{SECRET} and so on"), example("b"), example("c", f"again {SECRET}")),
        (example("d", document="pmid:7"),),
        (),
    )
    return [("leaks", leaking), ("clean", Splits((example("e"),), (), ())), ("tests", Splits((), (), tuple(tests["one"])))], tests


def test_a_planted_leak_is_found_and_removed(planted):
    found = audit.audit_sources(*planted)
    assert found == {
        "tests": {"one": 3, "two": 1},
        "sources": {
            "leaks": {"examples": 4, "found": 3, "removed": 3, "remaining": 0},
            "clean": {"examples": 1, "found": 0, "removed": 0, "remaining": 0},
            "tests": {"examples": 0, "found": 0, "removed": 0, "remaining": 0},
        },
        "pairs": [{"source": "leaks", "target": "one", "shared_documents": 1, "shared_runs": 3, "test_examples": 2, "texts": 3}],
    }
    assert "secret" not in json.dumps(found)


def test_what_a_rule_leaves_would_be_seen(planted, monkeypatch):
    monkeypatch.setattr(leaks, "without", lambda splits, held: splits)
    assert audit.audit_sources(*planted)["sources"]["leaks"] == {"examples": 4, "found": 3, "removed": 0, "remaining": 3}


def test_an_example_that_leaks_into_two_targets_is_one_example(planted):
    sources, tests = planted
    found = audit.audit_sources(sources, tests | {"two": [replace(tests["one"][0], document="x")]})
    assert found["sources"]["leaks"]["found"] == 3
    assert [(pair["target"], pair["texts"]) for pair in found["pairs"]] == [("one", 3), ("two", 2)]


def write_text(folder, name, records):
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(record) + "\n" for record in records)


def test_training_text_is_counted_before_and_after_the_filter(tmp_path, planted):
    write_text(tmp_path, "a", [{"text": f"x {SECRET}"}, {"text": "clean"}, {"text": "y", "question": SECRET}])
    write_text(tmp_path, "b", [{"text": "z", "title": SECRET}, {"text": "train " * 13}])
    banned = set(runs(words(SECRET))) | set(runs(["train"] * 13))
    ticks = []
    found = audit.audit_text(audit.text_files(tmp_path), audit.Tests(planted[1]), banned, ticks.append)
    figures = {name: {key: row[key] for key in row if key != "sha256"} for name, row in found["files"].items()}
    assert figures == {
        "a.jsonl.xz": {"documents": 3, "found": 2, "filtered": 2, "remaining": 0},
        "b.jsonl.xz": {"documents": 2, "found": 1, "filtered": 1, "remaining": 1},  # the filter does not look at titles
    }
    one = found["targets"]["one"]
    assert (one["found"]["texts"], one["remaining"]["texts"], one["remaining"]["test_examples"]) == (3, 1, 1)
    assert list(found["targets"]) == ["one"]
    assert len(ticks) == 2


def test_a_folder_without_text_is_refused(tmp_path):
    for call in (audit.audit, audit.steps):
        with pytest.raises(InputError, match="holds no training text"):
            call(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"no xz", lzma.compress(b"ZZSECRETZZ"), lzma.compress(b'{"a": "ZZSECRETZZ"}'), lzma.compress(b"[1]")]
)
def test_damaged_text_is_refused_without_its_content(tmp_path, content):
    (tmp_path / "a.jsonl.xz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jsonl\.xz cannot be read") as caught:
        audit.audit_text(audit.text_files(tmp_path), audit.Tests({}), set())
    assert "ZZSECRETZZ" not in str(caught.value)


# What is committed


def test_the_committed_audit_is_of_the_data_that_is_pinned_and_nothing_remains():
    table = counts.table()
    assert COMMITTED["data_sha256"] == store.registry_hash()
    assert COMMITTED["rule_words"] == 13
    assert COMMITTED["tests"] == {n: table[n]["examples"][2] for n in table if catalogue.get(n).role == "target"}
    assert set(COMMITTED["sources"]) == {n for n in table if catalogue.get(n).role != "target"}
    assert all(row["remaining"] == 0 and row["found"] == row["removed"] for row in COMMITTED["sources"].values())
    assert all(row["remaining"] == 0 for row in COMMITTED["text"]["files"].values())


@pytest.mark.e2e
def test_the_committed_audit_is_what_the_data_gives():
    if store.mirror_root() is None:
        pytest.skip("no real data: ../shared/data is absent and MPDD_MIRROR is not set")
    assert audit.audit() == {key: value for key, value in COMMITTED.items() if key != "text"}
