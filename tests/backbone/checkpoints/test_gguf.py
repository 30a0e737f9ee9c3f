"""A GGUF file becomes a model folder with the same numbers and the tokenizer that the model was trained with."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mpdd.backbone.checkpoints import gguf
from mpdd.errors import InputError, MpddError
from tests.backbone.checkpoints import tiny_gguf


def converted(tmp_path, source):
    folder = tmp_path / "folder"
    folder.mkdir()
    return gguf.convert(source, folder), AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(("kind", "dtype"), [("F32", "float32"), ("F16", "float16"), ("BF16", "bfloat16"), ("Q8_0", "float32")])
def test_the_numbers_are_those_of_the_file(tiny_folder, tmp_path, kind, dtype):
    """fp32, fp16 and bf16 files come back bit for bit; eight bits within half a step of the largest of 32 numbers."""
    before = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).state_dict()
    said, model, _ = converted(tmp_path, tiny_gguf.write(tmp_path / "tiny.gguf", tiny_folder, kind=kind))
    assert said["dtype"] == dtype and not hasattr(model.config, "quantization_config")
    assert model.dtype is getattr(torch, dtype)
    rounded = torch.float32 if kind == "Q8_0" else getattr(torch, dtype)
    for name, weight in model.state_dict().items():
        far = before[name].abs().max() / 127 if kind == "Q8_0" else 0.0
        assert (weight.float() - before[name].to(rounded).float()).abs().max() <= far, name


def test_it_computes_what_the_first_model_does(tiny_folder, tmp_path):
    _, model, _ = converted(tmp_path, tiny_gguf.write(tmp_path / "tiny.gguf", tiny_folder))
    ids = torch.tensor([[5, 9, 2, 40, 7]])
    with torch.no_grad():
        there = AutoModelForCausalLM.from_pretrained(tiny_folder)(ids).logits
        torch.testing.assert_close(model(ids).logits, there, atol=1e-4, rtol=1e-4)


def test_digits_are_split_one_by_one_where_the_file_says_so(tiny_folder, tmp_path):
    """In SmolLM2's vocabulary, two spaces are one token: before a number they must stay together."""
    said, _, tokenizer = converted(tmp_path, tiny_gguf.write(tmp_path / "tiny.gguf", tiny_folder, rule="smollm"))
    assert "one by one" in said["tokenizer"]
    parts = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a  12\n\n3")
    assert [text for text, _ in parts] == ["a", "ĠĠ", "1", "2", "ĊĊ", "3"]


@pytest.mark.parametrize(("rule", "said"), [("gpt-2", "as transformers reads it"), ("poro-chat", "UNKNOWN rule 'poro-chat'")])
def test_other_rules_are_left_alone_and_unknown_ones_are_named(tiny_folder, tmp_path, rule, said):
    done, _, tokenizer = converted(tmp_path, tiny_gguf.write(tmp_path / "tiny.gguf", tiny_folder, rule=rule))
    assert done["tokenizer"].startswith(said)
    text = "Drug: aspirin and 12  mg"
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(tiny_folder)(text)["input_ids"]
    assert tokenizer.eos_token == "<end>" and tokenizer("x<end>")["input_ids"][-1] == tokenizer.eos_token_id


def test_files_that_are_no_model_are_refused_in_one_sentence(tiny_folder, tmp_path):
    whole = tiny_gguf.write(tmp_path / "tiny.gguf", tiny_folder).read_bytes()
    for name, content in (("text", b"hello"), ("empty", b""), ("header", whole[:400]), ("half", whole[: len(whole) // 2])):
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"The GGUF file {name}.gguf cannot be read as a causal language model; found"):
            gguf.convert(path, tmp_path / "never")
    tiny_gguf.write(tmp_path / "lacking.gguf", tiny_folder, without="blk.1.ffn_up.weight")
    with pytest.raises(InputError, match=r"lacking.gguf lacks weights; found no model.layers.1.mlp.up_proj.weight \(1 missing\)"):
        gguf.convert(tmp_path / "lacking.gguf", tmp_path / "never")


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(gguf, "transformers", SimpleNamespace(__version__="5.0.0"))
        with pytest.raises(MpddError, match=r"transformers 5.23 or later, found 5.0.0"):
            gguf.convert(tmp_path / "any.gguf", tmp_path)
    monkeypatch.setattr(gguf.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MpddError, match=r"`pip install 'mpdd\[gguf\]'` brings it"):
        gguf.convert(tmp_path / "any.gguf", tmp_path)
