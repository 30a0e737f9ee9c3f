"""What a job by Ray refuses before it starts, and which answers it finds missing; the workers are in tests/e2e/test_ray.py."""

from __future__ import annotations

import sys

import pyarrow
import pytest
from pyarrow import parquet

from mpdd.annotate import ray as annotate_with_ray
from mpdd.annotate.ray import Work, Worker, _alone_in, _groups, _lock, _missing, annotate, count
from mpdd.cli import main
from mpdd.data import catalogue
from mpdd.errors import InputError, MpddError
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, save_prompt


@pytest.fixture
def prompts(tiny, tmp_path):
    def made(name):
        header = Header("soft", tiny.name, tiny.fingerprint, 4, tiny.width, card=catalogue.get(name).card)
        return save_prompt(tmp_path / f"{name}.safetensors", {"rows": from_vocabulary(tiny, 4, seed=0)}, header)

    return [made("ncbi_disease"), made("phee")]


def notes(path, ids, **columns):
    parquet.write_table(pyarrow.table({"id": ids, "text": [f"note {i}" for i in ids], **columns}), path, row_group_size=100)
    return path


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"id": ["a", "a"], "text": ["x", "y"]}, "cannot be told apart; found 1 with the id of another"),
        ({"id": ["a", None], "text": ["x", "y"]}, "cannot be told apart; found 1 without an id"),
        ({"text": ["x"]}, "lacks a column; found no id; wanted columns id and text"),
    ],
)
def test_notes_that_cannot_be_told_apart_are_refused(tmp_path, table, said):
    parquet.write_table(pyarrow.table(table), tmp_path / "notes.parquet")
    with pytest.raises(InputError, match=said):
        count(tmp_path / "notes.parquet")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "notes.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="notes.parquet cannot be read as parquet"):
        count(tmp_path / "notes.parquet")
    with pytest.raises(InputError, match="There are no such notes"):
        count(tmp_path / "nowhere.parquet")


def test_an_id_may_not_come_back_in_another_file(tmp_path):
    notes(tmp_path / "a.parquet", ["x", "y"])
    notes(tmp_path / "b.parquet", ["y", "z"])
    with pytest.raises(InputError, match="Notes of b.parquet cannot be told apart; found 1 with the id of another"):
        count(tmp_path)


def test_every_missing_answer_is_in_one_part(tmp_path, prompts):
    path = notes(tmp_path / "notes.parquet", [f"n{i}" for i in range(250)])
    work = Work(prompts, tmp_path / "out", "")
    known = {work.key(f"n{i}", prompts[0]) for i in range(0, 250, 2)} | {work.key("n7", prompt) for prompt in prompts}
    parts, before = _missing(work, _groups(path), known)
    asked = [(part.before + row, prompt) for part in parts for row in part.rows for prompt in part.prompts]
    assert before == len(known) == 127
    assert len(asked) == len(set(asked)) == 500 - before
    assert {(f"n{row}", prompts[prompt].path) for row, prompt in asked}.isdisjoint(
        {(key[0], next(p.path for p in prompts if p.header.digest == key[2])) for key in known}
    )
    assert max(len(part.rows) for part in parts) <= annotate_with_ray.PART


def test_the_same_prompt_twice_is_refused(tmp_path, prompts):
    with pytest.raises(InputError, match="The same prompt was given twice"):
        annotate(Work([prompts[0]] * 2, tmp_path / "out", ""), tmp_path, workers=2)


def test_one_job_at_a_time(tmp_path):
    with _alone_in(tmp_path / "out"), pytest.raises(InputError, match="Another job is writing to"), _alone_in(tmp_path / "out"):
        pass
    with _alone_in(tmp_path / "out"):
        pass


def test_workers_of_a_killed_job_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(annotate_with_ray, "PATIENCE", 0.3)
    with _alone_in(tmp_path):
        worker = _lock(tmp_path / ".workers", exclusive=False)
    with pytest.raises(InputError, match="Another job is writing to"), _alone_in(tmp_path):
        pass
    worker.close()
    with _alone_in(tmp_path):
        pass


def test_a_worker_that_starts_when_its_job_was_killed_and_another_began_does_nothing(tmp_path):
    def worker(job):
        return Worker(Work([], tmp_path, "", job=job))

    with _alone_in(tmp_path) as killed:
        worker(killed).lock.close()
    with _alone_in(tmp_path) as running:
        with pytest.raises(MpddError, match="another one has begun"):
            worker(killed)
        assert running != killed
        worker(running).lock.close()
        worker(running).lock.close()  # in place of one that was killed


def test_what_a_killed_worker_left_is_cleared(tmp_path):
    (tmp_path / ".part-abc.parquet.tmp1").touch()
    with _alone_in(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".job", ".workers"]


def test_without_ray_one_sentence_says_what_to_install(tmp_path, prompts, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    path = notes(tmp_path / "notes.parquet", ["a"])
    with pytest.raises(MpddError, match=r"^Several workers need Ray; `pip install 'mpdd\[ray\]'` brings it.$"):
        annotate(Work(prompts, tmp_path / "out", ""), path, workers=2)


def test_a_folder_needs_an_output_and_workers(prompts, tmp_path, monkeypatch, capsys):
    path = notes(tmp_path / "notes.parquet", ["a"])
    for wrong in (["--workers", "2"], ["--output", str(tmp_path / "out"), "--ray", "auto"]):
        monkeypatch.setattr(sys, "argv", ["mpdd", "predict", str(prompts[0].path), str(path), *wrong])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2 and "Workers do not know enough; wanted --workers N and --output FOLDER." in said
