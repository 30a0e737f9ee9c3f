"""`mpdd export`: task prompts in the formats of other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpdd.errors import InputError
from mpdd.export import TAKES_DTYPE, TAKES_SEVERAL, Format

if TYPE_CHECKING:
    from mpdd.prompts.store import PromptFile


class Dtype(StrEnum):
    """The number format of a checkpoint."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def export(
    files: Annotated[
        list[str], typer.Argument(metavar="PROMPT...", help="Prompt files, folders of them or hf://ORG/NAME, one for each task.")
    ],
    to: Annotated[Format, typer.Option("--to", help="What to write; docs/export.md says which program reads what.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    dtype: Annotated[
        Dtype | None,
        typer.Option("--dtype", help="Numbers of hf-vocab (default the backbone's own), kv-cache and vllm-kv (default float32)."),
    ] = None,
    backbone: Annotated[str, typer.Option("--backbone", help="Where the backbone is, if not where the prompt says.")] = "",
    license: Annotated[str, typer.Option("--license", help="For hub-folder: a licence as the hub spells it.")] = "other",
    base_model: Annotated[str, typer.Option("--base-model", help="For hub-folder: the backbone's id on the hub.")] = "",
    results: Annotated[
        Path | None, typer.Option("--results", help="For hub-folder: the run with the scores, if not that of the prompts.")
    ] = None,
) -> None:
    """Write prompts for other programs: a checkpoint with prompts as token ids, PEFT adapters, or keys and values."""
    from mpdd.files import require_new
    from mpdd.prompts.store import load_tasks

    _require_fit(to, len(files), dtype)
    require_new(out)
    prompts = load_tasks(files)
    _require_fit(to, len(prompts), dtype)
    name = backbone or prompts[0].header.backbone
    if to is Format.HUB_FOLDER:
        from mpdd.api.hub import push_to_folder

        push_to_folder(prompts, out, backbone=name, license=license, base_model=base_model, results=results)
    elif to is Format.PEFT:
        _write_adapter(name, prompts[0], out)
    elif to is Format.HF_VOCAB:
        _write_checkpoint(name, prompts, out, dtype)
    else:
        _write_keys_values(name, prompts, out, dtype or Dtype.FLOAT32, to)
    typer.echo(f"Export: {out}")


def _require_fit(to: Format, count: int, dtype: Dtype | None) -> None:
    """Raise `InputError` where the options do not fit the format."""
    if to not in TAKES_SEVERAL and count > 1:
        several = " or ".join(f"--to {name}" for name in TAKES_SEVERAL)
        raise InputError("A PEFT adapter holds one prompt", found=count, wanted=f"one prompt file, or {several}")
    if to not in TAKES_DTYPE and dtype is not None:
        wanted = f"--dtype with {' or '.join(TAKES_DTYPE)} only"
        raise InputError(f"The format {to} has its numbers in float32", found=f"--dtype {dtype}", wanted=wanted)


def _write_adapter(backbone: str, prompt: PromptFile, out: Path) -> None:
    from mpdd.backbone import vocabulary
    from mpdd.export import peft
    from mpdd.export.record import require_exportable
    from mpdd.files import new_folder

    tokens = vocabulary.load(backbone)
    require_exportable(prompt, tokens)
    with new_folder(out) as folder:
        peft.write(tokens, prompt, folder)


def _write_keys_values(backbone: str, prompts: list[PromptFile], out: Path, dtype: Dtype, to: Format) -> None:
    import torch

    from mpdd.backbone import model as backbones
    from mpdd.backbone import vocabulary
    from mpdd.export import kv_cache, peft_prefix
    from mpdd.export.record import require_distinct_tasks
    from mpdd.files import new_folder

    require_distinct_tasks(vocabulary.load(backbone), prompts, takes_deep=True)  # before weights are loaded
    model = backbones.load(backbone, dtype=getattr(torch, dtype.value), device="cpu")
    with new_folder(out) as folder:
        if to is Format.PEFT_PREFIX:
            peft_prefix.write(model, prompts[0], folder)
        elif to is Format.VLLM_KV:
            kv_cache.write_for_vllm(model, prompts, folder)
        else:
            kv_cache.write(model, prompts, folder)


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
