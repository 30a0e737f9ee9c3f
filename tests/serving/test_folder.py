"""Tasks come and go with their files, while serving; a bad file is named and left out."""

import os
import shutil
from dataclasses import replace

import pytest
import torch

from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.inference.engines import EngineDownError
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import Header, load_prompt, save_prompt
from mpdd.serving.folder import FixedTasks, PromptFolder


def write(folder, backbone, name, file=None, seed=0):
    card = TaskCard(name, "ner", f"List the {name}.", labels=("Drug",), max_answer_tokens=8)
    header = Header("soft", backbone.name, backbone.fingerprint, 4, backbone.width, tasks=(name,), card=card)
    rows = torch.randn(4, backbone.width, generator=torch.Generator().manual_seed(seed))
    return save_prompt(folder / f"{file or name}.safetensors", {"rows": rows}, header)


@pytest.fixture
def folder(tiny, tmp_path):
    write(tmp_path, tiny, "drugs")
    return PromptFolder(tmp_path, tiny.vocabulary)


def test_a_task_comes_with_its_file_and_goes_with_it(folder, tiny, tmp_path):
    first = folder.look().tasks["drugs"]
    write(tmp_path, tiny, "doses")
    assert set(folder.look().tasks) == {"drugs", "doses"}
    assert folder.look().tasks["drugs"] is first
    (tmp_path / "drugs.safetensors").unlink()
    assert set(folder.look().tasks) == {"doses"}


def test_a_changed_file_is_read_again(folder, tiny, tmp_path):
    before = folder.look().tasks["drugs"]
    wanted = write(tmp_path, tiny, "drugs", seed=1)
    after = folder.look().tasks["drugs"]
    assert (after.digest != before.digest) and after.digest == wanted.header.digest
    assert torch.equal(after.rows, wanted.rows().to(tiny.table))


def test_bad_files_are_named_and_the_others_served(folder, tiny, tmp_path):
    (tmp_path / "half.safetensors").write_bytes(b"half a fi")
    shutil.copy(tmp_path / "drugs.safetensors", tmp_path / "second.safetensors")
    found = folder.look()
    assert set(found.tasks) == {"drugs"} and set(found.problems) == {"half.safetensors", "second.safetensors"}
    assert "damaged" in found.problems["half.safetensors"]
    assert found.problems["second.safetensors"].endswith("drugs.safetensors is for the task drugs, too")


def write_metaprompt(folder, backbone):
    """Write a metaprompt and the factors of a task `doses` that need it; return it."""
    tiny, tmp_path = backbone, folder
    meta = MetaPrompt(torch.randn(4, tiny.width), ["a", "b"])
    header = Header("meta", tiny.name, tiny.fingerprint, 4, tiny.width, rank=1, tasks=meta.tasks)
    made = save_prompt(tmp_path / "metaprompt.safetensors", {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)
    card = TaskCard("doses", "ner", "List the doses.", labels=("Dose",))
    own = meta.for_target("doses")
    header = Header(
        "task", tiny.name, tiny.fingerprint, 4, tiny.width, rank=1, tasks=("doses",), card=card, metaprompt=made.header.digest
    )
    save_prompt(tmp_path / "doses.safetensors", {"u": own.u, "v": own.v}, header)
    return meta


def test_a_metaprompt_beside_its_factors_is_no_task(folder, tiny, tmp_path):
    meta = write_metaprompt(tmp_path, tiny)
    found = folder.look()
    assert set(found.tasks) == {"drugs", "doses"} and not found.problems
    torch.testing.assert_close(found.tasks["doses"].rows, meta.zero_shot())


def test_factors_come_with_their_metaprompt_and_go_with_it_whichever_file_is_there_first(folder, tiny, tmp_path):
    meta = write_metaprompt(tmp_path, tiny)
    file, away = tmp_path / "metaprompt.safetensors", tmp_path / "away"
    file.rename(away)
    for _ in range(2):
        listing = folder.look()
        assert set(listing.tasks) == {"drugs"}
        assert "its metaprompt is not beside it" in listing.problems["doses.safetensors"]
        away.rename(file)
        listing = folder.look()
        assert set(listing.tasks) == {"drugs", "doses"} and not listing.problems
        torch.testing.assert_close(listing.tasks["doses"].rows, meta.zero_shot())
        file.rename(away)


def test_factors_go_when_another_metaprompt_takes_the_place_of_theirs(folder, tiny, tmp_path):
    write_metaprompt(tmp_path, tiny)
    assert "doses" in folder.look().tasks
    other = MetaPrompt(torch.randn(4, tiny.width), ["a", "b"])
    header = Header("meta", tiny.name, tiny.fingerprint, 4, tiny.width, rank=1, tasks=other.tasks)
    save_prompt(tmp_path / "metaprompt.safetensors", {"shared": other.shared, "u": other.u, "v": other.v}, header)
    assert set(folder.look().tasks) == {"drugs"}


def test_a_file_of_the_same_size_and_time_is_another_file(folder, tiny, tmp_path):
    before = folder.look().tasks["drugs"].digest
    about = (tmp_path / "drugs.safetensors").stat()
    wanted = write(tmp_path, tiny, "drugs", seed=1)
    os.utime(wanted.path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert wanted.path.stat().st_size == about.st_size
    assert folder.look().tasks["drugs"].digest == wanted.header.digest != before


def test_an_error_that_nobody_foresaw_is_a_problem_of_one_file(tiny, tmp_path, monkeypatch):
    write(tmp_path, tiny, "drugs")
    write(tmp_path, tiny, "doses")

    def broken(path, *rest, **options):
        if path.name == "doses.safetensors":
            raise ZeroDivisionError("with text of a note")
        return load_prompt(path, *rest, **options)

    monkeypatch.setattr("mpdd.serving.folder.load_prompt", broken)
    listing = PromptFolder(tmp_path, tiny.vocabulary).look()
    assert set(listing.tasks) == {"drugs"}
    assert listing.problems == {"doses.safetensors": "The prompt file doses.safetensors cannot be used (ZeroDivisionError)."}


def test_numbers_too_large_for_the_type_of_the_backbone_are_a_problem(tiny, tmp_path):
    file = write(tmp_path, tiny, "drugs")
    save_prompt(file.path, {"rows": torch.full((4, tiny.width), 1e30)}, file.header)
    layer = torch.nn.Embedding.from_pretrained(tiny.table.detach().half())
    half = replace(tiny.vocabulary, embedding=layer)
    listing = PromptFolder(tmp_path, half).look()
    assert not listing.tasks and "too large for the backbone's type" in listing.problems["drugs.safetensors"]


def test_a_folder_that_cannot_be_listed_for_a_while_is_served_as_it_was(folder, monkeypatch):
    before = folder.look()

    def fail(self):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as broken:
        broken.setattr(PromptFolder, "_look_at_files", fail)
        assert folder.look() is before
    assert folder.look().tasks == before.tasks


def test_a_file_that_could_not_be_read_is_tried_again(tiny, tmp_path, monkeypatch):
    write(tmp_path, tiny, "drugs")
    folder = PromptFolder(tmp_path, tiny.vocabulary)

    def fail(self):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as broken:
        broken.setattr("pathlib.Path.read_bytes", fail)
        assert "cannot be read; found Too many open files" in folder.look().problems["drugs.safetensors"]
    assert set(folder.look().tasks) == {"drugs"}


def test_a_prompt_that_the_engine_does_not_have_is_left_out(tmp_path, tiny):
    header = Header("soft", tiny.name, tiny.fingerprint, 3, 2 * tiny.width, card=TaskCard("deep", "ner", "List."), depth="all")
    save_prompt(tmp_path / "deep.safetensors", {"rows": torch.zeros(3, 2 * tiny.width)}, header)
    assert list(PromptFolder(tmp_path, tiny.vocabulary).look().tasks) == ["deep"]

    class Without:
        """An engine in another process, without this prompt; down when it is first asked."""

        asked = 0

        def require_prompt(self, prompt):
            self.asked += 1
            raise EngineDownError("It starts.") if self.asked == 1 else InputError(f"{prompt.header.card.name} is not there")

    folder = PromptFolder(tmp_path, tiny.vocabulary, (), Without())
    assert folder.look().problems == {"deep.safetensors": "It starts."}
    for _ in range(2):  # what was down is asked again, what is missing is not
        assert folder.look().problems == {"deep.safetensors": "deep is not there."}
    assert folder._engine.asked == 2
    fixed = FixedTasks([load_prompt(tmp_path / "deep.safetensors")], tiny.vocabulary, folder._engine).look()
    assert (fixed.tasks, fixed.problems) == ({}, {"deep": "deep is not there."})
