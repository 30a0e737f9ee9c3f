"""Prompts as keys and values: the same greedy tokens in our engine, through PEFT, and from a cache of plain transformers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, DynamicCache

from mpdd.backbone import model as backbones
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import render_input
from mpdd.errors import InputError
from mpdd.export import kv_cache, peft_prefix
from mpdd.export.keys_values import cache_of, keys_values
from mpdd.export.peft_prefix import _flat as flat
from mpdd.export.record import RECORD, file_names
from mpdd.files import new_folder
from mpdd.inference.predict import Request, predict
from mpdd.prompts.soft import deepened, from_vocabulary
from tests.conftest import TEXT
from tests.export.conftest import prompt_file

LENGTH, TOKENS = 5, 24
SHORT = TaskCard("short", "summarization", "Say it in one line.", max_answer_tokens=TOKENS)
DRUGS = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=TOKENS)
SHAPE = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
    "max_position_embeddings": 256, "initializer_range": 0.3, "tie_word_embeddings": False,
}  # fmt: skip
FAMILIES = {
    "Qwen3Config": SHAPE | {"head_dim": 32},  # heads wider than the model
    "GPT2Config": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.3},  # learned positions
    "Gemma3TextConfig": SHAPE
    | {
        "head_dim": 16,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },  # layers that see eight tokens
}
LOADER = Path(__file__).parents[2] / "docs" / "export.md"


def noisy(backbone, depth, seed=0):
    """A prompt that training could have left: before every layer (or at the input) other rows than any token makes."""
    rows = from_vocabulary(backbone, LENGTH, seed)
    rows = deepened(backbone, rows) if depth == "all" else rows
    return rows + 2 * rows.std() * torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed))


def question(backbone, card):
    return backbone.tokenizer(render_input(card, Example("", "", TEXT[0], Answer())), add_special_tokens=False)["input_ids"]


def ours(backbone, card, rows):
    (answer,) = predict(backbone, [Request(card, Example("", "", TEXT[0], Answer()), rows)])
    return [token for token, _ in answer.tokens]


def through_peft(source, folder, ids):
    """What PEFT and transformers write, without anything of mpdd."""
    base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, folder).eval()
    given = torch.tensor([ids])
    return model.generate(
        input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=TOKENS, do_sample=False
    )[0, len(ids) :].tolist()  # fmt: skip


def through_cache(source, file, ids):
    """What transformers writes behind the keys and values of a file, without anything of mpdd."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    kept = load_file(file)
    layers = [(kept[f"layers.{n}.key"][None], kept[f"layers.{n}.value"][None]) for n in range(len(kept) // 2)]
    given = torch.tensor([[0] * layers[0][0].shape[2] + ids])
    found = model.generate(
        given, attention_mask=torch.ones_like(given), past_key_values=DynamicCache(layers), max_new_tokens=TOKENS, do_sample=False
    )
    return found[0, given.shape[1] :].tolist()


@pytest.fixture(scope="module")
def make(tiny, tmp_path_factory):
    """A random backbone of a family, with the tiny backbone's tokenizer; its folder is its name."""

    def of(name):
        torch.manual_seed(0)
        end = tiny.tokenizer.eos_token_id
        ids = {"vocab_size": len(tiny.tokenizer), "bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
        model = AutoModelForCausalLM.from_config(getattr(transformers, name)(**FAMILIES[name], **ids)).float()
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        tiny.tokenizer.save_pretrained(folder)
        return backbones.load(str(folder), dtype=torch.float32, device="cpu")

    return of


def equal_everywhere(backbone, source, depth, folder):
    rows = noisy(backbone, depth)
    prompt = prompt_file(folder, backbone, SHORT, rows)
    for name, write in (("prefix", peft_prefix.write), ("cache", lambda b, p, to: kv_cache.write(b, [p], to))):
        with new_folder(folder / name) as to:
            write(backbone, prompt, to)
    wanted, ids = ours(backbone, SHORT, rows), question(backbone, SHORT)
    assert wanted != ours(backbone, SHORT, None)  # the prompt matters
    assert through_peft(source, folder / "prefix", ids)[: len(wanted)] == wanted
    assert through_cache(source, folder / "cache" / "short.safetensors", ids)[: len(wanted)] == wanted


@pytest.mark.parametrize("depth", ["input", "all"])
def test_greedy_tokens_equal_ours(tiny, tiny_folder, depth, tmp_path):
    equal_everywhere(tiny, tiny_folder, depth, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_of_other_families_equal_ours(make, family, tmp_path):
    backbone = make(family)
    equal_everywhere(backbone, backbone.name, "all", tmp_path)


@pytest.mark.parametrize("depth", ["input", "all"])
def test_the_loader_of_the_docs_answers_as_we_do(tiny, tiny_folder, depth, tmp_path, monkeypatch, capsys):
    rows = noisy(tiny, depth)
    others = prompt_file(tmp_path, tiny, DRUGS, noisy(tiny, depth, 1))
    kv_cache.write(tiny, [prompt_file(tmp_path, tiny, SHORT, rows), others], tmp_path / "cache")
    (code,) = re.findall(r"^```python\n([^`]*DynamicCache[^`]*)^```$", LOADER.read_text(encoding="utf-8"), re.MULTILINE)
    given = {'"BACKBONE"': repr(str(tiny_folder)), '"ncbi_disease"': '"short"', '"She has type 2 diabetes."': repr(TEXT[0])}
    for name, value in given.items():
        assert name in code
        code = code.replace(name, value)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/export.md", "exec"), {})
    wanted = tiny.tokenizer.decode(ours(tiny, SHORT, rows), skip_special_tokens=True).strip()
    assert capsys.readouterr().out.removesuffix("\n") == wanted


def test_several_tasks_answer_in_one_batch(tiny, tiny_folder, tmp_path):
    """Prompts of one length, texts of several, padded between the prompt and the text."""
    prompts = {card: noisy(tiny, "all", number) for number, card in enumerate((SHORT, DRUGS))}
    kv_cache.write(tiny, [prompt_file(tmp_path, tiny, card, rows) for card, rows in prompts.items()], tmp_path / "cache")
    files = [load_file(tmp_path / "cache" / f"{card.name}.safetensors") for card in prompts]
    layers = [
        tuple(torch.stack([kept[f"layers.{n}.{part}"] for kept in files]) for part in ("key", "value")) for n in range(tiny.depth)
    ]
    ids = [question(tiny, card) for card in prompts]
    longest = max(map(len, ids))
    assert len(set(map(len, ids))) > 1
    given = torch.tensor([[0] * (LENGTH + longest - len(own)) + own for own in ids])
    mask = torch.tensor([[1] * LENGTH + [0] * (longest - len(own)) + [1] * len(own) for own in ids])
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    written = model.generate(
        given, attention_mask=mask, past_key_values=DynamicCache(layers), max_new_tokens=TOKENS, do_sample=False
    )[:, given.shape[1] :].tolist()  # fmt: skip
    for (card, rows), tokens in zip(prompts.items(), written, strict=True):
        wanted = ours(tiny, card, rows)
        assert tokens[: len(wanted)] == wanted


def test_the_files_say_what_they_are(tiny, tmp_path):
    rows = noisy(tiny, "all")
    kv_cache.write(tiny, [prompt_file(tmp_path, tiny, SHORT, rows)], tmp_path / "cache")
    record = json.loads((tmp_path / "cache" / RECORD).read_text(encoding="utf-8"))
    assert (record["dtype"], record["layers"]) == ("float32", tiny.depth)
    assert record["tasks"]["short"]["keys_values"] == "short.safetensors"
    assert record["tasks"]["short"]["prompt"]["length"] == LENGTH
    kept = load_file(tmp_path / "cache" / "short.safetensors")
    assert set(kept) == {f"layers.{n}.{part}" for n in range(tiny.depth) for part in ("key", "value")}
    assert {tuple(tensor.shape) for tensor in kept.values()} == {(2, LENGTH, 8)}  # two heads of keys for four of queries


def test_keys_stand_after_the_rotation(tiny):
    """What a layer caches of equal rows differs by position alone: the values are equal, the keys are not."""
    keys, values = keys_values(tiny, noisy(tiny, "input")[:1].expand(3, -1).contiguous())[0]
    torch.testing.assert_close(values[:, 0], values[:, 2])
    assert not torch.allclose(keys[:, 0], keys[:, 2], atol=1e-3)
    torch.testing.assert_close(keys.norm(dim=-1)[:, 0], keys.norm(dim=-1)[:, 2])


def test_file_names_are_plain_and_distinct():
    names = file_names(["a b", "a/b", "../x", "A-B", "..."], ".safetensors")
    assert list(names.values()) == [f"{n}.safetensors" for n in ("a-b", "a-b-2", "x", "A-B-3", "task")]


# Refusals


def test_an_export_that_other_programs_read_otherwise_is_not_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("mpdd.export.kv_cache.cache_of", lambda kept: cache_of([(keys.flip(1), values) for keys, values in kept]))
    monkeypatch.setattr("mpdd.export.peft_prefix._flat", lambda kept: flat(kept).flip(1))
    prompt = prompt_file(tmp_path, tiny, SHORT, noisy(tiny, "all"))
    writers = {
        "transformers": lambda to: kv_cache.write(tiny, [prompt], to),
        "PEFT": lambda to: peft_prefix.write(tiny, prompt, to),
    }
    for where, write in writers.items():
        with (
            pytest.raises(InputError, match=f"Behind this export {where} gives other logits .*; found a difference of [0-9.]+%"),
            new_folder(tmp_path / "made") as to,
        ):
            write(to)
        assert not (tmp_path / "made").exists()


def test_a_backbone_that_keeps_more_than_keys_and_values_is_refused(tiny, tmp_path, monkeypatch):
    """As one with state-space layers does: their cache has other layers."""
    monkeypatch.setattr("mpdd.export.keys_values.DynamicLayer", type("Other", (), {}))
    prompt = prompt_file(tmp_path, tiny, SHORT, noisy(tiny, "all"))
    with pytest.raises(InputError, match="does not keep keys and values of every token in every layer; found them in 0 of 2"):
        kv_cache.write(tiny, [prompt], tmp_path / "made")


def test_peft_takes_one_shape_of_keys_and_values(tiny, tmp_path, monkeypatch):
    """Of models whose values are narrower than their keys PEFT has no adapter."""
    monkeypatch.setattr("mpdd.export.peft_prefix.keys_values", lambda *given: [(k, v[..., :4]) for k, v in keys_values(*given)])
    prompt = prompt_file(tmp_path, tiny, SHORT, noisy(tiny, "all"))
    with pytest.raises(InputError, match=r"have several shapes, and PEFT takes one; found \(2, 5, 4\), \(2, 5, 8\)"):
        peft_prefix.write(tiny, prompt, tmp_path / "made")
