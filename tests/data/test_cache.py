"""The cache of splits: the same as read anew, never stale, never damaged, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data import cache, catalogue, store
from mpdd.data.columns import pack, unpack
from mpdd.data.task import Answer, Entity, Example, Relation, Splits, Task, TaskCard
from mpdd.errors import InputError
from tests.conftest import tries

EXAMPLE = Example(
    "e1", "d:1", "fever and cough", Answer((Entity(0, 5, "Sign"),), labels=(0, 2)), (("Q", "why"),), ("a", "b"), {"k": ("x", "y")}
)
SPLITS = Splits((EXAMPLE,), (), (replace(EXAMPLE, gold=Answer(choice=1)),), {"skipped": 3})
FILE = store.Upstream("set/a.txt", "own/repo", "c", "a.txt", 5, "0" * 64)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A registry of one file, a source folder of one module, and an empty cache."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "reader.py").write_text("one")
    monkeypatch.setattr(cache, "registry", lambda: {FILE.file: FILE})
    monkeypatch.setattr(cache, "SOURCE", tmp_path / "source")
    monkeypatch.setattr(cache, "_BEGAN", 2**63)
    monkeypatch.setenv("MPDD_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def task():
    return Task(TaskCard("x", "qa", "Answer."), "source", (FILE.file,), lambda root: SPLITS, "-", "-")


def files(here):
    return sorted((here / "cache").glob("**/*"))


def test_what_was_kept_comes_back_the_same(here, task):
    assert cache.cached(task) is None
    cache.keep(task, SPLITS)
    assert repr(cache.cached(task)) == repr(SPLITS)
    assert len(files(here)) == 1


def test_the_folder_is_the_named_one_or_beside_the_store(here, monkeypatch):
    assert cache.cache_root() == here / "cache"
    monkeypatch.delenv("MPDD_CACHE")
    monkeypatch.delenv("MPDD_DATA", raising=False)
    assert cache.cache_root().parent == store.data_root().parent
    assert cache.cache_root() != store.data_root()


def test_changed_source_is_another_key_and_its_file_takes_the_place_of_the_old_one(here, task):
    cache.keep(task, SPLITS)
    old = files(here)
    (here / "source" / "reader.py").write_text("two")
    assert cache.cached(task) is None
    cache.keep(task, SPLITS)
    assert cache.cached(task) == SPLITS
    assert len(files(here)) == 1 and files(here) != old


@pytest.mark.parametrize("name", ["a_new_module.py", "tasks/x.py"])
def test_a_new_module_is_another_key(here, task, name):
    cache.keep(task, SPLITS)
    (here / "source" / name).parent.mkdir(exist_ok=True)
    (here / "source" / name).write_text("")
    assert cache.cached(task) is None


def test_another_pinned_hash_or_another_file_is_another_key(here, task, monkeypatch):
    cache.keep(task, SPLITS)
    monkeypatch.setattr(cache, "registry", lambda: {FILE.file: replace(FILE, sha256="1" * 64), "b": FILE})
    assert cache.cached(task) is None
    assert cache.cached(replace(task, files=("b",))) is None


def test_another_python_is_another_key(here, task, monkeypatch):
    cache.keep(task, SPLITS)
    monkeypatch.setattr(cache.platform, "python_version", lambda: "9.9")
    assert cache.cached(task) is None


def test_source_that_changed_under_the_process_is_neither_read_nor_kept(here, task, monkeypatch):
    cache.keep(task, SPLITS)
    monkeypatch.setattr(cache, "_BEGAN", 0)
    assert cache.cached(task) is None
    cache.keep(replace(task, card=TaskCard("y", "qa", "Answer.")), SPLITS)
    assert len(files(here)) == 1


def test_a_damaged_file_counts_as_none_and_is_made_anew(here, task):
    cache.keep(task, SPLITS)
    (path,) = files(here)
    whole = path.read_bytes()
    places = range(0, len(whole), max(1, len(whole) // 60))
    damaged = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in places]
    for content in [*damaged, b"", whole[:20], whole[:-1], whole + b"x", b"\0" * len(whole)]:
        path.write_bytes(content)
        assert cache.cached(task) is None
    cache.keep(task, SPLITS)
    assert cache.cached(task) == SPLITS


def test_a_file_that_is_whole_but_not_arrow_counts_as_none(here, task):
    cache.keep(task, SPLITS)
    (path,) = files(here)
    path.write_bytes(b"text" + cache.hashlib.sha256(b"text").digest())
    assert cache.cached(task) is None


@pytest.mark.parametrize("in_the_way", ["cache", "cache/x"])
def test_a_folder_that_cannot_be_written_means_no_cache(here, task, monkeypatch, in_the_way):
    monkeypatch.setenv("MPDD_CACHE", str(here / "cache" / "x"))
    (here / in_the_way).parent.mkdir(exist_ok=True)
    (here / in_the_way).write_text("a file")
    cache.keep(task, SPLITS)
    assert cache.cached(task) is None
    assert (here / in_the_way).read_text() == "a file"


def test_a_users_own_task_and_one_without_files_are_not_kept(here, task):
    for other in (replace(task, role="user"), replace(task, files=())):
        cache.keep(other, SPLITS)
        assert cache.place(other) is None
        assert cache.cached(other) is None
    assert files(here) == []


def test_other_tasks_files_stay(here, task):
    longer = replace(task, card=TaskCard("x_y", "qa", "Answer."))
    cache.keep(longer, SPLITS)
    cache.keep(task, SPLITS)
    assert cache.cached(longer) == cache.cached(task) == SPLITS
    assert len(files(here)) == 2


def test_a_kept_task_is_loaded_without_reading_its_files(here, task, monkeypatch):
    monkeypatch.setattr(catalogue, "get", lambda name: task)
    monkeypatch.setattr(catalogue, "fetch", lambda files: here)
    assert catalogue._load.__wrapped__("x") == SPLITS
    monkeypatch.setattr(catalogue, "fetch", None)
    assert catalogue._load.__wrapped__("x") == SPLITS


def test_loading_without_a_cache_folder_works(here, task, monkeypatch):
    monkeypatch.setattr(catalogue, "get", lambda name: task)
    monkeypatch.setattr(catalogue, "fetch", lambda files: here)
    monkeypatch.setenv("MPDD_CACHE", os.devnull)
    assert catalogue._load.__wrapped__("x") == SPLITS


def test_looking_for_a_cached_task_loads_no_arrow():
    code = (
        "import sys; from mpdd.data import cache, catalogue; cache.cached(catalogue.get('rqe'));"
        "cache.place(catalogue.get('rqe'));"
        "print('pyarrow' in sys.modules)"
    )
    environment = os.environ | {"MPDD_CACHE": os.devnull}
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment).stdout == "False\n"


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "x" * 300])
def test_a_folder_that_cannot_be_is_no_reason_to_stop(name, monkeypatch):
    for variable in ("MPDD_CACHE", "MPDD_DATA"):
        monkeypatch.setenv(variable, name)
    assert cache.cached(catalogue.get("rqe")) is None
    monkeypatch.setenv("MPDD_MIRROR", name)
    with pytest.raises(InputError, match="MPDD_MIRROR is not a folder"):
        store.mirror_root()


# Any splits become one Arrow array and come back the same, as do the other types that hints may name.

NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)


def tuples(items):
    return st.lists(items, max_size=3).map(tuple)


ANSWERS = st.builds(
    Answer,
    tuples(st.builds(Entity, NUMBERS, NUMBERS, TEXTS)),
    tuples(st.builds(Relation, TEXTS, TEXTS, TEXTS)),
    st.none() | NUMBERS,
    TEXTS,
    tuples(NUMBERS),
)
ARGUMENTS = st.dictionaries(TEXTS, tuples(TEXTS), max_size=3)
EXAMPLES = tuples(
    st.builds(
        Example,
        id=TEXTS,
        document=TEXTS,
        text=TEXTS,
        gold=ANSWERS,
        fields=tuples(st.tuples(TEXTS, TEXTS)),
        choices=tuples(TEXTS),
        arguments=ARGUMENTS,
        offset=NUMBERS,
        lost=NUMBERS,
    )
)
COLUMN_SPLITS = st.builds(Splits, EXAMPLES, EXAMPLES, EXAMPLES, st.dictionaries(TEXTS, NUMBERS, max_size=3))


@settings(max_examples=tries(40), deadline=None)
@given(COLUMN_SPLITS)
def test_splits_come_back_the_same_with_their_types_and_their_order(splits):
    (back,) = unpack(pack([splits], Splits), Splits)
    assert back == splits
    assert repr(back) == repr(splits)  # what == does not tell: the order of mappings, 1 or True


@dataclass(frozen=True)
class Reading:
    value: float
    sure: bool | None
    by_place: Mapping[str, tuple[int, str]]


def test_a_dataclass_of_other_types_needs_nothing_more():
    readings = [Reading(0.5, True, {"b": (1, "x"), "a": (2, "")}), Reading(-1.0, None, {})]
    assert unpack(pack(readings, Reading), Reading) == readings
    assert unpack(pack([], Reading), Reading) == []


@pytest.mark.parametrize("hint", [list[str], bytes, int | str, set[int]])
def test_a_type_without_a_column_is_refused(hint):
    with pytest.raises(TypeError, match="no column for values of the type"):
        pack([], hint)
