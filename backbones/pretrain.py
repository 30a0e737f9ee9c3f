"""Pretrains a small Llama from raw text: `python -m backbones.pretrain CONFIG.toml --text DIR --data DIR --work DIR`.

Resumable to the step (a checkpoint every `every` steps); each step's batch depends on the seed and the step alone. On a
GPU where there is one: `--prepare` here, take the work folder there, and go on there without `--text` and `--data`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from backbones import corpus as text_corpus
from backbones import tokenizer as bpe
from backbones.ahead import ahead
from backbones.stream import ANSWER_WEIGHT, Corpus, Skills, batch, tokenize

EVERY = 100
HELD_OUT = 50  # every 50th document of a corpus is never trained on
SHARD = "16MB"  # of weights as they are written
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def main() -> None:
    """Run, or go on with, the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--text", type=Path, help="folder of *.jsonl.xz; with --data at the first start")
    parser.add_argument("--data", type=Path, help="folder of the benchmark's files, for the leak filter")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--start", type=Path, help="work folder of the recipe that this one goes on from (`after`)")
    parser.add_argument("--prepare", action="store_true", help="only filter the text and train the tokenizer")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches; 0: a thread, enough for two cores")
    parser.add_argument("--stop", type=int, help="leave after this step, to go on another time")
    args = parser.parse_args()
    config = tomllib.loads(args.config.read_text())
    if ("after" in config) != (args.start is not None):
        parser.error(f"--start is for a recipe that names another one in `after`; {args.config.name} does not agree")
    if args.start and not (args.work / "tokenizer").exists():
        begin_from(args.start, args.work)
    if not (args.work / "tokenizer").exists():
        if not (args.text and args.data):
            parser.error(
                f"{args.work} has no filtered text yet: --text and --data say where the text and the benchmark's files are"
            )
        prepare(config, args.text, args.data, args.work)
    if not args.prepare:
        train, held_out = read(config, args.work)
        pretrain(config, train, held_out, args.work, args.workers, args.stop)


def begin_from(former: Path, work: Path) -> None:
    """Take over a finished recipe's text, tokenizer and weights, not its optimizers' state nor its skills; from step 0."""
    work.mkdir(parents=True, exist_ok=True)
    for name in ("corpus.json", "train.jsonl.xz", "held_out.jsonl.xz"):
        shutil.copyfile(former / name, work / name)
    shutil.copytree(former / "model", work / "start", dirs_exist_ok=True)
    shutil.copytree(former / "tokenizer", work / "tokenizer")


def prepare(config: Mapping[str, Any], text: Path, data: Path, work: Path) -> None:
    """Filter the text and train the tokenizer (five minutes on two cores); the work folder has all that a run reads then."""
    work.mkdir(parents=True, exist_ok=True)
    documents, counts = text_corpus.clean(text_corpus.read(text), text_corpus.target_runs(data))
    (work / "corpus.json").write_text(json.dumps(counts, indent=1))
    kept = [d for i, d in enumerate(documents) if i % HELD_OUT]
    if answers := config.get("without_answers_of"):
        kept = text_corpus.without_answers(kept, answers)
    text_corpus.save(kept, work / "train.jsonl.xz")
    text_corpus.save(documents[::HELD_OUT], work / "held_out.jsonl.xz")
    bpe.train(
        (d.text for i, d in enumerate(kept) if d.source != "trials" or i % 3 == 0), config["vocabulary"], work / "tokenizer"
    )


def read(config: Mapping[str, Any], work: Path) -> tuple[Corpus, Corpus]:
    """What is trained on and what is held out, encoded."""
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    kept, held_out = (text_corpus.load(work / f"{part}.jsonl.xz") for part in ("train", "held_out"))
    return tokenize(kept, tokenizer, Skills(**config.get("skills", {}))), tokenize(held_out, tokenizer)


def pretrain(
    config: Mapping[str, Any], train: Corpus, held_out: Corpus, work: Path, workers: int = 0, stop: int | None = None
) -> None:
    """The training loop: bf16 forward and backward, fp32 master weights, Muon for matrices and AdamW for the rest."""
    torch.manual_seed(config["seed"])
    total = sum(phase["steps"] for phase in config["phase"])
    first = _step_of(work)
    coming = ahead(partial(_batch_at, config, train), range(first, min(total, stop or total)), workers)
    tokenizer = train.tokenizer
    model = _new(config, tokenizer, work).to(DEVICE)
    skills = SoftTokens.drawn(model.get_input_embeddings().weight.detach(), train.skills)
    parameters = [*model.parameters(), *skills.parameters()]
    master = [p.detach().clone().float() for p in parameters]
    model.to(torch.bfloat16)
    skills.to(torch.bfloat16)
    optimizers = _optimizers(master, len(list(model.parameters())), config["optimizer"])
    _resume(work, master, optimizers)
    loss_of = _compiled(model, skills, config.get("dropout", 0.0))
    began = time.perf_counter()
    for step, parts in zip(range(first, total), coming, strict=False):
        _to_model(parameters, master)
        loss = loss_of(*map(_on_device, parts))
        loss.backward()  # type: ignore[no-untyped-call]
        _update(parameters, master, optimizers, _rate(step, total, config["optimizer"]))
        if step % 10 == 0:
            value, now = loss.item(), time.perf_counter()
            done = parts[0].size * (min(10, step - first) or 1)
            _log(work, step=step, loss=round(value, 4), tokens_per_second=round(done / (now - began)))
            began = now
        last = step + 1 in (total, stop)
        if (step + 1) % config.get("every", EVERY) == 0 or last:
            _save(work, step + 1, master, optimizers)
            _to_model(parameters, master)
            with torch.compiler.set_stance("force_eager"):
                _log(work, step=step, **evaluate(model, held_out, config))
            for folder in ("model", f"model-{step + 1}"):  # the last state, and each that was measured
                _export(model, tokenizer, work / folder)


def _new(config: Mapping[str, Any], tokenizer: Any, work: Path) -> Any:
    """A model with random weights, or with those that the recipe goes on from."""
    if "after" in config:
        return LlamaForCausalLM.from_pretrained(work / "start", dtype=torch.float32)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=config["vocabulary"], tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **config["model"],
    ))  # fmt: skip


@torch.inference_mode()
def evaluate(model: Any, held_out: Corpus, config: Mapping[str, Any]) -> dict[str, float]:
    """Held-out bits per byte by corpus, and the loss in nats on copies and on text-to-text answers."""
    found = {}
    loss_of = _loss(model)
    for source in config["weights"]:
        ids, goal, weight = batch(held_out, seed=1, step=0, rows=6, length=512, mix={"lm": 1.0}, weights={source: 1.0})
        size = sum(len(str(held_out.tokenizer.decode(row)).encode()) for row in goal)
        found[f"bpb_{source}"] = loss_of(*map(_on_device, (ids, goal, weight))).item() * goal.size / math.log(2) / size
    for kind, scored in (("copy", 1.0), ("task", ANSWER_WEIGHT), ("shots", ANSWER_WEIGHT)):
        parts = batch(held_out, seed=2, step=0, rows=12, length=512, mix={kind: 1.0}, weights=config["weights"])
        weight = (parts[2] == scored).astype(np.float32)
        found[f"{kind}_loss"] = loss_of(*map(_on_device, (*parts[:2], weight))).item()
    return {name: round(value, 4) for name, value in found.items()}


class SoftTokens(torch.nn.Module):
    """The soft tokens of all skills [skills * length, width]: half are free, half a shared prompt under factors, P o (u v^T)."""

    def __init__(self, free: torch.Tensor, shared: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> None:
        super().__init__()
        self.free, self.shared, self.u, self.v = map(torch.nn.Parameter, (free, shared, u, v))

    @classmethod
    def drawn(cls, vocabulary: torch.Tensor, skills: Skills) -> SoftTokens:
        """Start at random words, and factors near one."""
        device, width = vocabulary.device, vocabulary.shape[1]
        factored = skills.count // 2
        drawn = torch.randint(len(vocabulary), ((skills.count - factored + 1) * skills.length,), device=device)
        rows = vocabulary[drawn].view(-1, skills.length, width).clone() if skills.count else vocabulary.new_zeros(1, 0, width)
        factors = [1 + 0.3 * torch.randn(factored, size, device=device) for size in (skills.length, width)]
        return cls(rows[1:], rows[0], *factors)

    def forward(self) -> torch.Tensor:
        """All rows, one skill behind the other."""
        made = self.shared * self.u.unsqueeze(2) * self.v.unsqueeze(1)
        return torch.cat([self.free, made]).flatten(0, 1)


def _cross_entropy(hidden: torch.Tensor, words: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    losses = functional.cross_entropy((hidden @ words.T).float(), targets, reduction="none")
    return (losses * weights).sum() / weights.sum()


def _loss(
    model: Any,
    skills: SoftTokens | None = None,
    dropout: float = 0.0,
    over_words: Callable[..., torch.Tensor] = _cross_entropy,
) -> Callable[..., torch.Tensor]:
    """The weighted loss; the rows of `skills` are the embeddings of ids from the end of the vocabulary on.

    `dropout` is the share of input tokens whose embedding is zero, so that no text can be known by heart word for word.
    """
    words = model.get_input_embeddings().weight

    def weighted(inputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        embedded = functional.embedding(inputs, torch.cat([words, skills()]) if skills else words)
        if dropout:
            seen = torch.rand(embedded.shape[:2], device=embedded.device) >= dropout
            embedded = embedded * seen.unsqueeze(2)
        targets = torch.where(targets < len(words), targets, 0)  # of weight 0: a soft token is never foretold
        hidden = model.model(inputs_embeds=embedded, use_cache=False).last_hidden_state.flatten(0, 1)
        return over_words(hidden, words, targets.flatten(), weights.flatten())

    return weighted


def _compiled(model: Any, skills: SoftTokens, dropout: float) -> Callable[..., torch.Tensor]:
    """The loss as one graph on a CPU; on a GPU in parts, of which each layer's is compiled once for all layers."""
    if DEVICE == "cpu":
        return torch.compile(_loss(model, skills, dropout), dynamic=False)
    for layer in model.model.layers:
        layer.compile(dynamic=False)
    return _loss(model, skills, dropout, torch.compile(_cross_entropy, dynamic=False))


def _on_device(array: np.ndarray) -> torch.Tensor:
    part = torch.from_numpy(array)
    return part.to(DEVICE, torch.float32 if part.is_floating_point() else torch.int64, non_blocking=True)


def _batch_at(config: Mapping[str, Any], train: Corpus, step: int) -> Arrays:
    first = 0
    for phase in config["phase"]:
        if step < first + phase["steps"]:
            break
        first += phase["steps"]
    length = phase["length"]
    rows = config["rows_of_tokens"] // length
    return batch(train, seed=config["seed"], step=step, rows=rows, length=length, mix=phase["mix"], weights=config["weights"])


def _optimizers(master: list[torch.Tensor], own: int, options: Mapping[str, Any]) -> list[torch.optim.Optimizer]:
    """Muon for the model's matrices; AdamW for its embedding, its vectors and, faster, the factors among the skills."""
    embedding, rest, (free, shared, *factors) = master[0], master[1:own], master[own:]
    matrices = [p for p in rest if p.ndim == 2]
    muon = torch.optim.Muon(
        matrices, lr=options["muon_lr"], momentum=0.95, weight_decay=options.get("weight_decay", 0.05),
        ns_steps=options["newton_schulz"],
    )  # fmt: skip
    other: list[dict[str, Any]] = [
        {"params": [embedding, free, shared, *(p for p in rest if p.ndim == 1)]},
        {"params": factors, "lr": 0.02},
    ]
    return [muon, torch.optim.AdamW(other, lr=options["adam_lr"], betas=(0.9, 0.95), weight_decay=0.0)]


def _rate(step: int, total: int, options: Mapping[str, Any]) -> float:
    """Warm up, hold, decay linearly to zero (WSD)."""
    decay = options["decay_share"] * total
    return float(min(1.0, (step + 1) / options["warmup"], (total - step) / decay))


def _update(
    parameters: Sequence[torch.Tensor], master: list[torch.Tensor], optimizers: list[torch.optim.Optimizer], scale: float
) -> None:
    for slow, fast in zip(master, parameters, strict=True):
        slow.grad, fast.grad = torch.zeros_like(slow) if fast.grad is None else fast.grad.float(), None
    torch.nn.utils.clip_grad_norm_(master, 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * scale
        optimizer.step()


@torch.no_grad()
def _to_model(parameters: Sequence[torch.Tensor], master: list[torch.Tensor]) -> None:
    for slow, fast in zip(master, parameters, strict=True):
        fast.copy_(slow)


def _step_of(work: Path) -> int:
    path = work / "checkpoint.pt"
    return int(torch.load(path, weights_only=True, mmap=True)["step"]) if path.exists() else 0


def _resume(work: Path, master: list[torch.Tensor], optimizers: list[torch.optim.Optimizer]) -> None:
    path = work / "checkpoint.pt"
    if not path.exists():
        return
    state = torch.load(path, weights_only=True, map_location=DEVICE)
    for slow, saved in zip(master, state["master"], strict=True):
        slow.copy_(saved)
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)


def _save(work: Path, step: int, master: list[torch.Tensor], optimizers: list[torch.optim.Optimizer]) -> None:
    plain = [p.detach() for p in master]
    state = {"step": step, "master": plain, "optimizers": [o.state_dict() for o in optimizers]}
    torch.save(state, work / "checkpoint.new")
    os.replace(work / "checkpoint.new", work / "checkpoint.pt")


def _export(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size=SHARD)
    tokenizer.save_pretrained(folder)


def _log(work: Path, **values: float) -> None:
    line = json.dumps(values)
    print(line, flush=True)
    with (work / "log.jsonl").open("a") as log:
        log.write(line + "\n")


if __name__ == "__main__":
    main()
