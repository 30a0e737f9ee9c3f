"""Answering a file of notes: the same lines as in one go, wherever it was stopped; and no mixing of two jobs."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch

from mpdd.annotate import file as annotating
from mpdd.annotate.file import annotate
from mpdd.annotate.notes import Note, answer_notes
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.inference.engines.local import Local
from mpdd.prompts.store import Header, load_prompt, save_prompt

CARDS = (
    TaskCard("drugs", "ner", "List drugs.", labels=("Drug",), max_answer_tokens=3),
    TaskCard("says", "nli", "Does it say so?", labels=("yes", "no"), fields=("Hypothesis",)),
)
NOTES = [Note(str(n), f"aspirin {n} and fever\u2028", {"Hypothesis": "fever"}) for n in range(7)]


class Stopped(BaseException):
    pass


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(annotating, "BLOCK", 2)


@pytest.fixture(scope="module")
def prompts(tiny, tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("prompts"), []
    for seed, card in enumerate(CARDS):
        rows = torch.randn(3, tiny.width, generator=torch.Generator().manual_seed(seed))
        header = Header("soft", tiny.name, tiny.fingerprint, 3, tiny.width, card=card, tasks=(card.name,))
        save_prompt(folder / f"{card.name}.safetensors", {"rows": rows}, header)
        made.append(load_prompt(folder / f"{card.name}.safetensors", tiny))
    return made


def ticking(most):
    """Stop the job when so many notes are done."""
    seen = []

    def tick(count):
        seen.append(count)
        if sum(seen) >= most:
            raise Stopped

    return tick


def run(tiny, prompts, output, notes=NOTES, tick=lambda _: None):
    return annotate(Local(tiny), prompts, notes, output, tick=tick)


@pytest.fixture(scope="module")
def whole(tiny, prompts, tmp_path_factory):
    """The lines of a job that was never stopped."""
    output = tmp_path_factory.mktemp("whole") / "whole.jsonl"
    run(tiny, prompts, output)
    return output.read_bytes()


def test_all_lines_in_order_and_nothing_beside_them(tiny, prompts, tmp_path):
    output = tmp_path / "out" / "found.jsonl"
    output.parent.mkdir()
    assert run(tiny, prompts, output) == 0
    lines = [json.loads(line) for line in output.read_bytes().decode().split("\n")[:-1]]
    assert lines == list(answer_notes(Local(tiny), prompts, NOTES))
    assert [path.name for path in output.parent.iterdir()] == ["found.jsonl"]


@pytest.mark.parametrize("torn", [b"", b'{"id": "4", "ta'])
@pytest.mark.parametrize("most", [2, 4, 6])
def test_a_stopped_job_goes_on(tiny, prompts, whole, tmp_path, most, torn):
    broken = tmp_path / "broken.jsonl"
    with pytest.raises(Stopped):
        run(tiny, prompts, broken, tick=ticking(most))
    assert not broken.exists()
    lines = tmp_path / ".broken.jsonl.unfinished"
    lines.write_bytes(lines.read_bytes() + torn)
    assert run(tiny, prompts, broken) == most
    assert broken.read_bytes() == whole


def test_half_a_note_is_answered_again(tiny, prompts, whole, tmp_path):
    broken = tmp_path / "broken.jsonl"
    with pytest.raises(Stopped):
        run(tiny, prompts, broken, tick=ticking(4))
    lines = tmp_path / ".broken.jsonl.unfinished"
    lines.write_bytes(b"".join(lines.read_bytes().splitlines(keepends=True)[:5]))
    assert run(tiny, prompts, broken) == 2
    assert broken.read_bytes() == whole


def test_another_job_does_not_take_over(tiny, prompts, tmp_path):
    output = tmp_path / "out.jsonl"
    with pytest.raises(Stopped):
        run(tiny, prompts, output, tick=ticking(2))
    for notes, files in ((NOTES[1:], prompts), (NOTES, prompts[:1])):
        with pytest.raises(InputError, match="stopped job of other notes, prompts or another backbone") as caught:
            run(tiny, files, output, notes=notes)
        assert "aspirin" not in str(caught.value)
    assert "delete .out.jsonl.job" in str(caught.value)
    (tmp_path / ".out.jsonl.job").unlink()
    assert run(tiny, prompts[:1], output) == 0


def test_an_earlier_output_stays_until_the_new_one_is_whole(tiny, prompts, tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("before")
    with pytest.raises(Stopped):
        run(tiny, prompts, output, tick=ticking(2))
    assert output.read_text() == "before"


def test_a_note_without_an_input_is_named_before_anything_is_asked(tiny, prompts, tmp_path):
    notes = [*NOTES, Note("last", "fever", {})]
    with pytest.raises(InputError, match="Note last lacks what the task says asks about"):
        run(None, prompts, tmp_path / "out.jsonl", notes=notes)
    assert not list(tmp_path.glob(".out*"))


def test_a_folder_in_the_place_of_the_output(tiny, prompts, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="Cannot write the output; found a folder"):
        run(tiny, prompts, tmp_path / "out")


def test_unfinished_answers_that_were_edited_are_not_resumed(tiny, prompts, tmp_path):
    output, lines = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.unfinished"
    with pytest.raises(Stopped):
        run(tiny, prompts, output, tick=ticking(4))
    written = lines.read_bytes()
    for edited in (
        written.replace(b'"0"', b'"1"', 1),
        b"\n".join(reversed(written.split(b"\n"))),
        written[written.index(b"\n") + 1 :],
    ):
        lines.write_bytes(edited)
        with pytest.raises(
            InputError, match="unfinished answers beside out.jsonl were changed after they were written"
        ) as caught:
            run(tiny, prompts, output)
        assert "Delete .out.jsonl.job there, and all notes are answered anew." in str(caught.value)
        assert lines.read_bytes() == edited
    (tmp_path / ".out.jsonl.job").unlink()
    assert run(tiny, prompts, output) == 0


@pytest.mark.parametrize("torn", [0, 30])
def test_a_job_that_was_killed_before_it_noted_a_block_answers_that_again(tiny, prompts, whole, tmp_path, torn):
    broken = tmp_path / "broken.jsonl"
    with pytest.raises(Stopped):
        run(tiny, prompts, broken, tick=ticking(4))
    about = tmp_path / ".broken.jsonl.job"
    job, first, second, _ = about.read_bytes().split(b"\n")
    about.write_bytes(b"\n".join([job, first, second[:torn]]))
    assert run(tiny, prompts, broken) == 2
    assert broken.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.glob("*.jsonl*")) == ["broken.jsonl"]


def test_a_disk_that_cannot_be_written_is_one_sentence(tiny, prompts, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="Cannot write .*; found Read-only file system"):
        run(tiny, prompts, tmp_path / "out.jsonl")
