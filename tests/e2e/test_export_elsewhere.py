"""Other engines answer as `predict` does from an exported checkpoint: prompts as plain token ids, several tasks in one model.

Optional: MPDD_VLLM_PYTHON names the Python of an environment with vLLM, see `test_vllm.py`; MPDD_LLAMA_CPP_PYTHON that of one
with xllamacpp (llama.cpp), gguf, sentencepiece, torch and transformers, see `llama_cpp_generate.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from mpdd.backbone import model as backbones
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data import synthetic
from mpdd.data.types import render_input
from mpdd.export import kv_cache, peft_prefix, virtual_vocabulary
from mpdd.export.record import RECORD
from mpdd.inference.predict import Request, predict
from mpdd.prompts.ready import ready
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, save_prompt

pytestmark = pytest.mark.e2e
TASKS = ("synthetic_conditions", "synthetic_dosage", "synthetic_impression")
NOTES, TOKENS, LENGTH = 12, 24, 15  # notes of each task, tokens written behind each, rows of a prompt


@pytest.fixture(scope="module")
def asked():
    """A backbone in fp32, and requests under prompts that differ from all of its tokens."""
    backbone = backbones.load(dtype=torch.float32, device="cpu")
    requests = []
    for number, name in enumerate(TASKS):
        card = replace(synthetic.TASKS[name].card, max_answer_tokens=TOKENS)
        rows = from_vocabulary(backbone, LENGTH, number)
        rows = rows + 0.3 * rows.std() * torch.randn(rows.shape, generator=torch.Generator().manual_seed(number))
        examples = synthetic.TASKS[name].load(Path()).test[:NOTES]
        requests += [Request(card, example, rows) for example in examples]
    return backbone, requests


@pytest.fixture(scope="module")
def exported(asked, tmp_path_factory):
    backbone, requests = asked
    folder = tmp_path_factory.mktemp("prompts")
    header = Header("soft", backbone.name, backbone.fingerprint, LENGTH, backbone.width)
    prompts = [
        save_prompt(folder / f"{r.card.name}.safetensors", {"rows": r.prompt}, replace(header, card=r.card, tasks=(r.card.name,)))
        for r in requests[::NOTES]
    ]
    virtual_vocabulary.write(backbone, prompts, folder / "made")
    return folder / "made"


def python_of(engine):
    """The Python that has an engine, where there is one."""
    found = os.environ.get(f"MPDD_{engine}_PYTHON")
    if not found:
        pytest.skip(f"MPDD_{engine}_PYTHON is not set")
    return found


def ask(python, script, exported, backbone, requests):
    """What a script of that Python gives for every request's token ids."""
    record = json.loads((exported / RECORD).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(exported)
    inputs = [tokenizer(render_input(r.card, r.example), add_special_tokens=False)["input_ids"] for r in requests]
    ids = [[*record["tasks"][r.card.name]["ids"], *own] for r, own in zip(requests, inputs, strict=True)]
    given = {"model": str(exported), "context": backbone.context, "tokens": TOKENS, "ids": ids, "embeddings": []}
    environment = {
        **os.environ, "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }  # fmt: skip
    command = [python, Path(__file__).with_name(script)]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads(done.stdout.splitlines()[-1])


def require_same(texts, backbone, requests):
    same = [text.strip() == one.output for text, one in zip(texts, predict(backbone, requests), strict=True)]
    assert all(same), f"{sum(same)} of {len(same)} equal"


def test_peft_and_transformers_answer_as_predict_does_under_a_deep_prompt(asked, tmp_path):
    """The prompts of the package's own metaprompt, with rows before every layer."""
    backbone, requests = asked
    source = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER, dtype=torch.float32).eval()
    prompts = ready(tasks=["bc5cdr_ner", "primock57"])
    kv_cache.write(backbone, prompts, tmp_path / "cache")
    for prompt in prompts:
        task, rows = prompt.header.card, prompt.rows()
        assert task is not None and rows.shape[1] > backbone.width
        peft_prefix.write(backbone, prompt, tmp_path / task.name)
        kept = load_file(tmp_path / "cache" / f"{task.name}.safetensors")
        layers = [(kept[f"layers.{n}.key"][None], kept[f"layers.{n}.value"][None]) for n in range(len(kept) // 2)]
        card = replace(task, max_answer_tokens=TOKENS)
        given = [Request(card, request.example, rows) for request in requests[:4]]
        for request, answer in zip(given, predict(backbone, given), strict=True):
            wanted = [token for token, _ in answer.tokens]
            ids = backbone.tokenizer(render_input(card, request.example), add_special_tokens=False)["input_ids"]
            options = {"max_new_tokens": TOKENS, "do_sample": False, "pad_token_id": backbone.end}
            behind = torch.tensor([[0] * len(rows) + ids])
            written = source.generate(
                behind, attention_mask=torch.ones_like(behind), past_key_values=DynamicCache(layers), **options
            )
            assert written[0, behind.shape[1] :].tolist()[: len(wanted)] == wanted
            own = torch.tensor([ids])
            adapted = peft.PeftModel.from_pretrained(source, tmp_path / task.name).eval()
            written = adapted.generate(input_ids=own, attention_mask=torch.ones_like(own), **options)
            assert written[0, len(ids) :].tolist()[: len(wanted)] == wanted


def test_vllm_answers_as_predict_does(asked, exported):
    backbone, requests = asked
    found = ask(python_of("VLLM"), "vllm_generate.py", exported, backbone, requests)["tokens"]
    assert max(map(max, found)) < json.loads((exported / RECORD).read_text(encoding="utf-8"))["vocabulary"]["old"]
    tokenizer = AutoTokenizer.from_pretrained(exported)
    require_same([tokenizer.decode(row, skip_special_tokens=True) for row in found], backbone, requests)


def test_llama_cpp_answers_as_predict_does(asked, exported):
    backbone, requests = asked
    require_same(ask(python_of("LLAMA_CPP"), "llama_cpp_generate.py", exported, backbone, requests), backbone, requests)
