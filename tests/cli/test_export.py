"""`mpdd export`: both formats from the command line, and every mistake in one line with nothing written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer

from mpdd.data.task import TaskCard
from mpdd.prompts.store import Header, load_prompt, save_prompt
from tests.cli.conftest import CARDS, LENGTH
from tests.conftest import make_model

FORMATS = ("hf-vocab", "peft", "peft-prefix", "kv-cache", "vllm-kv", "hub-folder")


def files(folder):
    """Every path under a folder, hidden ones too, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def done(mpdd, *arguments):
    ran = mpdd("export", *arguments)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


@pytest.fixture
def refused(mpdd, place):
    """Run `mpdd export`, see that it says why in one line and leaves all as it was, and give back that line."""

    def run(*arguments):
        before = files(place)
        ran = mpdd("export", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("mpdd: ") and ran.err.count("\n") == 1
        assert "Traceback" not in ran.err
        assert files(place) == before
        return ran.err

    return run


def sealed(place, tiny, name, width=None, **values):
    """A prompt file beside the usual ones."""
    about = Header("soft", tiny.name, tiny.fingerprint, LENGTH, width or tiny.width)
    header = replace(about, **{"card": CARDS[0], **values})
    return save_prompt(place / name, {"rows": torch.zeros(LENGTH, header.width)}, header)


# What is written


def test_a_checkpoint_of_three_tasks(mpdd, place, tiny):
    names = [f"{card.name}.safetensors" for card in CARDS]
    assert done(mpdd, *names, "--to", "hf-vocab", "--out", "new/made") == "Export: new/made\n"
    assert sorted(path.name for path in (place / "new").iterdir()) == ["made"]
    record = json.loads((place / "new" / "made" / "mpdd_tasks.json").read_text(encoding="utf-8"))
    assert list(record["tasks"]) == [card.name for card in CARDS]
    assert record["backbone"]["fingerprint"] == tiny.fingerprint
    assert record["dtype"] == "float32"  # as the tiny backbone's files
    saved = load_file(place / "new" / "made" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    for name, task in record["tasks"].items():
        rows = load_prompt(place / f"{name}.safetensors").rows()
        assert torch.equal(saved["model.embed_tokens.weight"][task["ids"]], rows)
        assert task["prompt"]["digest"] == load_prompt(place / f"{name}.safetensors").header.digest
    tokenizer = AutoTokenizer.from_pretrained(place / "new" / "made")
    assert tokenizer(task["text"])["input_ids"] == task["ids"]


def test_a_checkpoint_in_other_numbers(mpdd, place):
    done(mpdd, "drugs.safetensors", "--to", "hf-vocab", "--out", "made", "--dtype", "bfloat16")
    assert {weight.dtype for weight in load_file(place / "made" / "model.safetensors").values()} == {torch.bfloat16}
    assert {path.stat().st_mode & 0o777 for path in (place / "made").iterdir()} == {0o644}
    assert AutoConfig.from_pretrained(place / "made").dtype is torch.bfloat16
    assert json.loads((place / "made" / "mpdd_tasks.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"


def test_an_adapter(mpdd, place, tiny):
    (place / "made").mkdir()
    assert done(mpdd, "short.safetensors", "--to", "peft", "--out", "made") == "Export: made\n"
    assert sorted(files(place / "made")) == ["adapter_config.json", "adapter_model.safetensors", "mpdd_tasks.json"]
    saved = load_file(place / "made" / "adapter_model.safetensors")
    assert torch.equal(saved["prompt_embeddings"], load_prompt(place / "short.safetensors").rows())
    config = json.loads((place / "made" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["peft_type"], config["num_virtual_tokens"], config["token_dim"]) == ("PROMPT_TUNING", LENGTH, tiny.width)


def test_a_deep_prompt_for_peft(mpdd, place, tiny):
    rows = sealed(place, tiny, "deep.safetensors", width=2 * tiny.width, depth="all").rows()
    done(mpdd, "deep.safetensors", "--to", "peft-prefix", "--out", "made")
    assert sorted(files(place / "made")) == ["adapter_config.json", "adapter_model.safetensors", "mpdd_tasks.json"]
    config = json.loads((place / "made" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["peft_type"], config["num_virtual_tokens"], config["num_attention_heads"]) == ("PREFIX_TUNING", len(rows), 2)


def test_a_deep_prompt_and_one_at_the_input_as_keys_and_values(mpdd, place, tiny):
    card = replace(CARDS[0], name="deep")
    sealed(place, tiny, "deep.safetensors", width=2 * tiny.width, depth="all", card=card)
    done(mpdd, "deep.safetensors", "short.safetensors", "--to", "kv-cache", "--out", "made", "--dtype", "bfloat16")
    assert sorted(files(place / "made")) == ["deep.safetensors", "mpdd_tasks.json", "short.safetensors"]
    for name in ("deep", "short"):
        kept = load_file(place / "made" / f"{name}.safetensors")
        assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16} and len(kept) == 2 * tiny.depth


def test_a_deep_prompt_for_vllm(mpdd, place, tiny):
    sealed(place, tiny, "deep.safetensors", width=2 * tiny.width, depth="all", card=replace(CARDS[0], name="deep"))
    done(mpdd, "deep.safetensors", "short.safetensors", "--to", "vllm-kv", "--out", "made")
    names = ["deep.safetensors", "mpdd_tasks.json", "mpdd_vllm_connector.py", "short.safetensors"]
    assert sorted(files(place / "made")) == names
    tasks = json.loads((place / "made" / "mpdd_tasks.json").read_text(encoding="utf-8"))["tasks"]
    assert all(len(task["ids"]) == task["prompt"]["length"] == LENGTH for task in tasks.values())
    assert tasks["deep"]["ids"] != tasks["short"]["ids"]


def test_a_folder_for_the_hub(mpdd, place):
    done(mpdd, "short.safetensors", "--to", "hub-folder", "--out", "made", "--license", "mit", "--base-model", "org/tiny")
    adapter = ["peft/short/adapter_config.json", "peft/short/adapter_model.safetensors"]
    written = {name for name, data in files(place / "made").items() if data is not None}
    assert written == {"README.md", "mpdd_tasks.json", "short.safetensors", *adapter}
    card = (place / "made" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nbase_model: org/tiny\n") and "license: mit\n" in card
    config = json.loads((place / "made" / adapter[0]).read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "org/tiny"


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["drugs.safetensors", "--out", "made"], f"Missing option '--to'. Choose from: {', '.join(FORMATS)}. See `mpdd export"),
        (["drugs.safetensors", "--to", "peft"], "Missing option '--out'. See `mpdd export --help`."),
        (["--to", "peft", "--out", "made"], "Missing argument 'PROMPT...'. See `mpdd export --help`."),
        (["drugs.safetensors", "--to", "gguf", "--out", "made"], f"'gguf' is not one of {', '.join(map(repr, FORMATS))}."),
        (
            ["drugs.safetensors", "short.safetensors", "--to", "peft", "--out", "made"],
            "A PEFT adapter holds one prompt; found 2; wanted one prompt file, or --to hf-vocab or --to kv-cache or",
        ),
        (
            ["drugs.safetensors", "--to", "peft", "--out", "made", "--dtype", "float16"],
            "The format peft has its numbers in float32; found --dtype float16; wanted --dtype with hf-vocab or kv-cache or",
        ),
        (["none.safetensors", "--to", "peft", "--out", "made"], "There is no such prompt file; found none.safetensors"),
        (["note.txt", "--to", "hf-vocab", "--out", "made"], "The prompt file note.txt is damaged or no safetensors file"),
        (["meta.safetensors", "--to", "peft", "--out", "made"], "meta.safetensors is not for one task; found kind meta"),
        (["drugs.safetensors", "meta.safetensors", "--to", "hf-vocab", "--out", "made"], "meta.safetensors is not for one task"),
        (["drugs.safetensors", "--to", "peft", "--out", "note.txt"], "note.txt is there already; found a file; wanted"),
        (["drugs.safetensors", "--to", "peft", "--out", "note.txt/x"], "Cannot write note.txt/x; found"),
        (["drugs.safetensors", "--to", "peft", "--out", "."], ". is there already; found a folder with files; wanted the name"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(refused, arguments, message):
    assert message in refused(*arguments)


@pytest.mark.parametrize("to", ["hf-vocab", "peft"])
def test_a_damaged_prompt_is_refused(refused, place, to):
    data = (place / "drugs.safetensors").read_bytes()
    (place / "drugs.safetensors").write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    assert "drugs.safetensors was changed after it was written" in refused("drugs.safetensors", "--to", to, "--out", "made")


@pytest.mark.parametrize("to", ["hf-vocab", "peft"])
def test_a_prompt_for_another_backbone_names_both(refused, place, tiny, to):
    make_model(place / "wide", seed=1, width=16)
    said = refused("drugs.safetensors", "--to", to, "--out", "made", "--backbone", "wide")
    assert "drugs.safetensors was made for another backbone; found wide (fingerprint " in said
    assert f"wanted {tiny.name} (fingerprint {tiny.fingerprint[:12]}, width 32)" in said


def test_prompts_of_several_backbones_are_refused(refused, place, tiny):
    sealed(place, tiny, "other.safetensors", fingerprint="0" * 64, backbone="elsewhere")
    said = refused("says.safetensors", "other.safetensors", "--to", "hf-vocab", "--out", "made")
    assert "The prompt other.safetensors was made for another backbone" in said
    assert "wanted elsewhere (fingerprint 000000000000, width 32)" in said


@pytest.mark.parametrize("to", ["hf-vocab", "peft"])
def test_a_deep_prompt_is_refused(refused, place, tiny, to):
    sealed(place, tiny, "deep.safetensors", width=2 * tiny.width, depth="all")
    said = refused("deep.safetensors", "--to", to, "--out", "made")
    assert "deep.safetensors is a deep prompt, which this format cannot take; found rows of 64 numbers" in said
    assert (
        "Export it with --to peft-prefix or --to kv-cache or --to vllm-kv or --to hub-folder, or make one at the input with `mpdd"
        in said
    )


def test_two_prompts_for_one_task_are_refused(refused, place, tiny):
    sealed(place, tiny, "again.safetensors")
    said = refused("drugs.safetensors", "again.safetensors", "--to", "hf-vocab", "--out", "made")
    assert "Two prompts are for the task drugs; found drugs.safetensors and again.safetensors; wanted one prompt for each" in said


def test_a_task_card_of_an_unknown_type_is_refused(refused, place, tiny):
    header = Header("soft", tiny.name, tiny.fingerprint, LENGTH, tiny.width, card=TaskCard("odd", "poetry", "Rhyme."))
    save_prompt(place / "odd.safetensors", {"rows": torch.zeros(LENGTH, tiny.width)}, header)
    assert "odd.safetensors is damaged; found card.type: should be 'ner'" in refused(
        "odd.safetensors", "--to", "peft", "--out", "made"
    )
