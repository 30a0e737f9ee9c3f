"""`mpdd data export`: tasks with their data for programs that score models."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mpdd.errors import InputError


class Harness(StrEnum):
    """A program that scores models."""

    LM_EVAL = "lm-eval"


def data_export(
    out: Annotated[Path, typer.Option("--out", help="The folder to make; the data goes into it.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="[TASK|CARD.toml]...", help="What to export.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every task of the catalogue.")] = False,
    to: Annotated[Harness, typer.Option("--to", help="For which program.")] = Harness.LM_EVAL,
    train: Annotated[int | None, typer.Option("--train", min=0, help="Training examples at most; 0: none. Default all.")] = None,
    dev: Annotated[int | None, typer.Option("--dev", min=0, help="Development examples at most. Default all.")] = None,
    test: Annotated[int | None, typer.Option("--test", min=0, help="Test examples at most. Default all.")] = None,
    backbone: Annotated[
        str, typer.Option("--backbone", help="Ask exactly as mpdd asks this backbone (docs/open31.md). Default: any model.")
    ] = "",
) -> None:
    """Write tasks, their splits and their scoring for lm-evaluation-harness, to score any model on them."""
    from mpdd.data import catalogue
    from mpdd.evaluation.harness.tasks import Exporting, write
    from mpdd.files import require_new
    from mpdd.progress import Reporter

    chosen = [*(catalogue.names() if every else ()), *(names or ())]
    if not chosen:
        raise InputError("No task was named", wanted="task names, or --all", next_step="`mpdd tasks` lists them.")
    require_new(out)
    most = {split: most for split, most in (("train", train), ("dev", dev), ("test", test)) if most is not None}
    vocabulary = None
    if backbone:
        from mpdd.backbone import vocabulary as vocabularies

        vocabulary = vocabularies.load(backbone)
    with Reporter().job("tasks", len(chosen)) as tick:
        write(chosen, out, Exporting(most, vocabulary), tick)
    typer.echo(f"Tasks for lm-evaluation-harness: {out} (lm_eval --include_path {out} --tasks mpdd ...)")
