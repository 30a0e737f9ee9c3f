"""The store: files in place in a mirror, copied, or downloaded from a local server; every failure is one sentence."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mpdd.data import store
from mpdd.data.task import Splits, Task, TaskCard
from mpdd.errors import InputError, MpddError

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
