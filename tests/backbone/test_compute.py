"""Compiled and recomputed layers give what plain ones give; quantized weights come close and let gradients through."""

import importlib.util

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from mpdd.backbone import compute
from mpdd.backbone.model import load
from mpdd.data.batch import Encoded
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.errors import InputError, MpddError
from mpdd.inference.predict import Request, predict
from mpdd.training import baselines
from mpdd.training.passes import Row, add_gradients
from tests.conftest import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("compute") / "deep", seed=0, layers=4)


def rows():
    generator = torch.Generator().manual_seed(0)
    sizes = (3, 17, 9, 30, 5)
    return [
        Row(Encoded("t", tuple(torch.randint(3, 60, (n,), generator=generator).tolist()), (7, 8, 9)), "p", 0.2) for n in sizes
    ]


def gradient(backbone):
    prompt = torch.nn.Parameter(torch.randn(5, backbone.width, generator=torch.Generator().manual_seed(1)))
    losses = add_gradients(backbone, rows(), {"p": prompt * 1.0}, all_layers=True)["loss"]
    return losses.detach(), prompt.grad


def answers(backbone, count=3):
    card = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=9)
    prompt = torch.randn(4, backbone.width, generator=torch.Generator().manual_seed(2))
    texts = ["aspirin given", "fever and cough", "one two aspirin ibuprofen given text none"]
    return [p.output for p in predict(backbone, [Request(card, Example(t, t, t, Answer()), prompt) for t in texts[:count]])]


def both(folder, **options):
    return compute.load_backbone(str(folder), dtype="fp32"), compute.load_backbone(str(folder), dtype="fp32", **options)


def assert_same_gradient(plain, changed):
    for found, wanted in zip(gradient(changed), gradient(plain), strict=True):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()


def test_losses_gradients_and_answers_are_those_of_plain_layers(folder):
    plain, changed = both(folder, gradient_checkpointing=True)
    assert_same_gradient(plain, changed)
    assert answers(changed) == answers(plain)


@pytest.mark.e2e
def test_compiled_layers_give_what_plain_ones_give(tmp_path):
    """Machine code takes a minute to make. A first layer and a last one differ, so there is one between them. With layers that
    are computed again a compiled layer more is tried for its gradient; answers take the same way with them and without."""
    torch._dynamo.reset()
    plain, changed = both(make_model(tmp_path / "three", seed=0, layers=3), compile=True)
    assert_same_gradient(plain, changed)
    assert answers(changed) == answers(plain)
    assert_same_gradient(*both(make_model(tmp_path / "two", seed=0), compile=True, gradient_checkpointing=True))


def test_recomputed_layers_keep_less_for_the_backward_pass(folder):
    def kept(backbone):
        sizes = []
        with saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            gradient(backbone)
        return sum(sizes)

    plain, changed = load(str(folder)), compute.load_backbone(str(folder), gradient_checkpointing=True)
    assert kept(changed) < 0.6 * kept(plain)


def test_lora_trains_through_recomputed_layers(folder):
    def gradients(backbone):
        with baselines.lora(backbone, rank=2, seed=0) as inside:
            add_gradients(backbone, [Row(row.encoded, "p", row.weight) for row in rows()], {"p": None})
            return {name: t.grad.clone() for name, t in inside.tensors.items()}

    plain, changed = (compute.load_backbone(str(folder), dtype="fp32", gradient_checkpointing=again) for again in (False, True))
    for found, wanted in zip(gradients(changed).values(), gradients(plain).values(), strict=True):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_the_element_type_is_the_one_asked_for(folder, dtype):
    assert compute.load_backbone(str(folder), dtype=dtype).table.dtype == compute.DTYPES[dtype]


def test_a_model_without_a_list_of_layers_is_refused(folder):
    from dataclasses import replace
    from types import SimpleNamespace

    odd = replace(load(str(folder)), model=SimpleNamespace(get_decoder=lambda: torch.nn.Linear(1, 1)))
    with pytest.raises(InputError, match="found Linear"):
        compute.recompute_layers(odd)


def test_a_missing_library_is_named_with_the_way_to_get_it(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MpddError, match=r"pip install 'mpdd\[quantize\]'"):
        compute.load_backbone(str(folder), quantize="int8")


@pytest.fixture(scope="module")
def embedded():
    """The embedded backbone with its own weights, and the gradient of a prompt for it."""
    plain = compute.load_backbone("embedded")
    return plain, gradient(plain)[1]


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_quantized_weights_come_close_and_let_gradients_through(quantize, embedded):
    (plain, wanted), small = embedded, compute.load_backbone("embedded", quantize=quantize)
    answers(small, 1)  # a pass without gradient must not spoil those with one
    assert small.fingerprint == plain.fingerprint
    assert small.parameters == plain.parameters
    _, ours = gradient(small)
    assert torch.nn.functional.cosine_similarity(ours.flatten(), wanted.flatten(), dim=0) > 0.9
    assert small.model.get_memory_footprint() < 0.8 * plain.model.get_memory_footprint()
