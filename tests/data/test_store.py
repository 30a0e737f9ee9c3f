"""The store: files in place in a mirror, copied, or downloaded from a local server; every failure is one sentence."""

from __future__ import annotations

import csv
import hashlib
import io
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mpdd.data import store
from mpdd.data.readers.delimited import AFTER_QUOTE, CELLS, ESCAPED, STRAY, SWALLOWED, UNCLOSED, rows
from mpdd.data.task import Splits, Task, TaskCard
from mpdd.errors import InputError, MpddError
from tests.cases import CASES

CONTENT = {"set/a b.txt": b"alpha", "set/b.txt": b"beta"}


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """Serve the files below /up/name/commit1/data/; yields the folder served."""
    folder = tmp_path / "served" / "up" / "name" / "commit1" / "data"
    for file, content in CONTENT.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    handler = partial(QuietHandler, directory=str(tmp_path / "served"))
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A registry of two files, an empty store, no mirror, and no proxy or network: addresses lead to a closed port."""

    def entry(file):
        content = CONTENT[file]
        return store.Upstream(file, "up/name", "commit1", f"data/{file}", len(content), hashlib.sha256(content).hexdigest())

    entries = {file: entry(file) for file in CONTENT}
    monkeypatch.setattr(store, "registry", lambda: entries)
    monkeypatch.setattr(store, "HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("MPDD_DATA", str(tmp_path / "store"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("MPDD_MIRROR", raising=False)
    return tmp_path


@pytest.fixture
def online(here, server, monkeypatch):
    folder, address = server
    monkeypatch.setattr(store, "HOST", address)
    return folder


@pytest.fixture
def mirror(here, monkeypatch):
    folder = here / "mirror"
    for file, content in CONTENT.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    monkeypatch.setenv("MPDD_MIRROR", str(folder))
    return folder


TASK = Task(TaskCard("x", "qa", "Answer."), "source", tuple(CONTENT), lambda root: Splits((), (), ()), "-", "-")


def test_the_shipped_registry_pins_each_file_once():
    entries = store.registry()
    assert len(entries) > 30
    for file, entry in entries.items():
        assert file == entry.file
        assert not file.startswith("/")
        assert ".." not in file
        assert len(entry.commit) == 40
        assert len(entry.sha256) == 64
        assert entry.size > 0 or entry.file.endswith(".ann")  # AnatEM has texts without a mention


def test_an_address_quotes_the_path():
    entry = store.Upstream("f", "own/repo", "c", "a folder/b+c.txt", 1, "0")
    assert entry.url == "https://raw.githubusercontent.com/own/repo/c/a%20folder/b%2Bc.txt"


def test_the_store_is_the_named_folder_or_the_platforms_cache(here, monkeypatch):
    assert store.data_root() == here / "store"
    monkeypatch.delenv("MPDD_DATA")
    assert store.data_root().name == "mpdd"


def test_a_mirror_is_read_in_place(here, mirror):
    assert store.locate(TASK) == "mirror"
    assert store.fetch(CONTENT) == mirror
    assert not (here / "store").exists()


def test_each_file_is_hashed_once(mirror, monkeypatch):
    store.fetch(CONTENT)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert store.fetch(CONTENT) == mirror


def test_a_changed_file_is_hashed_again_and_refused(mirror):
    store.fetch(CONTENT)
    (mirror / "set/b.txt").write_bytes(b"BETA")
    with pytest.raises(InputError) as caught:
        store.fetch(CONTENT)
    message = str(caught.value)
    assert str(mirror / "set/b.txt") in message
    assert hashlib.sha256(b"BETA").hexdigest() in message
    assert hashlib.sha256(b"beta").hexdigest() in message
    assert "unset MPDD_MIRROR" in message


def test_what_the_mirror_lacks_is_downloaded_and_the_rest_copied(here, online, mirror):
    (mirror / "set/b.txt").unlink()
    assert store.locate(TASK) == "missing"
    root = store.fetch(CONTENT)
    assert root == here / "store"
    assert {file: (root / file).read_bytes() for file in CONTENT} == CONTENT
    assert store.locate(TASK) == "store"


def test_a_download_is_kept(here, online):
    root = store.fetch(CONTENT, progress=False)
    for file in CONTENT:
        (online / file).unlink()
    assert store.fetch(CONTENT) == root
    assert {file: (root / file).read_bytes() for file in CONTENT} == CONTENT


def test_a_damaged_file_in_the_store_is_downloaded_again(here, online):
    root = store.fetch(CONTENT)
    (root / "set/b.txt").write_bytes(b"bet")
    store.fetch(CONTENT)
    assert (root / "set/b.txt").read_bytes() == b"beta"


def test_another_version_upstream_names_both_hashes(here, online):
    (online / "set/b.txt").write_bytes(b"changed")
    with pytest.raises(InputError) as caught:
        store.fetch(["set/b.txt"])
    assert hashlib.sha256(b"changed").hexdigest() in str(caught.value)
    assert hashlib.sha256(b"beta").hexdigest() in str(caught.value)
    assert not (here / "store/set/b.txt").exists()


def test_a_file_gone_upstream_is_one_sentence(here, online):
    (online / "set/b.txt").unlink()
    with pytest.raises(MpddError, match=r"Could not download set/b\.txt .*HTTP status 404.*MPDD_MIRROR") as caught:
        store.fetch(CONTENT)
    assert caught.value.exit_code == 1


def test_no_network_is_one_sentence(here):
    with pytest.raises(MpddError, match="no network") as caught:
        store.fetch(CONTENT)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_a_store_that_cannot_be_written_is_one_sentence(here, mirror, monkeypatch):
    (here / "file").write_text("in the way")
    monkeypatch.setenv("MPDD_DATA", str(here / "file"))
    (mirror / "set/b.txt").unlink()
    with pytest.raises(MpddError, match="Set MPDD_DATA to a folder you can write to") as caught:
        store.fetch(CONTENT)
    assert caught.value.exit_code == 1
    monkeypatch.delenv("MPDD_MIRROR")
    with pytest.raises(MpddError, match="Set MPDD_DATA"):
        store.fetch(CONTENT)


def test_a_mirror_that_is_no_folder_is_refused(here, monkeypatch):
    monkeypatch.setenv("MPDD_MIRROR", str(here / "nowhere"))
    for call in (partial(store.fetch, CONTENT), partial(store.locate, TASK)):
        with pytest.raises(InputError, match="nowhere"):
            call()


def test_a_file_that_no_registry_knows_is_refused(here):
    with pytest.raises(InputError, match="other/file"):
        store.fetch(["other/file"])


# Tables are read strictly: whatever quote is lost or added, no row is given with the words of another one.

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
