"""Pretrains a small Llama from raw text: `python -m backbones.pretrain CONFIG.toml --text DIR --data DIR --work DIR`.

Resumable to the step (a checkpoint every `EVERY` steps); each step's batch depends on the seed and the step alone.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from backbones import corpus as text_corpus
from backbones import tokenizer as bpe
from backbones.stream import ANSWER_WEIGHT, Corpus, Skills, batch, tokenize

EVERY = 100
HELD_OUT = 50  # every 50th document of a corpus is never trained on


def main() -> None:
    """Run, or go on with, the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="folder of *.jsonl.xz")
    parser.add_argument("--data", type=Path, required=True, help="folder of the benchmark's files, for the leak filter")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and logs")
    parser.add_argument("--start", type=Path, help="work folder of the recipe that this one goes on from (`after`)")
    args = parser.parse_args()
    config = tomllib.loads(args.config.read_text())
    if ("after" in config) != (args.start is not None):
        parser.error(f"--start is for a recipe that names another one in `after`; {args.config.name} does not agree")
    args.work.mkdir(parents=True, exist_ok=True)
    if args.start and not (args.work / "checkpoint.pt").exists():
        begin_from(args.start, args.work)
    train, held_out, tokenizer = prepare(config, args.text, args.data, args.work)
    pretrain(config, train, held_out, tokenizer, args.work)


def begin_from(former: Path, work: Path) -> None:
    """Take over a finished recipe's tokenizer and weights, not its optimizers' state; the step is 0 again."""
    shutil.copytree(former / "tokenizer", work / "tokenizer", dirs_exist_ok=True)
    state = torch.load(former / "checkpoint.pt", weights_only=True)
    torch.save({"step": 0, "master": state["master"], "optimizers": None}, work / "checkpoint.pt")


def prepare(config: Mapping[str, Any], text: Path, data: Path, work: Path) -> tuple[Corpus, Corpus, Any]:
    """Filter the text, train or load the tokenizer, encode everything (three minutes; the same on every start)."""
    documents, counts = text_corpus.clean(text_corpus.read(text), text_corpus.target_runs(data))
    (work / "corpus.json").write_text(json.dumps(counts, indent=1))
    kept = [d for i, d in enumerate(documents) if i % HELD_OUT]
    if answers := config.get("without_answers_of"):
        kept = text_corpus.without_answers(kept, answers)
    folder = work / "tokenizer"
    if folder.exists():
        tokenizer = AutoTokenizer.from_pretrained(folder)
    else:
        tokenizer = bpe.train(
            (d.text for i, d in enumerate(kept) if d.source != "trials" or i % 3 == 0), config["vocabulary"], folder
        )
    skills = Skills(**config.get("skills", {}))
    return tokenize(kept, tokenizer, skills), tokenize(documents[::HELD_OUT], tokenizer), tokenizer


def pretrain(config: Mapping[str, Any], train: Corpus, held_out: Corpus, tokenizer: Any, work: Path) -> None:
    """The training loop: bf16 forward and backward, fp32 master weights, Muon for matrices and AdamW for the rest."""
    torch.manual_seed(config["seed"])
    model: Any = LlamaForCausalLM(LlamaConfig(
        vocab_size=config["vocabulary"], tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **config["model"],
    ))  # fmt: skip
    vocabulary = model.get_input_embeddings().weight.detach()
    drawn = torch.randint(len(vocabulary), (train.skills.count * train.skills.length,))
    parameters = [*model.parameters(), torch.nn.Parameter(vocabulary[drawn].clone().to(torch.bfloat16))]
    master = [p.detach().clone().float() for p in parameters]
    model.to(torch.bfloat16)
    optimizers = _optimizers(master, config["optimizer"])
    total = sum(phase["steps"] for phase in config["phase"])
    first = _resume(work, master, optimizers)
    loss_of = torch.compile(_loss(model, parameters[-1]), dynamic=False)
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(_batch_at, config, train, first)
        for step in range(first, total):
            began = time.perf_counter()
            inputs, targets, weights = coming.result()
            coming = ahead.submit(_batch_at, config, train, min(step + 1, total - 1))
            _to_model(parameters, master)
            loss = loss_of(inputs, targets, weights)
            loss.backward()  # type: ignore[no-untyped-call]
            _update(parameters, master, optimizers, _rate(step, total, config["optimizer"]))
            if step % 10 == 0:
                seconds = time.perf_counter() - began
                _log(work, step=step, loss=loss.item(), tokens_per_second=round(inputs.numel() / seconds))
            if (step + 1) % EVERY == 0 or step + 1 == total:
                _save(work, step + 1, master, optimizers)
                _to_model(parameters, master)
                _log(work, step=step, **evaluate(model, held_out, config))
                _export(model, tokenizer, work / "model")


@torch.inference_mode()
def evaluate(model: Any, held_out: Corpus, config: Mapping[str, Any]) -> dict[str, float]:
    """Held-out bits per byte by corpus, and the loss in nats on copies and on text-to-text answers."""
    found = {}
    loss_of = _loss(model)
    for source in config["weights"]:
        ids, goal, weight = batch(held_out, seed=1, step=0, rows=6, length=512, mix={"lm": 1.0}, weights={source: 1.0})
        size = sum(len(str(held_out.tokenizer.decode(row)).encode()) for row in goal)
        found[f"bpb_{source}"] = loss_of(ids, goal, weight).item() * goal.numel() / math.log(2) / size
    for kind, scored in (("copy", 1.0), ("task", ANSWER_WEIGHT), ("shots", ANSWER_WEIGHT)):
        parts = batch(held_out, seed=2, step=0, rows=12, length=512, mix={kind: 1.0}, weights=config["weights"])
        weight = (parts[2] == scored).float()
        found[f"{kind}_loss"] = loss_of(parts[0], parts[1], weight).item()
    return {name: round(value, 4) for name, value in found.items()}


def _loss(model: Any, skills: torch.Tensor | None = None) -> Callable[..., torch.Tensor]:
    """The weighted loss; `skills` [tokens, width] are the embeddings of ids from the end of the vocabulary on."""
    words = model.get_input_embeddings().weight
    table = [words] if skills is None else [words, skills]

    def weighted(inputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        embedded = functional.embedding(inputs, torch.cat(table))
        targets = torch.where(targets < len(words), targets, 0)  # of weight 0: a soft token is never foretold
        hidden = model.model(inputs_embeds=embedded).last_hidden_state.flatten(0, 1)
        losses = functional.cross_entropy(model.lm_head(hidden).float(), targets.flatten(), reduction="none")
        return (losses * weights.flatten()).sum() / weights.sum()

    return weighted


def _batch_at(config: Mapping[str, Any], train: Corpus, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    first = 0
    for phase in config["phase"]:
        if step < first + phase["steps"]:
            break
        first += phase["steps"]
    length = phase["length"]
    rows = config["rows_of_tokens"] // length
    return batch(train, seed=config["seed"], step=step, rows=rows, length=length, mix=phase["mix"], weights=config["weights"])


def _optimizers(master: list[torch.Tensor], options: Mapping[str, Any]) -> list[torch.optim.Optimizer]:
    embedding, rest, skills = master[0], master[1:-1], master[-1]
    matrices = [p for p in rest if p.ndim == 2]
    muon = torch.optim.Muon(matrices, lr=options["muon_lr"], momentum=0.95, weight_decay=0.05, ns_steps=options["newton_schulz"])
    other = [embedding, skills, *(p for p in rest if p.ndim == 1)]
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


def _resume(work: Path, master: list[torch.Tensor], optimizers: list[torch.optim.Optimizer]) -> int:
    path = work / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for slow, saved in zip(master, state["master"], strict=bool(state["optimizers"])):
        slow.copy_(saved)
    for optimizer, saved in zip(optimizers, state["optimizers"] or (), strict=bool(state["optimizers"])):
        optimizer.load_state_dict(saved)
    return int(state["step"])


def _save(work: Path, step: int, master: list[torch.Tensor], optimizers: list[torch.optim.Optimizer]) -> None:
    plain = [p.detach() for p in master]
    state = {"step": step, "master": plain, "optimizers": [o.state_dict() for o in optimizers]}
    torch.save(state, work / "checkpoint.new")
    os.replace(work / "checkpoint.new", work / "checkpoint.pt")


def _export(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _log(work: Path, **values: float) -> None:
    line = json.dumps(values)
    print(line, flush=True)
    with (work / "log.jsonl").open("a") as log:
        log.write(line + "\n")


if __name__ == "__main__":
    main()
