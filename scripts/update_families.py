"""Writes the table of families in docs/backbones.md: `python -m scripts.update_families`; `--check` only compares.

Each row is found out on a small random model (`families.py`), in fp32 on the CPU, within a few seconds. What "right" means is
said beside the table.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import peft
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from mpdd.backbone import model as backbones
from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data.batch import Encoded, collate
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.data.types import render_input
from mpdd.errors import InputError
from mpdd.export import peft as adapters
from mpdd.export import virtual_vocabulary
from mpdd.inference.predict import Request, predict
from mpdd.prompts.soft import deepened, from_vocabulary
from mpdd.prompts.store import Header, PromptFile, save_prompt
from mpdd.training.forward import forward
from scripts.families import FAMILIES, Family

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "backbones.md"
BEGIN, END = "<!-- families: made by scripts/update_families.py -->\n", "<!-- end of families -->\n"
HEAD = "| family | models | rows | deep prompts | `--to hf-vocab` | `--to peft` | vLLM |\n|---|---|---|---|---|---|---|\n"
CARD = TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=9)
TEXT = "aspirin and ibuprofen were given"
RIGHT, WRONG = "right", "**wrong**"


@dataclass(frozen=True)
class Tried:
    """A small model of a family in a folder, a prompt for it, and our own logits behind the prompt at every token but the first
    of some text."""

    backbone: Backbone
    folder: Path
    prompt: PromptFile
    ids: tuple[int, ...]
    logits: Tensor

    @classmethod
    def of(cls, family: Family, folder: Path, tokenizer: PreTrainedTokenizerBase) -> Tried:
        """Build and load it."""
        family.build(folder, tokenizer)
        backbone = backbones.load(str(folder), dtype=torch.float32, device="cpu")
        rows = from_vocabulary(backbone, 4, 0)
        rows = rows + 0.3 * rows.std() * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
        header = Header("soft", backbone.name, backbone.fingerprint, 4, backbone.width, tasks=(CARD.name,), card=CARD)
        prompt = save_prompt(folder / "prompts" / "drugs.safetensors", {"rows": rows}, header)
        ids = tuple(backbone.tokenizer(TEXT)["input_ids"])
        return cls(backbone, folder, prompt, ids, logits_of(backbone, ids, rows))


def logits_of(backbone: Backbone, ids: tuple[int, ...], rows: Tensor | None) -> Tensor:
    """Our logits behind `rows` at all of `ids` but the last."""
    batch = collate([Encoded("drugs", ids[:1], ids[1:])], backbone.end)
    with torch.no_grad():
        return forward(backbone, batch, None if rows is None else [rows]).logits


def row_of(family: Family, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
    """The line of the table for a family; its small model has `tokenizer`, else that of the embedded backbone. With a small
    tokenizer it is made in half the time."""
    tokenizer = tokenizer or AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)
    if not family.is_installed:
        return f"| {family.title} | {family.models} | not in transformers {transformers.__version__} | | | | {family.vllm} |\n"
    with tempfile.TemporaryDirectory() as folder:
        tried = Tried.of(family, Path(folder) / "model", tokenizer)
        why = tried.backbone.why_padded
        cells = [
            family.title, family.models, f"padded: {why}" if why else "packed",
            deep_prompts(tried), hf_vocab(tried, Path(folder)), peft_adapter(tried, Path(folder)), family.vllm,
        ]  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def deep_prompts(tried: Tried) -> str:
    """Whether a prompt that is put before every layer does what it does at the input."""
    rows = tried.prompt.rows()
    try:
        found = logits_of(tried.backbone, tried.ids, deepened(tried.backbone, rows))
    except InputError:
        return "refused"
    return RIGHT if close(found, tried.logits) else WRONG


def hf_vocab(tried: Tried, folder: Path) -> str:
    """Whether the checkpoint, read by transformers alone, gives our logits, and writes what `predict` writes."""
    try:
        virtual_vocabulary.write(tried.backbone, [tried.prompt], folder / "vocabulary")
    except InputError:
        return "refused"
    model = AutoModelForCausalLM.from_pretrained(folder / "vocabulary", dtype=torch.float32)
    prefix, old = list(range(len(tried.backbone.table), len(tried.backbone.table) + 4)), len(tried.backbone.table)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prefix, *tried.ids]])).logits[0, len(prefix) : -1, :old]
    same = greedy(model, [*prefix, *written_input(tried)]) == answer(tried)
    return RIGHT if same and close(logits, tried.logits) else WRONG


def peft_adapter(tried: Tried, folder: Path) -> str:
    """Whether PEFT, with the adapter on transformers' model, gives our logits."""
    try:
        adapters.write(tried.backbone, tried.prompt, folder / "adapter")
    except InputError:
        return "refused"
    base = AutoModelForCausalLM.from_pretrained(tried.folder, dtype=torch.float32)
    try:
        model = peft.PeftModel.from_pretrained(base, folder / "adapter")
    except (ValueError, AttributeError) as error:
        return f"PEFT refuses it ({type(error).__name__})"
    ids = torch.tensor([tried.ids])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -len(tried.ids) : -1]
    return RIGHT if close(logits, tried.logits) else WRONG


def written_input(tried: Tried) -> list[int]:
    """The tokens of an input of the task."""
    found: list[int] = tried.backbone.tokenizer(render_input(CARD, Example("1", "1", TEXT, Answer())))["input_ids"]
    return found


def answer(tried: Tried) -> list[int]:
    """The tokens that `predict` writes behind the prompt."""
    request = Request(CARD, Example("1", "1", TEXT, Answer()), tried.prompt.rows())
    return [token for token, _ in predict(tried.backbone, [request])[0].tokens]


def greedy(model: torch.nn.Module, ids: list[int]) -> list[int]:
    """The tokens that transformers writes behind `ids`."""
    given = torch.tensor([ids])
    found = model.generate(input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=CARD.max_answer_tokens)  # type: ignore[operator]
    return list(found[0, len(ids) :].tolist())


def close(found: Tensor, wanted: Tensor) -> bool:
    """Whether logits agree, to rounding in fp32."""
    return found.shape == wanted.shape and bool((found - wanted).norm() <= 1e-4 * wanted.norm())


def table() -> str:
    """All rows, below the head of the table."""
    return HEAD + "".join(row_of(family) for family in FAMILIES)


def documented() -> dict[str, str]:
    """The rows of the page, by family."""
    text = PAGE.read_text(encoding="utf-8")
    lines = text[text.index(BEGIN) : text.index(END)].splitlines(keepends=True)
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}


def main() -> int:
    """Update or check the page; exit code 1 when a check finds a difference."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    found = f"{before}{BEGIN}{table()}{END}{after}"
    if "--check" in sys.argv:
        if found != text:
            print("docs/backbones.md is not up to date; run python -m scripts.update_families")
        return int(found != text)
    PAGE.write_text(found, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
