"""`mpdd export`: task prompts in the formats of other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpdd.errors import InputError

if TYPE_CHECKING:
    from mpdd.prompts.store import PromptFile


class Format(StrEnum):
    """What is written."""

    HF_VOCAB = "hf-vocab"
    PEFT = "peft"


class Dtype(StrEnum):
    """The number format of a checkpoint."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def export(
    files: Annotated[list[Path], typer.Argument(metavar="PROMPT...", help="Prompt files, one for each task.")],
    to: Annotated[Format, typer.Option("--to", help="A checkpoint with prompts as tokens, or an adapter for PEFT.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    dtype: Annotated[
        Dtype | None, typer.Option("--dtype", help="For hf-vocab: numbers of the checkpoint; default the backbone's own.")
    ] = None,
    backbone: Annotated[str, typer.Option("--backbone", help="Where the backbone is, if not where the prompt says.")] = "",
) -> None:
    """Write prompts for other programs: a Hugging Face checkpoint with each prompt as token ids, or one PEFT adapter."""
    from mpdd.annotate.notes import card
    from mpdd.files import require_new
    from mpdd.prompts.store import load

    if to is Format.PEFT and len(files) > 1:
        raise InputError("A PEFT adapter holds one prompt", found=len(files), wanted="one prompt file, or --to hf-vocab")
    if to is Format.PEFT and dtype is not None:
        raise InputError("A PEFT adapter has its rows in float32", found=f"--dtype {dtype}", wanted="--dtype with hf-vocab only")
    require_new(out)
    prompts = [load(path) for path in files]
    for prompt in prompts:
        card(prompt)
    name = backbone or prompts[0].header.backbone
    _write_adapter(name, prompts[0], out) if to is Format.PEFT else _write_checkpoint(name, prompts, out, dtype)
    typer.echo(f"Export: {out}")


def _write_adapter(backbone: str, prompt: PromptFile, out: Path) -> None:
    from mpdd.backbone import vocabulary
    from mpdd.export import peft
    from mpdd.export.record import require_exportable
    from mpdd.files import new_folder

    found = vocabulary.load(backbone)
    require_exportable(prompt, found)
    with new_folder(out) as folder:
        peft.write(found, prompt, folder)


def _write_checkpoint(backbone: str, prompts: list[PromptFile], out: Path, dtype: Dtype | None) -> None:
    import torch

    from mpdd.backbone import model as backbones
    from mpdd.export import virtual_vocabulary
    from mpdd.export.record import require_exportable
    from mpdd.files import new_folder

    numbers = virtual_vocabulary.own_dtype(backbone) if dtype is None else getattr(torch, dtype.value)
    model = backbones.load(backbone, dtype=numbers, device="cpu")
    for prompt in prompts:
        require_exportable(prompt, model)
    with new_folder(out) as folder:
        virtual_vocabulary.write(model, prompts, folder)
