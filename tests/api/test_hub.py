"""The folder of a model repository: a card that the hub's library reads, prompts that load again, adapters that PEFT loads."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from huggingface_hub import InferenceClient, ModelCard, ModelCardData, constants, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from transformers import AutoModelForCausalLM

import mpdd
from mpdd.api.hub import hub_id
from mpdd.backbone.hub_connection import _is_reachable, work_offline_if_unreachable
from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.evaluation.results import write_results
from mpdd.evaluation.row import Row
from mpdd.export import hub_folder
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.soft import deepened, from_vocabulary
from mpdd.prompts.store import Header, load_prompt, save_prompt

DRUGS = TaskCard("drugs", "ner", "List the drugs.", labels=("Drug",), max_answer_tokens=8)
SAYS = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no"), fields=("Hypothesis",))
ROW = Row(
    method="mpdd", backbone="tiny", backbone_parameters=1, target="drugs", task_type="ner", shots=8, seed=0, metric="strict_f1",
    value=61.254, ci_low=50.0, ci_high=70.0, n_examples=40, chance=0, unparseable=0, trainable_parameters=1,
    trainable_fraction=0.1, stored_bytes=1, train_examples_seen=1, train_seconds=1, tuning_trials=1,
)  # fmt: skip


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def run(tiny, tmp_path):
    """A run folder with a deep prompt and one at the input, and a score of the first."""
    header = Header("soft", tiny.name, tiny.fingerprint, 3, tiny.width)
    rows = from_vocabulary(tiny, 3, 0)
    prompts = tmp_path / "run" / "prompts"
    deep = replace(header, width=2 * tiny.width, depth="all", card=DRUGS)
    save_prompt(prompts / "drugs-mpdd-8-s0.safetensors", {"rows": deepened(tiny, rows)}, deep)
    save_prompt(prompts / "says-mpdd-8-s0.safetensors", {"rows": rows}, replace(header, card=SAYS))
    write_results(tmp_path / "run" / "results.json", [ROW, replace(ROW, method="lora", value=99.0, ci_high=100.0)])
    return tmp_path / "run"


def test_a_folder_of_two_prompts(run, tiny, tiny_folder, tmp_path):
    prompts = mpdd.load_prompts(run / "prompts")
    made = mpdd.push_to_folder(prompts, tmp_path / "made", license="apache-2.0", base_model="org/tiny")
    adapters = [f"peft/{task}/adapter_{part}" for task in ("drugs", "says") for part in ("config.json", "model.safetensors")]
    assert files(made) == ["README.md", "drugs.safetensors", "mpdd_tasks.json", *adapters, "says.safetensors"]
    card = ModelCard.load(made / "README.md")
    assert (card.data.license, card.data.base_model, card.data.library_name) == ("apache-2.0", "org/tiny", "mpdd")
    assert card.data.tags[:2] == ["mpdd", "soft-prompt"] and "peft" in card.data.tags
    (result,) = card.data.eval_results
    assert (result.task_type, result.metric_type, result.metric_name) == ("token-classification", "f1", "strict_f1")
    assert (result.dataset_name, result.metric_value) == ("drugs", 61.25)
    assert "| drugs | strict_f1 | 61.3 | 50.0 to 70.0 | 40 | 8 |" in card.text
    assert "No guarantee of differential privacy is given." in card.text and "no medical device" in card.text
    again = mpdd.load_prompts(made)
    assert [prompt.header.digest for prompt in again] == [prompt.header.digest for prompt in prompts]
    public = [made / name for name in files(made) if not name.endswith(".safetensors")]
    assert len(public) == 4 and str(tiny_folder) not in "".join(path.read_text(encoding="utf-8") for path in public)
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    for task, kind in (("drugs", "PREFIX_TUNING"), ("says", "PROMPT_TUNING")):
        model = peft.PeftModel.from_pretrained(base, made, subfolder=f"peft/{task}")
        assert model.active_peft_config.peft_type == kind


def test_a_prompt_of_factors_brings_its_metaprompt_and_its_signature(tiny, tmp_path):
    meta = MetaPrompt(torch.randn(3, tiny.width), ["a"], 1)
    header = Header("meta", tiny.name, tiny.fingerprint, 3, tiny.width, rank=1, tasks=meta.tasks)
    tensors = {"shared": meta.shared, "u": meta.u, "v": meta.v}
    whole = save_prompt(tmp_path / "meta.safetensors", tensors, header)
    own = replace(header, kind="task", tasks=("says",), card=SAYS, metaprompt=whole.header.digest)
    prompt = save_prompt(tmp_path / "says.safetensors", {"u": meta.u, "v": meta.v}, own)
    (tmp_path / "says.safetensors.sig").write_text("signed")
    made = mpdd.push_to_folder(prompt, tmp_path / "made")
    assert (made / "says.safetensors").read_bytes() == (tmp_path / "says.safetensors").read_bytes()
    assert (made / "says.safetensors.sig").read_text() == "signed"
    (again,) = mpdd.load_prompts(made)
    assert torch.equal(again.rows(), prompt.rows())
    card = ModelCard.load(made / "README.md")
    assert (card.data.license, card.data.to_dict()["license_name"]) == ("other", "see-the-model-card")
    assert card.data.base_model is None and "None are given." in card.text
    assert f"It is `{Path(tiny.name).name}` (fingerprint" in card.text


def test_rows_that_were_made_of_examples_are_not_published(tiny, tmp_path):
    header = Header("soft", tiny.name, tiny.fingerprint, 3, tiny.width, card=SAYS, derived_from_examples=2)
    prompt = save_prompt(tmp_path / "says.safetensors", {"rows": from_vocabulary(tiny, 3, 0)}, header)
    with pytest.raises(InputError, match="says.safetensors has rows that were made of 2 examples, whose text can be read"):
        mpdd.push_to_folder(prompt, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_prompt_in_memory_is_written(tiny, tmp_path, run):
    held = replace(load_prompt(run / "prompts" / "says-mpdd-8-s0.safetensors"), path=tmp_path / "says of nothing")
    made = mpdd.push_to_folder(held, tmp_path / "made")
    (again,) = mpdd.load_prompts(made)
    assert again.header.digest == held.header.digest


def test_ids_on_the_hub():
    assert hub_id("smollm2-135m-instruct") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert hub_id("meta-llama/Llama-3.1-8B") == "meta-llama/Llama-3.1-8B"
    assert hub_id("embedded") == hub_id("/models/llama") == hub_id("model.gguf") == hub_id("models/a/b") == ""


def test_the_card_holds_what_the_hub_checks(run, tmp_path):
    """As far as it goes without a network: the hub's own library reads the card again and finds all in it; the task is known."""
    drugs, says = mpdd.load_prompts(run / "prompts")
    for prompts, task in ((drugs, "token-classification"), (says, "text-classification"), ([drugs, says], None)):
        made = mpdd.push_to_folder(prompts, tmp_path / str(task), license="cc-by-4.0", base_model="org/tiny")
        metadata = metadata_load(made / "README.md")
        assert metadata.get("pipeline_tag") == task and (task is None or hasattr(InferenceClient, task.replace("-", "_")))
        assert ModelCardData(**metadata).to_dict() == metadata and None not in metadata.values()
        if prompts is says:
            assert "model-index" not in metadata and "metrics" not in metadata
            continue
        name, (result,) = model_index_to_eval_results(metadata["model-index"])
        assert name == ("drugs" if prompts is drugs else "2 clinical tasks")
        assert (result.dataset_type, result.dataset_split, result.metric_value) == ("drugs", "test", 61.25)
        assert set(metadata["metrics"]) == {"f1"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"license": "Apache 2.0"}, "licence is not spelled as on the hub; found 'Apache 2.0'; wanted for example apache-2.0"),
        ({"base_model": "org/my model"}, "The backbone's id cannot be one of the hub; found 'org/my model'"),
    ],
)
def test_what_the_hub_would_refuse_is_refused_here(run, tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        mpdd.push_to_folder(mpdd.load_prompts(run / "prompts"), tmp_path / "made", **names)
    assert not (tmp_path / "made").exists()


def test_the_card_says_why_there_is_no_adapter(run, tiny, tmp_path):
    """A deep prompt needs the layers of its backbone for one; PEFT still loads the adapter of the other prompt."""
    hub_folder.write(tiny.vocabulary, mpdd.load_prompts(run / "prompts"), tmp_path / "made", hub_folder.Publishing())
    card = ModelCard.load(tmp_path / "made" / "README.md")
    assert "There is no adapter for drugs: rows before every layer, and the backbone was not loaded" in card.text
    assert 'subfolder="peft/says"' in card.text and "peft" in card.data.tags
    assert [path.name for path in (tmp_path / "made" / "peft").iterdir()] == ["says"]
    assert peft.PeftConfig.from_pretrained(tmp_path / "made", subfolder="peft/says").num_virtual_tokens == 3


def test_prompts_load_by_their_id_on_the_hub(run, tmp_path, monkeypatch):
    """From the hub's cache, in the layout in which its library keeps a fetched repository; there is no network here."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "cache" / "models--org--tasks"
    made = mpdd.push_to_folder(mpdd.load_prompts(run / "prompts"), repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    expected = [prompt.header.digest for prompt in mpdd.load_prompts(made)]
    for name in ("hf://org/tasks", "hf://org/tasks@main"):
        assert [prompt.header.digest for prompt in mpdd.load_prompts(name)] == expected
    for name in ("hf://org/others", "hf://org/tasks@v2", "hf://not an id"):
        with pytest.raises(InputError, match=f"The prompts {name} cannot be fetched from the Hugging Face hub"):
            mpdd.load_prompts(name)


def test_a_hub_that_does_not_answer_is_not_asked_again(monkeypatch):
    """Which its library would do for more than a minute; one that answers is used, and so is what a proxy leads to."""
    for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as hub:
        address = f"http://127.0.0.1:{hub.getsockname()[1]}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        assert not work_offline_if_unreachable() and not constants.HF_HUB_OFFLINE
    closed = f"http://localhost:{address.rpartition(':')[2]}"
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    with monkeypatch.context() as patch:
        patch.setenv("http_proxy", "http://127.0.0.1:1")
        assert not work_offline_if_unreachable()
    _is_reachable.cache_clear()
    assert work_offline_if_unreachable() and constants.HF_HUB_OFFLINE
    _is_reachable.cache_clear()
