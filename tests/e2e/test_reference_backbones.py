"""Each experiment on a backbone of the paper, at reduced size: a small random model with its config class and quirks (rope
scaling, experts, attention sinks, sliding windows, a start token, Harmony turns) through all stages, mixed prediction and
both exports.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import tomli_w
import torch
from tokenizers import processors
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from mpdd.experiment import config
from mpdd.prompts.store import load_prompt

pytestmark = pytest.mark.e2e
EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NAMES = ("llama-3.1-8b", "gpt-oss-20b")  # and meditron3-8b, which is Llama 3.1 with other weights
SMALL = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 768,
}  # fmt: skip
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16, "sliding_window": 32}
REDUCED = {
    "sources": ["ddi", "scifact"],
    "targets": ["ncbi_disease", "meqsum"],
    "seeds": [0],
    "shots": [8],
    "limits": {"train": 8, "dev": 2, "test": 2},
}
HARMONY = (
    "<|start|>system<|message|>Current date: {{ strftime_now('%Y-%m-%d') }}<|end|>"
    "{% for m in messages %}{% if m.role == 'user' %}<|start|>user<|message|>{{ m.content }}<|end|>"
    "{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|return|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)


def make_backbone(folder: Path, name: str, plain: Path) -> None:
    """The architecture of `name`, small, random, with its kind of special tokens, over the tiny tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(plain)
    if name == "gpt-oss-20b":
        tokenizer.add_special_tokens(
            {"additional_special_tokens": ["<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"]}
        )
        tokenizer.eos_token = "<|return|>"
        tokenizer.chat_template = HARMONY
    else:
        tokenizer.add_special_tokens({"bos_token": "<|begin_of_text|>"})
        start = ("<|begin_of_text|>", tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start[0]} $A", special_tokens=[start]
        )
    tokenizer.save_pretrained(folder)
    shape = json.loads((EXPERIMENTS / "shapes" / f"{name}.json").read_text())
    shape |= SMALL | (EXPERTS if "num_local_experts" in shape else {})
    shape["rope_scaling"] |= {"original_max_position_embeddings": 96}
    shape |= {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id}
    shape["bos_token_id"] = tokenizer.bos_token_id
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape)).save_pretrained(folder)


@pytest.mark.parametrize("name", NAMES)
def test_the_experiment_runs_from_end_to_end_at_reduced_size(world, name):
    place = world.folder / name
    make_backbone(place / "backbone", name, world.backbone)
    values = tomllib.loads((EXPERIMENTS / f"{name}.toml").read_text(encoding="utf-8"))
    values |= REDUCED | {"backbone": str(place / "backbone")}
    for part in ("teach", "distil", "adapt"):
        values[part] |= {"steps": 2, "every": 1, "batch_size": 2}
        values[part] |= {name: rates[:1] for name, rates in values[part].items() if isinstance(rates, list)}
    values["prompt"]["length"] = 6
    (place / "small.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    out, _ = world.run("run", place / "small.toml", "--out", place / "run")
    assert "mpdd-full" in out

    prompts = [place / "run" / "prompts" / f"{task}-mpdd-8-s0.safetensors" for task in REDUCED["targets"]]
    template = load_prompt(prompts[0]).header.template
    assert template is not None
    if name == "gpt-oss-20b":
        assert template.after == "<|end|><|start|>assistant<|channel|>final<|message|>" and "2026-01-01" in template.before
    else:
        assert (template.before, template.after) == ("<|begin_of_text|>", "")
    (place / "note.txt").write_text("She has type 2 diabetes and a cough.", encoding="utf-8")
    out, _ = world.run("predict", *prompts, place / "note.txt", "--json")
    assert [found["task"] for found in json.loads(out)] == REDUCED["targets"]
    world.run("export", *prompts, "--to", "hf-vocab", "--out", place / "vocabulary")
    world.run("export", prompts[0], "--to", "peft", "--out", place / "adapter", python=name == NAMES[0])
    record = json.loads((place / "vocabulary" / "mpdd_tasks.json").read_text(encoding="utf-8"))["tasks"]["meqsum"]
    assert record["before"]["text"] == template.before and record["text_gives_ids"]


def test_meditron_runs_as_llama_does():
    """Its experiment and its shape are those of Llama 3.1 but for the name and the place of its weights."""
    names = ("meditron3-8b", "llama-3.1-8b")
    own, llama = (tomllib.loads((EXPERIMENTS / f"{name}.toml").read_text(encoding="utf-8")) for name in names)
    assert own | {"name": llama["name"], "backbone": llama["backbone"]} == llama
    own, llama = (json.loads((EXPERIMENTS / "shapes" / f"{name}.json").read_text()) for name in names)
    assert own == llama


@pytest.mark.parametrize(("name", "parameters"), zip(NAMES, (8_030_261_248, 20_914_757_184), strict=True))
def test_at_the_true_shape_less_than_a_two_thousandth_is_trained(world, name, parameters):
    """Counted on torch's meta device; 8.03 and 20.9 billion are what the models' own cards say."""
    shape = EXPERIMENTS / "shapes" / f"{name}.json"
    out, _ = world.run("check", EXPERIMENTS / f"{name}.toml", "--shape", shape, "--json", python=name == NAMES[0])
    found = json.loads(out)
    assert found["backbone"]["parameters"] == parameters
    assert all(numbers["percent"] < 0.05 for numbers in found["trainable"].values())
    length = config.read(EXPERIMENTS / f"{name}.toml").prompt.length
    assert found["trainable"]["mpdd"]["bytes_fp32"] == 4 * (length + found["backbone"]["width"])
    assert found["calculated"]["peak_bytes"] < 80e9
