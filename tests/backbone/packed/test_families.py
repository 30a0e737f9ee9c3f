"""Each row of the table of families in docs/backbones.md is found again, and what users run adapts, predicts and exports."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from mpdd.backbone import vocabulary
from mpdd.backbone.model import load
from mpdd.data.batch import Encoded, collate
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import render_input
from mpdd.inference.predict import Request, predict
from mpdd.prompts.attach import attach
from mpdd.prompts.soft import deepened, from_random, from_vocabulary
from mpdd.training.forward import forward, forward_attached
from mpdd.training.loop import Plan
from mpdd.training.one_task import teach
from mpdd.training.tune import Data, best
from scripts import update_families
from scripts.families import FAMILIES
from tests.conftest import make_tokenizer

SCALED = {"Gemma": 8.0, "Gemma 3": 8.0, "MedGemma": 8.0, "Gemma 4": 8.0, "MiniCPM3": 12.0, "Falcon-H1": 3.0, "Granite": 1.0}
RUN = ("Gemma 3", "MedGemma", "Gemma 4", "Gemma 4 E", "Granite", "Cohere", "Qwen3.5")
NAMES = [family.title for family in FAMILIES]


@pytest.fixture(scope="module")
def tokenizer():
    """A small one. It has the token that the tokenizer classes of Qwen add where it is missing: real checkpoints have it."""
    return make_tokenizer(end="<|endoftext|>")


@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_the_row_of_the_table_is_found_again(family, tokenizer):
    if not family.is_installed:
        pytest.skip(f"this transformers has no {family.title}")
    assert update_families.row_of(family, tokenizer) == update_families.documented()[family.title]


def test_the_table_has_every_family_and_no_wrong_one():
    rows = update_families.documented()
    assert set(NAMES) <= set(rows) and not any("wrong" in row for row in rows.values())
    assert all("not in transformers" not in rows[name] for name in RUN)


@pytest.mark.parametrize("title", [*RUN, "Gemma 2", "Falcon-H1", "MiniCPM3"])
def test_logits_are_those_that_the_model_gives(built, title):
    backbone = built(title)
    ids = torch.tensor([[5, 9, 30, 7, 12, 40, 41, 8, 22]])
    with torch.no_grad():
        wanted = backbone.model(input_ids=ids).logits[0, :-1]
        row = tuple(ids[0].tolist())
        found = forward(backbone, collate([Encoded("a", row[:1], row[1:])], backbone.end), None).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("title", "scale"), SCALED.items())
def test_rows_are_what_the_embedding_layer_gives(built, title, scale):
    backbone = built(title)
    alone = vocabulary.load(backbone.name)
    ids = torch.arange(3, 40)
    torch.testing.assert_close(backbone.embed(ids), scale * backbone.table[ids])
    assert torch.equal(alone.embed(ids), backbone.embed(ids)) and alone.fingerprint == backbone.fingerprint
    started = from_vocabulary(backbone, 6, 0)
    assert all(bool((backbone.embed(torch.arange(len(backbone.tokenizer))) == row).all(1).any()) for row in started)
    drawn = from_random(backbone, 200, 0)
    assert drawn.std().item() == pytest.approx(scale * backbone.table.std().item(), rel=0.1)


@pytest.mark.parametrize("title", RUN)
def test_a_prompt_that_is_trained_makes_its_answer_likelier(built, title):
    backbone = built(title)
    card = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no"))
    rows = [Example(str(n), str(n), f"fever {n}", Answer(choice=1)) for n in range(4)]
    starts = {"says": from_vocabulary(backbone, 5, 0)}
    data = {"says": Data.of(backbone, card, rows, rows, 5)}
    trials = teach(backbone, data, starts, Plan(10, 4, every=5), lrs=[0.3, 0.01], seed=0)["says"]

    def of_no(prompt):
        answers = predict(backbone, [Request(card, row, prompt) for row in rows])
        return sum(a.confidence if a.output == "no" else 1 - a.confidence for a in answers) / len(rows)

    assert of_no(best(trials).trained().detach()) > of_no(starts["says"])


def test_only_the_text_part_is_read(built):
    backbone = built("MedGemma")
    whole = AutoModelForCausalLM.from_pretrained(backbone.name)
    assert type(backbone.model).__name__ == "Gemma3ForCausalLM" != type(whole).__name__
    assert backbone.parameters < whole.num_parameters()
    assert not any("vision" in name for name, _ in backbone.model.named_parameters())


# The padded path of backbones that cannot be packed: deep prompts in training and prediction, against the packed path.

ROWS = [Encoded("a", (5, 6, 7, 8, 9), (11, 12)), Encoded("b", (5, 6, 9), (13,)), Encoded("c", (5, 6, 7), (14, 15, 16))] * 2
CARDS = (
    TaskCard("drugs", "ner", "List the drugs.", labels=("Drug",), max_answer_tokens=7),
    TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no", "not sure")),
)


def deep(backbone, length, seed):
    return torch.randn(length, backbone.depth * backbone.width, generator=torch.Generator().manual_seed(seed))


def outcome(backbone):
    """Logits, hidden states and gradients of a batch under two deep prompts and one at the input."""
    prompts = {"a": deep(backbone, 4, 0), "b": deep(backbone, 2, 1), "c": from_vocabulary(backbone, 3, 0)}
    prompts = {name: prompt.requires_grad_() for name, prompt in prompts.items()}
    out = forward(backbone, collate(ROWS, backbone.end), [prompts[row.task] for row in ROWS], all_layers=True)
    loss = torch.nn.functional.cross_entropy(out.logits, collate(ROWS, backbone.end).targets) + out.layers.square().mean()
    return out, torch.autograd.grad(loss, list(prompts.values()))


@pytest.mark.parametrize("of", ["tiny", "qwen"])
def test_logits_states_and_gradients_of_deep_prompts_are_those_of_the_packed_path(tiny, qwen, of):
    backbone = {"tiny": tiny, "qwen": qwen}[of]
    assert backbone.packs
    wanted, wanted_gradients = outcome(backbone)
    found, gradients = outcome(replace(backbone, packs=False))
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.layers, wanted.layers, rtol=1e-4, atol=1e-5)
    for gradient, other in zip(gradients, wanted_gradients, strict=True):
        assert other.norm() > 0 and (gradient - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize(("of", "grounded"), [("tiny", False), ("tiny", True), ("qwen", False)])
def test_answers_and_their_probabilities_are_those_of_the_packed_path(tiny, qwen, of, grounded):
    backbone = {"tiny": tiny, "qwen": qwen}[of]
    prompts = (deep(backbone, 4, 0), deep(backbone, 1, 1), from_vocabulary(backbone, 3, 0), None)
    texts = ("aspirin given", "fever and cough, one two none")
    asked = [
        Request(card, Example(t, t, t, Answer()), prompt, grounded=grounded)
        for card in CARDS for t in texts for prompt in prompts
    ]  # fmt: skip
    for wanted, found in zip(predict(backbone, asked), predict(replace(backbone, packs=False), asked), strict=True):
        assert (found.output, [token for token, _ in found.tokens]) == (wanted.output, [token for token, _ in wanted.tokens])
        assert found.confidence == pytest.approx(wanted.confidence, rel=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_deep_rows_stand_where_their_prompt_stands(tiny, side):
    prompts = [deep(tiny, 3, 0), deep(tiny, 1, 1), from_vocabulary(tiny, 2, 0)]
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    attached = attach(prompts, tiny.embed(torch.randint(3, 60, mask.shape)), mask, side=side)
    flat = attached.embeddings.flatten(0, 1)
    at_input = torch.cat([prompt[:, : tiny.width] for prompt in prompts[:2]])
    assert torch.equal(flat[attached.deep.places], at_input)
    assert torch.equal(attached.deep.rows.flatten(1), torch.cat([prompt[:, tiny.width :] for prompt in prompts[:2]]))


def test_a_deepened_prompt_does_what_the_prompt_at_the_input_does(odd):
    rows = from_vocabulary(odd, 4, 0)
    batch = collate([Encoded("a", (5, 6, 7), (8, 9)), Encoded("a", (5,), (7, 9, 3))], odd.end)
    found = forward(odd, batch, [deepened(odd, rows)] * 2).logits
    torch.testing.assert_close(found, forward(odd, batch, [rows] * 2).logits, rtol=1e-4, atol=1e-4)
    card, text = CARDS[0], "aspirin given"
    shallow, below = (
        predict(odd, [Request(card, Example(text, text, text, Answer()), p)])[0] for p in (rows, deepened(odd, rows))
    )
    assert (shallow.output, shallow.confidence) == (below.output, pytest.approx(below.confidence, rel=1e-3))


# Packed rows on the attention of other model families, and the plain way where a family has something else.

SHAPE = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
    "max_position_embeddings": 512, "tie_word_embeddings": False,
}  # fmt: skip
PACKED = {
    "Qwen3Config": SHAPE | {"head_dim": 16},
    "MistralConfig": SHAPE | {"sliding_window": 6, "head_dim": 16},
    "GptOssConfig": SHAPE | {"sliding_window": 6, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    "GPT2Config": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "PhiConfig": SHAPE | {"num_key_value_heads": 4},
    "Gemma2Config": SHAPE | {"sliding_window": 6, "head_dim": 16, "attn_logit_softcapping": 0.5},
}
PLAIN = {
    "BloomConfig": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "MambaConfig": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 4},
}


@pytest.fixture(scope="module")
def make(tiny, tmp_path_factory):
    @cache
    def of(name):
        options = (PACKED | PLAIN)[name]
        torch.manual_seed(0)
        ids = {"vocab_size": len(tiny.tokenizer), "bos_token_id": None, "eos_token_id": tiny.end, "pad_token_id": tiny.end}
        config = getattr(transformers, name)(**options, **ids)
        model = transformers.AutoModelForCausalLM.from_config(config).float()
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        tiny.tokenizer.save_pretrained(folder)
        return load(str(folder), dtype=torch.float32, device="cpu")

    return of


def rows(count):
    generator = torch.Generator().manual_seed(0)

    def ids(size):
        return torch.randint(3, 60, (size,), generator=generator).tolist()

    return [Encoded("ab"[i % 2], (5, 6, *ids(3 + 4 * i)), tuple(ids(2))) for i in range(count)]


def requests(backbone):
    ner = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=9)
    nli = TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no", "not sure"))
    prompts = {"drugs": torch.randn(5, backbone.width), "says": torch.randn(3, backbone.width)}
    texts = ["aspirin given", "fever and cough", "one two aspirin ibuprofen given text none"]
    return [Request(card, Example(text, text, text, Answer()), prompts[card.name]) for card in (ner, nli) for text in texts]


@pytest.mark.parametrize("name", PACKED)
def test_packs_and_equals_the_reference(make, name):
    backbone = make(name)
    assert backbone.packs
    batch, found = collate(rows(6), backbone.end), []
    for function in (forward, forward_attached):
        generator = torch.Generator().manual_seed(1)
        prompts = [(0.3 * torch.randn(n, backbone.width, generator=generator)).requires_grad_() for n in (5, 3)]
        out = function(backbone, batch, [prompts[i % 2] for i in range(6)], all_layers=True)
        (torch.nn.functional.cross_entropy(out.logits, batch.targets) + out.layers.square().mean()).backward()
        found.append((out, [prompt.grad for prompt in prompts]))
    (ours, gradients), (wanted, wanted_gradients) = found
    torch.testing.assert_close(ours.logits, wanted.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.layers, wanted.layers, rtol=1e-4, atol=1e-5)
    for gradient, other in zip(gradients, wanted_gradients, strict=True):
        assert (gradient - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize("name", PACKED | PLAIN)
def test_generates_what_transformers_generates(make, name):
    backbone = make(name)
    assert backbone.packs == (name in PACKED)
    asked = requests(backbone)
    together = [prediction.output for prediction in predict(backbone, asked)]
    assert together == [predict(backbone, [request])[0].output for request in asked]
    for request, output in list(zip(asked, together, strict=True))[:3]:
        ids = backbone.tokenizer(render_input(request.card, request.example), return_tensors="pt")
        embeddings = torch.cat([request.prompt[None], backbone.embed(ids["input_ids"])], dim=1)
        expected = backbone.model.generate(
            inputs_embeds=embeddings, attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long), max_new_tokens=9,
            do_sample=False, pad_token_id=backbone.end,
        )  # fmt: skip
        assert output == backbone.tokenizer.decode(expected[0], skip_special_tokens=True).strip()
