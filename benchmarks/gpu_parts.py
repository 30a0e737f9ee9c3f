"""The parts of `gpu`: a step of each stage, mixed prediction, the same by peers, and what explains their speed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks import device, peft_step, prediction
from benchmarks.gpu_case import SMALL, TOP_K, Case, Found, recomputing, requests
from benchmarks.gpu_cost import operations, queries, tokens_seen, trained, weights_read
from mpdd.backbone import model as backbones
from mpdd.backbone.model import Backbone
from mpdd.backbone.packed.attention import Wanted
from mpdd.backbone.packed.support import why_padded
from mpdd.data.mixture import mixed
from mpdd.errors import MpddError
from mpdd.inference.predict import ask, predict
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.pack import Text, pack
from mpdd.training.distil import Weights, distil
from mpdd.training.loop import Plan
from mpdd.training.one_task import adapt, teach
from mpdd.training.passes import TOKENS, Row, add_gradients, row_losses
from mpdd.training.targets import cached
from mpdd.training.tune import Data


def loading_checks(case: Case) -> Found:
    """The two trials of loading a backbone: whether its logits are the model's own, and whether rows can be laid end to end."""
    found: Found = {"packs": not why_padded(case.backbone), "own_logits": True}
    try:
        backbones._require_own_logits(case.backbone)
    except MpddError:
        found["own_logits"] = False
    return found


def prompt_tuning_step(case: Case, count: int = 0, again: bool = True) -> Found:
    """A step of stage 1 on `count` rows of one task, with layers computed again or not."""
    rows = case.rows(count or case.sizes.batch)
    plan, data, starts = Plan(1, len(rows), every=1), {"task-0": Data(rows, rows[:1])}, {"task-0": case.prompts["task-0"]}

    def step() -> float:
        return teach(case.backbone, data, starts, plan, lrs=[1e-3], seed=case.seed)["task-0"][0].fitted.seconds

    with recomputing(case.backbone, again):
        seconds = device.timed(step, case.sizes.repeats)
    return trained(case, seconds, [Row(row, "task-0") for row in rows], again)


def adaptation_step(case: Case) -> Found:
    """A step of stage 3: the shared prompt and the factors of a task."""
    rows = case.rows(case.sizes.batch)
    meta = MetaPrompt(case.prompts["task-0"], list(case.prompts)).to(case.backbone.device)
    plan, data = Plan(1, len(rows), every=1), Data(rows, rows[:1])

    def step() -> float:
        tried = adapt(case.backbone, data, meta, "target", plan, mode="all", lrs=[1e-3], seed=case.seed)
        return tried[0].fitted.seconds

    with recomputing(case.backbone):
        seconds = device.timed(step, case.sizes.repeats)
    return trained(case, seconds, [Row(row, "task-0") for row in rows])


def distillation_step(case: Case) -> Found:
    """A step of stage 2 from kept answers of the teachers, each task's its own, and what keeping them costs once."""
    data, size, weights = case.data(), case.sizes.batch, Weights(top_k=TOP_K)
    drawn = [Row(row, row.task) for row in mixed({n: d.train for n, d in data.items()}, size=size, step=0, seed=case.seed)]
    with tempfile.TemporaryDirectory() as folder, recomputing(case.backbone):

        def asking() -> float:
            with tempfile.TemporaryDirectory(dir=folder) as new:
                return device.clock(
                    lambda: cached(Path(new), case.backbone, case.prompts, drawn, k=TOP_K, temperature=weights.temperature)
                )

        def step() -> float:
            shared = torch.stack(list(case.prompts.values())).mean(0)
            meta = MetaPrompt(shared, list(case.prompts)).to(case.backbone.device)
            return distil(
                case.backbone, data, case.prompts, meta, Plan(1, size, every=1), lr_shared=1e-3, lr_factors=1e-3,
                weights=weights, seed=case.seed, cache=Path(folder) / "kept",
            ).seconds  # fmt: skip

        asked = device.timed(asking, 1)
        seconds = device.timed(step, case.sizes.repeats)
    return {**trained(case, seconds, drawn), "tasks_drawn": len({row.prompt for row in drawn}), "asking_seconds": asked}


def mixed_prediction(case: Case) -> Found:
    """Requests of all tasks in one batch: read and one token written, then all tokens written; the difference is writing."""
    sizes, backbone = case.sizes, case.backbone
    answers = []

    def run(most: int) -> Callable[[], float]:
        asked = requests(case, most)
        return lambda: device.clock(lambda: answers.append(predict(backbone, asked)))

    first, whole = device.timed(run(1), sizes.repeats), device.timed(run(sizes.written), sizes.repeats)
    written = sum(len(prediction.tokens) for prediction in answers[-1])
    asked = [ask(backbone.vocabulary, request) for request in requests(case, 1)]
    products, attending, tokens = operations(case, [Text(one.ids, one.prompt) for one in asked], 1)
    reading, step = first["median"], (whole["median"] - first["median"]) / max(1, sizes.written - 1)
    a_row = tokens_seen(case, [len(one.ids) for one in asked])
    moved = weights_read(case, sizes.requests) * backbone.table.element_size() + sizes.requests * a_row * backbone.kv_bytes
    best = {"product": float("nan"), "copy": float("nan"), **case.best}
    return {
        "seconds": whole,
        "requests": sizes.requests,
        "tasks": sizes.tasks,
        "tokens_read": tokens,
        "tokens_written": written,
        "tokens_written_wanted": sizes.requests * sizes.written,
        "reading_seconds": first,
        "utilisation": (products + attending) / reading / best["product"],
        "notes_read_a_second": sizes.requests / reading,
        "foretold_notes_a_second": best["product"] / (2 * case.shape.active * tokens / sizes.requests),
        "seconds_a_token_of_all_rows": step,
        "tokens_written_a_second": sizes.requests / step,
        "bytes_moved_a_token_of_all_rows": moved,
        "share_of_copy": moved / step / best["copy"],
    }


def agreement(case: Case) -> Found:
    """Rows laid end to end against each padded with its own copy of the prompt, which is transformers' own attention: losses and
    gradients of the prompt."""
    rows = [Row(row, "task-0", 0.5) for row in case.rows(2)]

    def run(backbone: Backbone) -> tuple[Tensor, Tensor]:
        prompt = case.prompts["task-0"].clone().requires_grad_()
        losses = row_losses(backbone, rows, {"task-0": prompt})
        add_gradients(backbone, rows, {"task-0": prompt})
        assert prompt.grad is not None
        return losses, prompt.grad

    with recomputing(case.backbone):
        ours, padded = run(case.backbone), run(replace(case.backbone, packs=False))
    return {
        "losses": [found[0].tolist() for found in (ours, padded)],
        "gradient_cosine": float(torch.cosine_similarity(ours[1].flatten(), padded[1].flatten(), 0)),
        "gradient_relative_difference": float((ours[1] - padded[1]).norm() / padded[1].norm()),
    }


def full_pass(case: Case) -> Found:
    """A step on as many rows as go through at once, for which `mpdd check` foretells memory."""
    return prompt_tuning_step(case, 2 * case.sizes.batch if case.sizes is SMALL else TOKENS // case.sizes.text)


def kept_layers(case: Case) -> Found:
    """A step without layers computed again."""
    return prompt_tuning_step(case, again=False)


def attention(case: Case) -> Found:
    """Attention of one layer in a step, forward and backward: as it is, and the least there could be (causal rows alone,
    nothing shared)."""
    backbone, rows = case.backbone, case.rows(case.sizes.batch)
    packed = pack(backbone, [Text(row.input_ids, case.prompts["task-0"]) for row in rows])
    (heads, size), groups = queries(backbone), backbone.model.config.get_text_config().num_key_value_heads
    sinks = getattr(backbone.layers[0].self_attn, "sinks", None)  # type: ignore[index]
    wanted, tokens = Wanted(size**-0.5, None, sinks), len(packed.positions)

    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, device=backbone.device, dtype=backbone.table.dtype, requires_grad=True)

    def as_it_is() -> float:
        given = made(heads, tokens, size), made(groups, tokens, size), made(groups, tokens, size)
        return device.clock(lambda: _both_ways(packed.layout.attend(0, *given, wanted), given))

    def causal_rows_alone() -> float:
        query = made(len(rows), heads, case.sizes.text, size)
        key, value = (made(len(rows), groups, case.sizes.text, size) for _ in range(2))
        attend = partial(scaled_dot_product_attention, is_causal=True, enable_gqa=True)
        return device.clock(lambda: _both_ways(attend(query, key, value), (query, key, value)))

    ours, least = (device.timed(run, case.sizes.repeats, 1.0) for run in (as_it_is, causal_rows_alone))
    return {"as_it_is": ours, "causal_rows_alone": least, "seconds": ours, "profile": device.kernels(as_it_is, 8)}


def _both_ways(out: Tensor, given: Sequence[Tensor]) -> None:
    torch.autograd.grad(out, given, torch.ones_like(out))


def training_kernels(case: Case) -> Found:
    """Which kernels a step of training runs."""
    rows = [Row(row, "task-0", 1 / case.sizes.batch) for row in case.rows(case.sizes.batch)]
    prompt = case.prompts["task-0"].clone().requires_grad_()
    with recomputing(case.backbone):
        return {"profile": device.kernels(lambda: add_gradients(case.backbone, rows, {"task-0": prompt}))}


def prediction_kernels(case: Case) -> Found:
    """Which kernels reading and writing four tokens run."""
    asked = requests(case, 4)
    return {"profile": device.kernels(lambda: predict(case.backbone, asked))}


def peer_step(case: Case) -> Found:
    """The same rows by PEFT and the HF Trainer in one step of its loop, layers kept, on the same model."""
    rows = [row for _ in range(2) for row in case.rows(case.sizes.batch)]
    run = partial(peft_step.trainer, case.backbone.model, {}, case.backbone, rows, now=device.now, size=case.sizes.batch)
    seconds = device.timed(lambda: run() / 2, case.sizes.repeats, 20.0)
    return {"seconds": seconds, "rows": case.sizes.batch}


def peer_prediction(case: Case) -> Found:
    """The same requests by transformers' `generate`: embeddings with prompts in front, tasks mixed, one padded batch."""
    stream = prediction.Stream(case.backbone, case.backbone.model, requests(case, case.sizes.written))
    run = partial(prediction.transformers_generate, case.sizes.requests, stream)
    written: list[int] = []
    seconds = device.timed(
        lambda: device.clock(lambda: written.append(sum(map(len, run())))), case.sizes.repeats, 20.0
    )  # fmt: skip
    return {"seconds": seconds, "requests": case.sizes.requests, "tokens_written": written[-1]}


PARTS: dict[str, Callable[[Case], Found]] = {
    "loading_checks": loading_checks,
    "prompt_tuning_step": prompt_tuning_step,
    "peer_step": peer_step,
    "distillation_step": distillation_step,
    "mixed_prediction": mixed_prediction,
    "peer_prediction": peer_prediction,
}
MORE: dict[str, Callable[[Case], Found]] = {
    "step_with_layers_kept": kept_layers,
    "step_of_a_full_pass": full_pass,
    "agreement_with_padding": agreement,
    "attention_of_a_layer": attention,
    "training_kernels": training_kernels,
    "prediction_kernels": prediction_kernels,
    "adaptation_step": adaptation_step,
}
