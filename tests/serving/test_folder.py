"""Tasks come and go with their files, while serving; a bad file is named and left out."""

import shutil

import pytest
import torch

from mpdd.data.task import TaskCard
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import Header, save_prompt
from mpdd.serving.folder import PromptFolder


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


def test_a_metaprompt_beside_its_factors_is_no_task(folder, tiny, tmp_path):
    meta = MetaPrompt(torch.randn(4, tiny.width), ["a", "b"])
    header = Header("meta", tiny.name, tiny.fingerprint, 4, tiny.width, rank=1, tasks=meta.tasks)
    made = save_prompt(tmp_path / "metaprompt.safetensors", {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)
    card = TaskCard("doses", "ner", "List the doses.", labels=("Dose",))
    own = meta.for_target("doses")
    header = Header(
        "task", tiny.name, tiny.fingerprint, 4, tiny.width, rank=1, tasks=("doses",), card=card, metaprompt=made.header.digest
    )
    save_prompt(tmp_path / "doses.safetensors", {"u": own.u, "v": own.v}, header)
    found = folder.look()
    assert set(found.tasks) == {"drugs", "doses"} and not found.problems
    torch.testing.assert_close(found.tasks["doses"].rows, meta.zero_shot())
