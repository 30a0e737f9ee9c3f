"""Puts a pretrained backbone into the package: bf16 shards, tokenizer, model card, pinned sha256.

`python -m backbones.ship CONFIG.toml --work DIR [--before DIR ...] [--against NAME=MODEL ...]` after `backbones.pretrain`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from backbones import corpus as text_corpus
from backbones.pretrain import HELD_OUT, SHARD
from backbones.reading import BYTES, DOCUMENTS, bits_per_byte

TARGET = Path(__file__).parent.parent / "src" / "mpdd" / "backbone" / "embedded"


def main() -> None:
    """Ship what a recipe made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--before", type=Path, nargs="*", default=[], help="work folders of the recipes that it goes on from")
    parser.add_argument("--against", nargs="*", default=[], metavar="NAME=MODEL", help="other backbones, to be read beside it")
    args = parser.parse_args()
    shutil.rmtree(TARGET, ignore_errors=True)
    model = LlamaForCausalLM.from_pretrained(args.work / "model", dtype=torch.bfloat16)
    model.save_pretrained(TARGET, max_shard_size=SHARD)
    AutoTokenizer.from_pretrained(args.work / "model").save_pretrained(TARGET)
    (TARGET / "generation_config.json").unlink(missing_ok=True)
    size = sum(p.numel() for p in model.parameters())
    for path in TARGET.iterdir():
        path.chmod(0o644)
    shown = continuations(model, AutoTokenizer.from_pretrained(TARGET))
    read = reading({"this one": str(TARGET), **dict(other.split("=", 1) for other in args.against)}, args.work)
    (TARGET / "README.md").write_text(card(args.config, [*args.before, args.work], size, shown, read), encoding="utf-8")
    (TARGET / "__init__.py").write_text(pins(), encoding="utf-8")


OPENINGS = (
    "The patient was started on",
    "What are the symptoms of asthma?",
    "List the diseases named in the text.\nText: She has type 2 diabetes and was treated for pneumonia.\nAnswer:",
    "Repeat the marked words.\nText: He was given << two tablets of ibuprofen >> after the operation.\nAnswer:",
)


@torch.inference_mode()
def continuations(model: Any, tokenizer: Any) -> list[tuple[str, str]]:
    """Greedy continuations, at most 24 tokens each, of openings that we wrote."""
    found = []
    for opening in OPENINGS:
        ids = tokenizer(opening, return_tensors="pt")["input_ids"]
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        found.append((opening, str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()))
    return found


def recipes(config: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The recipe and those that it goes on from, the first one first."""
    options: dict[str, Any] = tomllib.loads(config.read_text())
    before = recipes(config.with_name(f"{options['after']}.toml")) if "after" in options else []
    return [*before, (config, options)]


def reading(models: dict[str, str], work: Path) -> str:
    """A table of bits per byte on the same held-out documents, a line for each backbone."""
    held_out = text_corpus.load(work / "held_out.jsonl.xz")
    lines = [f"| backbone | {' | '.join(text_corpus.SOURCES)} |", f"|---|{'---:|' * len(text_corpus.SOURCES)}"]
    for name, folder in models.items():
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        found = bits_per_byte(model, AutoTokenizer.from_pretrained(folder), held_out)
        lines.append(f"| {name} | {' | '.join(f'{found[source]:.3f}' for source in text_corpus.SOURCES)} |")
    return "\n".join(lines)


def card(config: Path, works: list[Path], size: int, shown: list[tuple[str, str]], read: str) -> str:
    """The model card: data, licences, compute, held-out figures, use and limits."""
    whole = recipes(config)
    counts = json.loads((works[-1] / "corpus.json").read_text())
    logged = [held_out_of(work) for work in works]
    held_out = logged[-1]
    steps = [sum(phase["steps"] for phase in options["phase"]) for _, options in whole]
    tokens = sum(count * options["rows_of_tokens"] for count, (_, options) in zip(steps, whole, strict=True))
    made = " and then ".join(
        f"`{path.name}` ({count:,} steps of {options['rows_of_tokens']:,} tokens on {options['machine']})"
        for count, (path, options) in zip(steps, whole, strict=True)
    )
    examples = "\n\n".join(f"```\n{opening}\n```\n→ `{' / '.join(text.splitlines())}`" for opening, text in shown)
    fields = ("kept", "words", "leaked", "repeated")
    rows = "\n".join(f"| {s} | " + " | ".join(f"{c[name]:,}" for name in fields) + " |" for s, c in counts.items())
    names = [name for name in held_out[-1] if name != "step"]
    ends = "\n".join(
        f"| {path.stem} | " + " | ".join(f"{found[-1][name]:.3f}" for name in names if name.startswith("bpb")) + " |"
        for (path, _), found in zip(whole[len(whole) - len(logged) :], logged, strict=True)
    )
    corpora = [name.removeprefix("bpb_") for name in names if name.startswith("bpb")]
    points = [*held_out[: -1 : max(1, len(held_out) // 8)], held_out[-1]]
    curve = "\n".join(f"| {line['step'] + 1} | " + " | ".join(f"{line[name]:.3f}" for name in names) + " |" for line in points)
    return f"""# The embedded backbone
A Llama of {size:,} parameters, made by `backbones/` in this repository with {made}:
{tokens / 1e6:.0f} M tokens in all, so texts were seen several times. Licence: Apache-2.0.

**Use.** It lets every command run offline in minutes. It is far too small for real work: no clinical use.

**Text** (documents kept, words, dropped because they share 13 words in a row with a benchmark target, dropped as repeats):

| corpus | kept | words | leaked | repeated |
|---|---:|---:|---:|---:|
{rows}

trials: open-access clinical-trial articles; medquad: NIH consumer health answers (MedQuAD, CC BY 4.0); mtsamples:
MTSamples dictated reports; case_reports: open-access case reports (CC BY 4.0); nursing: open nursing textbooks. No dataset of
the benchmark, source or target, was trained on. Rows of a step: language modelling, repeated sequences (copying), and
instruction tasks made from the same text by rules (`backbones/text_to_text.py`).

**On the same held-out documents** (bits per byte of the first {BYTES:,} bytes of at most {DOCUMENTS} documents of a corpus):

{read}

**Held out while training** (`{config.name}`; every {HELD_OUT}th document; bits per byte by
corpus, then nats a token on copies and on instruction answers):

| step | {" | ".join(names)} |
|---|{"---:|" * len(names)}
{curve}

**Held out over all recipes** (`python -m backbones.curves`; figures in `results/backbone`):

![Held-out bits per byte and the loss on copies, over {tokens / 1e6:.0f} million tokens](../../../docs/backbone.svg)

**At the end of each recipe**, bits per byte on the same held-out text:

| recipe | {" | ".join(corpora)} |
|---|{"---:|" * len(corpora)}
{ends}

**Greedy continuations** of openings that we wrote:

{examples}
"""


def held_out_of(work: Path) -> list[dict[str, float]]:
    """What a recipe measured on held-out text as it ran."""
    lines = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "copy_loss" in line]


def pins() -> str:
    """The module that pins the shipped files."""
    files = sorted(p for p in TARGET.iterdir() if p.suffix in (".safetensors", ".json"))
    listed = "".join(f'    "{p.name}": "{hashlib.sha256(p.read_bytes()).hexdigest()}",\n' for p in files)
    says = '"""The backbone inside the package; written by `backbones/ship.py`, which pins the sha256 of its files."""'
    return f"{says}\n\nFILES = {{\n{listed}}}\n"


if __name__ == "__main__":
    main()
