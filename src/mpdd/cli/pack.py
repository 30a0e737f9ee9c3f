"""`mpdd pack`: prompts of finished runs, or of an experiment that is run first, as one folder of small files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mpdd.errors import InputError, counted


def pack(
    sources: Annotated[
        list[Path], typer.Argument(metavar="EXPERIMENT.toml|RUN...", help="An experiment, which is run first, or run folders.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder of the pack; one that is there is added to.")],
    method: Annotated[str, typer.Option("--method", help="Whose prompts are taken.")] = "mpdd",
    test_examples: Annotated[
        int | None,
        typer.Option("--test-examples", min=0, help="Score each prompt anew on so many test examples (0: all); else as the run."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="FOLDER", help="The experiment's run folder; default runs/NAME.")
    ] = None,
    backbone: Annotated[str, typer.Option("--backbone", help="Where the backbone is, if not where the run says.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="For an experiment: instead of the file's.")
    ] = None,
) -> None:
    """Make a prompt pack: a folder of prompts in 16 bits, each with its score, its licence and its training in its header.

    The same command goes on with what was stopped. Prompts of data whose licence does not allow it are left out, and named.
    """
    from mpdd.api.pack import pack as make_pack
    from mpdd.progress import Reporter

    if (run or settings) and not any(source.suffix == ".toml" for source in sources):
        raise InputError("--run and --set are for an experiment", found="run folders", wanted="EXPERIMENT.toml")
    reporter = Reporter()
    runs = [_made(source, run, method, settings or ()) if source.suffix == ".toml" else source for source in sources]
    packed = make_pack(runs, out, reporter, method=method, test_examples=test_examples, backbone=backbone)
    for name, reason in packed.left_out.items():
        typer.echo(f"Left out: {name} ({reason})")
    typer.echo(f"Pack: {out}, {counted(len(packed.prompts), 'task')}, {packed.size / 1e6:.1f} MB")


def _made(experiment: Path, run: Path | None, method: str, settings: Sequence[str]) -> Path:
    """The run folder of an experiment, with the cells of the method for all targets whose prompts may be in a pack."""
    from mpdd.api.pack import may_publish
    from mpdd.data import catalogue
    from mpdd.experiment import config
    from mpdd.experiment.check import require_tasks
    from mpdd.experiment.comparison import compare_methods
    from mpdd.experiment.folder import alone_in
    from mpdd.experiment.setup import Run
    from mpdd.experiment.sources import metaprompt_for
    from mpdd.progress import Reporter

    read = config.read(experiment, settings)
    require_tasks(read)
    if method not in read.methods:
        raise InputError(f"{experiment.name} has not the method {method}", found=", ".join(read.methods), wanted="--method")
    folder = run or Path("runs") / read.name
    chosen = {task.name for task in map(catalogue.get, read.targets) if may_publish(task)}
    with alone_in(folder):
        opened = Run.open(read, folder, Reporter(), "mpdd pack")
        metaprompt = metaprompt_for(opened, [method], has_seen_targets=True)
        compare_methods(opened, metaprompt, only=lambda key: key.method == method and key.target in chosen)
    return folder
