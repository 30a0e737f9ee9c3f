"""The exported adapter, loaded by PEFT itself: the same logits, and refusals."""

from __future__ import annotations

import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mpdd.backbone import model as backbones
from mpdd.backbone import vocabulary
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.export.peft import write
from mpdd.export.record import RECORD
from mpdd.files import new_folder
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import deepened, from_vocabulary
from mpdd.prompts.store import Header, save_prompt
from tests.conftest import TEXT
from tests.export.conftest import prompt_file

NER = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",))


def adapted(source, folder):
    """The model of a folder with an adapter, put together by PEFT and transformers alone."""
    base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    return peft.PeftModel.from_pretrained(base, folder).eval()


@torch.no_grad()
def logits(backbone, rows, ids):
    return backbone.model(inputs_embeds=torch.cat([rows, backbone.embed(ids)])[None]).logits[0]


@torch.no_grad()
@pytest.mark.parametrize("of", ["tiny", "embedded"])
def test_logits_equal_ours(of, tiny, tiny_folder, tmp_path):
    backbone = tiny if of == "tiny" else backbones.load(dtype=torch.float32, device="cpu")
    source = tiny_folder if of == "tiny" else EMBEDDED_FOLDER
    rows = from_vocabulary(backbone, 7, 0) + 0.1 * torch.randn(7, backbone.width)
    with new_folder(tmp_path / "adapter") as folder:
        write(backbone, prompt_file(tmp_path, backbone, NER, rows), folder)
    model = adapted(source, tmp_path / "adapter")
    assert model.active_peft_config.peft_type == peft.PeftType.PROMPT_TUNING
    ids = backbone.tokenizer(TEXT[0], return_tensors="pt")["input_ids"]
    found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    torch.testing.assert_close(found, logits(backbone, rows, ids[0]), rtol=0, atol=1e-5)


def test_a_task_of_a_metaprompt_is_its_product(tiny, tiny_folder, tmp_path):
    meta = MetaPrompt(torch.randn(5, tiny.width), ["drugs"], 2)
    torch.nn.init.normal_(meta.u)
    header = Header("task", tiny.name, tiny.fingerprint, 5, tiny.width, 2, ("drugs",), NER, "f" * 64)
    file = save_prompt(tmp_path / "a.safetensors", {"shared": meta.shared, "u": meta.u, "v": meta.v}, header)
    write(vocabulary.load(str(tiny_folder)), file, tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert list(saved) == ["prompt_embeddings"]
    assert torch.equal(saved["prompt_embeddings"], meta("drugs"))
    record = json.loads((tmp_path / "adapter" / RECORD).read_text(encoding="utf-8"))
    assert record["tasks"]["drugs"]["input"] == "List the drugs named in the text.\nLabels: Drug\nText: {text}\nAnswer:"
    assert record["tasks"]["drugs"]["prompt"]["metaprompt"] == "f" * 64
    assert record["backbone"]["fingerprint"] == tiny.fingerprint


def test_a_deep_prompt_is_refused(tiny, tmp_path):
    file = prompt_file(tmp_path, tiny, NER, deepened(tiny, from_vocabulary(tiny, 3, 0)))
    with pytest.raises(InputError, match="drugs.safetensors is a deep prompt, which this format cannot take"):
        write(tiny, file, tmp_path / "adapter")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    with (
        pytest.raises(InputError, match="Cannot write .*/made; found No space left on device"),
        new_folder(tmp_path / "made") as to,
    ):
        (to / "half").write_text("half")
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())
    (tmp_path / "made").mkdir()
    with new_folder(tmp_path / "made") as to:
        (to / "whole").write_text("whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "whole"]
    with (
        pytest.raises(InputError, match="found a folder with files; wanted the name of a new folder"),
        new_folder(tmp_path / "made"),
    ):
        pass
