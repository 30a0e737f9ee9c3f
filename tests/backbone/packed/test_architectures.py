"""Packed rows on the attention of other model families, and the plain way where a family has something else."""

import pytest
import torch
import transformers

from mpdd.backbone.model import load
from mpdd.data.batch import Encoded, collate
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import render_input
from mpdd.inference.predict import Request, predict
from mpdd.training.forward import forward, forward_attached

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
    def of(name, options):
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
    backbone = make(name, PACKED[name])
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
    backbone = make(name, (PACKED | PLAIN)[name])
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
