"""A vocabulary read alone is that of the whole backbone, for several architectures and for weights in shards."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, Qwen2Config

from mpdd.backbone import model as backbone
from mpdd.backbone import vocabulary
from mpdd.errors import InputError
from mpdd.inference.engines.local import Local, Thrift
from tests.inference.test_predict import requests


def same(alone, whole):
    assert (alone.fingerprint, alone.context, alone.width, alone.end) == (
        whole.fingerprint, whole.context, whole.width, whole.end
    )  # fmt: skip
    ids = torch.arange(20)
    assert torch.equal(alone.embed(ids).float(), whole.embed(ids).float())


def test_the_embedded_one():
    same(vocabulary.load(), backbone.load(dtype=torch.bfloat16, device="cpu"))


@pytest.mark.parametrize("config", [
    GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128),
    Qwen2Config(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=False,
    ),
], ids=["gpt2", "qwen2"])  # fmt: skip
def test_other_architectures_and_shards(tiny_folder, tmp_path, config):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    config.vocab_size, config.eos_token_id = len(tokenizer), tokenizer.eos_token_id
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path, max_shard_size="60KB")
    tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    same(vocabulary.load(str(tmp_path)), backbone.load(str(tmp_path), dtype=torch.float32, device="cpu"))


def test_weights_that_were_saved_without_their_head(tiny_folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, vocab_size=len(tokenizer), eos_token_id=0)
    model = AutoModelForCausalLM.from_config(config)
    model.transformer.save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    same(vocabulary.load(str(tmp_path)), backbone.load(str(tmp_path), dtype=torch.float32, device="cpu"))


def test_a_folder_without_weights_is_named(tiny_folder, tmp_path):
    for path in tiny_folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"no embedding matrix to be read alone; wanted model\.embed_tokens\.weight"):
        vocabulary.load(str(tmp_path))


# The engine in this process gives freed memory back to the system, now and then.


def test_every_call_may_give_memory_back(tiny):
    calls, engine = [], Local(tiny)
    engine._thrift._trim, engine._thrift._every = calls.append, 0.0
    engine.predict(requests(tiny, 2))
    assert calls == [0]


def test_not_more_often_than_it_should():
    calls, thrift = [], Thrift(every=3600.0)
    thrift._trim = calls.append
    thrift(), thrift()
    assert calls == []
