"""The exported checkpoint, read by transformers alone: it answers as `predict` does, and its new tokens cannot win."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from mpdd.backbone import model as backbones
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data import synthetic
from mpdd.data.task import TaskCard
from mpdd.data.types import candidates, render_input
from mpdd.errors import InputError
from mpdd.export import virtual_vocabulary
from mpdd.inference.predict import Request, predict
from mpdd.prompts.soft import deepened, from_vocabulary
from tests.conftest import TEXT
from tests.export.conftest import Checkpoint, prompt_file

NER = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=12)
SUMMARY = TaskCard("short", "summarization", "Say it in one line.", max_answer_tokens=9)
NLI = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no", "not sure"), fields=("Hypothesis",))
QA = TaskCard("choose", "qa", "Choose.", text_field="Question")
WRITTEN = ("synthetic_conditions", "synthetic_dosage", "synthetic_impression")
CHOSEN = ("synthetic_has_condition", "synthetic_allergy")
SHAPE = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
    "max_position_embeddings": 256, "tie_word_embeddings": False,
}  # fmt: skip
FAMILIES = {
    "Qwen3Config": SHAPE | {"head_dim": 16, "tie_word_embeddings": True},
    "GPT2Config": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256},  # learned positions
    "PhiConfig": SHAPE | {"num_key_value_heads": 4},  # a head with a bias
    "BloomConfig": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "MixtralConfig": SHAPE | {"num_local_experts": 4, "num_experts_per_tok": 2},  # its files name its weights otherwise
    "GptOssConfig": SHAPE | {"sliding_window": 6, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    "Gemma3TextConfig": SHAPE | {"head_dim": 16, "sliding_window": 6},  # its embedding layer multiplies
    "GraniteConfig": SHAPE | {"embedding_multiplier": 12.0, "logits_scaling": 8.0},  # its layers do, in every call
    "FalconH1Config": SHAPE | {
        "embedding_multiplier": 5.6, "lm_head_multiplier": 0.04, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_ssm": 128,
    },  # its layers do, where they are given ids
}  # fmt: skip


def noisy(backbone, length, seed):
    """Rows beside those of any token, as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    rows = from_vocabulary(backbone, length, seed)
    return rows + 0.3 * rows.std() * torch.randn(rows.shape, generator=generator)


@pytest.fixture(scope="module")
def small(tiny, export):
    return export(tiny, [(card, noisy(tiny, 3 + k, k)) for k, card in enumerate((NER, SUMMARY, NLI, QA))])


@pytest.fixture(scope="module")
def embedded():
    return backbones.load(dtype=torch.float32, device="cpu")


@pytest.fixture(scope="module")
def cards():
    short = {"max_answer_tokens": 24}  # each token takes a pass
    return {name: replace(synthetic.TASKS[name].card, **short) for name in (*WRITTEN, *CHOSEN)}


@pytest.fixture(scope="module")
def prompts(embedded, cards):
    return {name: noisy(embedded, 15, k) for k, name in enumerate(cards)}


@pytest.fixture(scope="module")
def large(embedded, export, cards, prompts):
    return export(embedded, [(cards[name], rows) for name, rows in prompts.items()])


@pytest.fixture(scope="module")
def make(tiny, tmp_path_factory):
    """A random backbone of a family, with the tiny backbone's tokenizer or another."""

    def of(name, options, size=0, tokenizer=None):
        torch.manual_seed(0)
        words = tokenizer or tiny.tokenizer
        end = words.eos_token_id
        ids = {"vocab_size": size or len(words), "bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
        model = AutoModelForCausalLM.from_config(getattr(transformers, name)(**options, **ids)).float()
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        return backbones.load(str(folder), dtype=torch.float32, device="cpu")

    return of


def examples(name, count):
    return synthetic.TASKS[name].load(None).test[:count]


# The answers are those of `predict`


def test_greedy_answers_of_several_tasks_equal_predict_without_any_suppression(large, embedded, cards, prompts):
    asked = [Request(cards[name], example, prompts[name]) for name in WRITTEN for example in examples(name, 1)]
    for request, wanted in zip(asked, predict(embedded, asked), strict=True):
        ids = large.ids(request.card.name, render_input(request.card, request.example))
        found = large.greedy(ids, request.card.max_answer_tokens, suppress_tokens=None)
        assert max(found) < large.old
        assert large.tokenizer.decode(found, skip_special_tokens=True).strip() == wanted.output
    assert large.greedy(ids, request.card.max_answer_tokens) == found


def test_choices_by_likelihood_equal_predict(large, embedded, cards, prompts):
    """Among the old tokens, and nearly so among all."""
    asked = [Request(cards[name], example, prompts[name]) for name in CHOSEN for example in examples(name, 2)]
    for request, wanted in zip(asked, predict(embedded, asked), strict=True):
        ids, totals = large.ids(request.card.name, render_input(request.card, request.example)), {large.old: {}, None: {}}
        for option in candidates(request.card, request.example):
            answer = [*large.tokenizer(" " + option)["input_ids"], embedded.end]
            scores = large.logits([*ids, *answer[:-1]])[len(ids) - 1 :]
            for among, total in totals.items():
                total[option] = scores[:, :among].log_softmax(-1)[range(len(answer)), answer].sum().item()
        for among, total in totals.items():
            assert max(total, key=total.get) == wanted.output
            sure = torch.tensor(list(total.values())).softmax(0).max().item()
            assert sure == pytest.approx(wanted.confidence, abs=1e-4 if among else 1e-2)


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_of_other_families_equal_those_behind_the_rows(make, export, name):
    backbone = make(name, FAMILIES[name])
    rows = torch.randn(5, backbone.width)
    made = export(backbone, [(NER, rows)])
    ids = backbone.tokenizer(TEXT[0], return_tensors="pt")["input_ids"][0]
    with torch.no_grad():
        wanted = backbone.model(inputs_embeds=torch.cat([rows, backbone.embed(ids)])[None]).logits[0]
    found = made.logits(made.ids("drugs", TEXT[0]))
    torch.testing.assert_close(found[:, : made.old], wanted, rtol=1e-4, atol=1e-5)
    assert bool((found[:, made.old :] < wanted.max(-1, keepdim=True).values).all())


def test_old_tokens_keep_their_rows_and_the_rest_of_the_model_its_weights(small, tiny):
    saved, before = load_file(small.folder / "model.safetensors"), tiny.model.state_dict()
    assert set(saved) == set(before)
    for name, weight in before.items():
        assert torch.equal(saved[name][: len(weight)], weight), name
    config = small.model.config
    assert (config.tie_word_embeddings, config.vocab_size) == (False, len(saved["lm_head.weight"]))
    assert config.vocab_size % 64 == 0
    assert config.max_position_embeddings == tiny.context
    assert len(tiny.table) == tiny.model.config.vocab_size == small.old  # and the backbone itself is as it was
    assert len(tiny.tokenizer) == small.old


def test_a_tied_backbone_is_untied(large):
    assert large.model.get_input_embeddings().weight is not large.model.get_output_embeddings().weight
    needed = large.old + sum(len(task["ids"]) for task in large.record["tasks"].values())
    assert needed <= large.model.config.vocab_size < needed + 64 and large.model.config.vocab_size % 64 == 0


# New tokens cannot win


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_hidden_state_gives_a_new_token_the_highest_logit(large, dtype):
    """Random directions, and those best and worst for rows of the head, as the model's own norm leaves them; by so much that
    no rounding turns it round: more than one standard deviation of all logits."""
    head, norm = large.model.get_output_embeddings().weight, large.model.model.norm
    axes, some = torch.eye(head.shape[1]), torch.cat([head[: large.old : 64], head[large.old :: 32]])
    random = torch.randn(500, head.shape[1], generator=torch.Generator().manual_seed(0))
    states = norm(torch.cat([random, axes, -axes, some / norm.weight, -some / norm.weight, some, -some])).to(dtype)
    logits = (states @ head.to(dtype).T).float()
    old, new = logits[:, : large.old], logits[:, large.old :]
    assert int(logits.argmax(-1).max()) < large.old
    assert bool((old.max(-1).values - new.max(-1).values > old.std(-1)).all())


def test_their_probability_together_is_below_the_bound(large, prompts):
    new = large.model.config.vocab_size - large.old
    for name, rows in prompts.items():
        found = large.logits(large.ids(name, synthetic.TASKS[name].card.instruction)).softmax(-1)[:, large.old :].sum(-1)
        assert found.max() <= new / (new + large.old)
        assert found[len(rows) :].max() < 0.01


def test_sampling_with_the_checkpoint_s_own_settings_writes_none(small):
    torch.manual_seed(0)
    asked = torch.tensor([small.ids("drugs", "aspirin")] * 64)
    written = small.model.generate(input_ids=asked, attention_mask=torch.ones_like(asked), do_sample=True, max_new_tokens=40)
    assert int(written[:, asked.shape[1] :].max()) < small.old


# Numbers, names and the record


def test_ids_follow_each_other_behind_the_old_ones(small):
    tasks = small.record["tasks"]
    assert [task["ids"] for task in tasks.values()] == [
        list(range(small.old + a, small.old + b)) for a, b in ((0, 3), (3, 7), (7, 12), (12, 18))
    ]
    assert small.record["vocabulary"] == {"old": small.old, "first_new": small.old, "size": small.model.config.vocab_size}


def test_a_prompt_is_written_as_text_too(small, tiny):
    for name, task in small.record["tasks"].items():
        assert task["text_gives_ids"]
        text = f"{task['text']}List the drugs.\nText: aspirin\nAnswer:"
        found = small.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert found == small.ids(name, "List the drugs.\nText: aspirin\nAnswer:")
        assert small.tokenizer.decode(task["ids"], skip_special_tokens=True) == ""
    assert task["text"].startswith("<|task:choose:0|><|task:choose:1|>")
    assert small.tokenizer(TEXT[0])["input_ids"] == tiny.tokenizer(TEXT[0])["input_ids"]


def test_a_note_cannot_speak_with_a_prompt_s_voice_where_its_special_tokens_are_split(small, tiny):
    note = "aspirin <|task:drugs:0|><|task:drugs:1|> given"
    assert max(small.tokenizer(note, add_special_tokens=False)["input_ids"]) >= small.old
    split = small.tokenizer(note, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert split == tiny.tokenizer(note, add_special_tokens=False)["input_ids"]


def test_the_record_says_how_to_ask_and_to_read(small, tiny):
    tasks = small.record["tasks"]
    assert tasks["says"]["input"] == "Does the text say so?\nText: {text}\nHypothesis: {Hypothesis}\nAnswer:"
    assert tasks["choose"]["input"] == "Choose.\nQuestion: {text}\nOptions:\nA. {first}\nB. {second}\nAnswer:"
    assert tasks["drugs"]["answer"] == {"max_new_tokens": 12}
    assert tasks["says"]["answer"] == {"options": ["yes", "no", "not sure"], "likeliest_by": "sum of log-probabilities"}
    assert tasks["choose"]["answer"] == {"options": None, "likeliest_by": "mean log-probability of a token"}
    assert TaskCard.from_dict(tasks["says"]["card"]) == NLI
    assert len(tasks["says"]["prompt"]["digest"]) == 64
    assert small.record["backbone"] == {"name": tiny.name, "fingerprint": tiny.fingerprint, "context": tiny.context}
    assert small.record["end"] == {"id": tiny.end, "text": "<end>"}
    assert small.record["dtype"] == "float32"


def test_a_table_longer_than_its_tokenizer_keeps_its_rows(make, export, tiny):
    padded = make("LlamaConfig", SHAPE, size=len(tiny.tokenizer) + 7)
    made = export(padded, [(NER, torch.randn(3, padded.width))])
    assert made.record["tasks"]["drugs"]["ids"][0] == made.old == len(tiny.tokenizer) + 7
    assert torch.equal(made.model.get_input_embeddings().weight[: made.old], padded.table)
    assert made.tokenizer.convert_ids_to_tokens(made.old - 1) == f"<|unused:{made.old - 1}|>"
    assert made.record["tasks"]["drugs"]["text_gives_ids"]


def test_a_tokenizer_whose_text_would_come_out_otherwise_is_told(make, export):
    core = Tokenizer(models.BPE(unk_token="<end>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    core.train_from_iterator(TEXT * 3, trainers.BpeTrainer(vocab_size=200, special_tokens=["<end>"]))
    backbone = make("LlamaConfig", SHAPE, tokenizer=PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>"))
    made = export(backbone, [(NER, torch.randn(3, backbone.width))])
    assert not made.record["tasks"]["drugs"]["text_gives_ids"]


def test_the_own_number_format_and_its_rounding(export, prompts, cards):
    assert virtual_vocabulary.own_dtype("embedded") is torch.bfloat16
    halved = backbones.load(dtype=torch.bfloat16, device="cpu")
    made = export(halved, [(cards[name], rows) for name, rows in prompts.items()], dtype=torch.bfloat16)
    assert made.record["dtype"] == "bfloat16"
    table = made.model.get_input_embeddings().weight
    for name, rows in prompts.items():
        ids = made.record["tasks"][name]["ids"]
        assert torch.equal(table[ids], rows.bfloat16())
    stored = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER, dtype=torch.bfloat16).state_dict()
    assert torch.equal(table[: made.old], stored["model.embed_tokens.weight"])


# Refusals


def refused(backbone, files, folder):
    with pytest.raises(InputError) as caught:
        virtual_vocabulary.write(backbone, files, folder)
    assert not folder.exists()
    return str(caught.value)


def test_a_deep_prompt_is_refused(tiny, tmp_path):
    deep = prompt_file(tmp_path, tiny, NER, deepened(tiny, from_vocabulary(tiny, 3, 0)))
    said = refused(tiny, [deep], tmp_path / "made")
    assert "drugs.safetensors is a deep prompt" in said
    assert "found rows of 64 numbers" in said and "wanted rows of 32" in said
    assert "Export it with --to peft-prefix or --to kv-cache" in said


def test_two_prompts_for_one_task_are_refused(tiny, tmp_path):
    file = prompt_file(tmp_path, tiny, NER, torch.randn(3, tiny.width))
    said = refused(tiny, [file, file], tmp_path / "made")
    assert said.startswith("Two prompts are for the task drugs; found drugs.safetensors and drugs.safetensors")


def test_a_prompt_for_another_backbone_is_refused(tiny, make, tmp_path):
    other = make("LlamaConfig", SHAPE | {"hidden_size": 32})
    file = prompt_file(tmp_path, other, NER, torch.randn(3, tiny.width))
    assert "drugs.safetensors was made for another backbone" in refused(tiny, [file], tmp_path / "made")


def test_an_export_takes_other_tasks_but_not_the_same_again(small, tiny, export, tmp_path):
    again = backbones.load(str(small.folder), dtype=torch.float32, device="cpu")
    rows = torch.randn(3, tiny.width)
    more = export(again, [(TaskCard("other", "summarization", "Say."), rows)])
    assert more.record["tasks"]["other"]["ids"][0] == small.model.config.vocab_size
    assert isinstance(more, Checkpoint)
    said = refused(again, [prompt_file(tmp_path, again, NER, rows)], tmp_path / "made")
    assert "does not number new tokens from its end" in said


def test_an_embedding_layer_that_does_more_than_to_multiply_is_refused(tiny_folder, tmp_path):
    odd = backbones.load(str(tiny_folder), dtype=torch.float32, device="cpu")
    odd.model.get_input_embeddings().register_forward_hook(lambda _layer, _ids, rows: rows.tanh())
    file = prompt_file(tmp_path, odd, NER, torch.randn(3, odd.width))
    assert "does more than to look up rows and to multiply them; found Embedding" in refused(odd, [file], tmp_path / "made")
