"""The commands of `mpdd`. Results go to standard output, progress to standard error."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mpdd.cli.audit import audit
from mpdd.cli.backbone import backbone as backbone_commands
from mpdd.cli.convert import convert
from mpdd.cli.data_export import data_export
from mpdd.cli.evaluate import evaluate
from mpdd.cli.export import export
from mpdd.cli.federate import federate
from mpdd.cli.pack import pack
from mpdd.cli.predict import Grounded, predict
from mpdd.cli.prompt import prompt
from mpdd.cli.review import review
from mpdd.cli.serve import serve, token
from mpdd.cli.task import task
from mpdd.errors import InputError
from mpdd.experiment import TEST_EXAMPLES

if TYPE_CHECKING:
    from mpdd.experiment.config import Experiment
    from mpdd.progress import Reporter

app = typer.Typer(
    help="Many clinical language tasks from one frozen language model, one shared metaprompt, a few kilobytes a task.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data = typer.Typer(help="The data store.", no_args_is_help=True)
app.add_typer(backbone_commands, name="backbone")
app.add_typer(data, name="data")
app.add_typer(task, name="task")
app.add_typer(prompt, name="prompt")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Rehearse = Annotated[bool, typer.Option("--rehearse", help="Run a few steps of each stage to predict time and memory.")]
Config = Annotated[Path, typer.Argument(metavar="EXPERIMENT.toml", help="The experiment file.")]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder; default runs/NAME.")]
Processes = Annotated[
    int | None, typer.Option("--processes", metavar="N", min=1, help="So many processes on this machine's cores, without a GPU.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Instead of the file's, as distil.steps=800; may be given many times."),
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="The run folder.")] = Path("runs/demo"),
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Use the bundled synthetic notes.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A fraction of the steps: does it run, not how well.")] = False,
    processes: Processes = None,
) -> None:
    """Run the whole method, small, in minutes on two cores: teach, distil, adapt, compare, report."""
    from mpdd.cli.show import print_table
    from mpdd.experiment.demo import run_demo

    rows = run_demo(out, synthetic=synthetic, quick=quick, command=_command(), processes=processes)
    print_table(rows)
    typer.echo(f"Report: {out / 'report.html'}")


@app.command()
def tasks(
    name: Annotated[str | None, typer.Argument(help="One task, in detail.")] = None,
    as_json: AsJson = False,
    audit: Annotated[bool, typer.Option("--audit", help="What the targets' tests share with the sources.")] = False,
    ready: Annotated[bool, typer.Option("--ready", help="What needs no training, and how good it is.")] = False,
    text: Annotated[Path | None, typer.Option("--text", help="With --audit: a folder of training text, too.")] = None,
    write: Annotated[Path | None, typer.Option("--write", help="With --audit: write it as JSON here.")] = None,
) -> None:
    """List the catalogue: type, role, sizes, licence, where the data is now; or audit it for leaks."""
    from mpdd.cli import listing
    from mpdd.data import catalogue

    if ready:
        if name or audit or text or write:
            raise InputError("Options that do not go together", wanted="--ready alone, or with --json")
        listing.print_ready(as_json)
        return
    if (text or write) and not audit or (name and audit):
        raise InputError("Options that do not go together", wanted="--text and --write with --audit, and --audit without a task")
    if audit:
        listing.print_audit(_audited(text, write), as_json)
    elif name:
        listing.print_task(catalogue.get(name), as_json)
    else:
        listing.print_tasks([catalogue.get(n) for n in catalogue.names()], as_json)


@data.command("get")
def data_get(
    names: Annotated[list[str] | None, typer.Argument(help="Tasks whose data to fetch.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every task of the catalogue.")] = False,
) -> None:
    """Fetch and verify the files of tasks (MPDD_MIRROR: a local mirror; MPDD_DATA: the store)."""
    from mpdd.data import catalogue, store

    chosen = catalogue.names() if every else names or []
    if not chosen:
        raise InputError("No task was named", wanted="task names, or --all", next_step="`mpdd tasks` lists them.")
    for name in chosen:
        root = store.fetch(catalogue.get(name).files, progress=sys.stderr.isatty())
        typer.echo(f"{name}: verified in {root}")


data.command("export")(data_export)


@app.command()
def check(
    experiment: Config,
    as_json: AsJson = False,
    rehearse: Rehearse = False,
    shape: Annotated[
        Path | None, typer.Option("--shape", metavar="CONFIG.json", help="Reckon with this model's shape; load no weights.")
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", help="With --shape: tokens of an example.")] = 600,
    tflops: Annotated[float, typer.Option("--tflops", help="With --shape: what your device does in practice.")] = 100.0,
    settings: Settings = None,
) -> None:
    """Validate an experiment and print what follows from it; run nothing. (--rehearse: a few steps, to foretell the rest.)"""
    from mpdd.cli.show import print_facts
    from mpdd.experiment import config
    from mpdd.experiment.check import facts, facts_from_config

    read = config.read(experiment, settings or ())
    if shape and rehearse:
        raise InputError("--rehearse takes real steps, and --shape has no weights", wanted="one of the two")
    found = facts_from_config(read, shape, tokens=tokens, tflops=tflops) if shape else facts(read)
    if rehearse:
        from mpdd.experiment.estimate import predicted
        from mpdd.progress import Reporter

        found["predicted"] = predicted(read, Reporter())
    print_facts(found, as_json)


@app.command()
def run(
    experiment: Config,
    out: Out = None,
    cell: Annotated[
        str, typer.Option("--cell", metavar="TARGET/METHOD/SHOTS/sSEED", help="Make this cell alone, anew, and print its row.")
    ] = "",
    only: Annotated[
        str, typer.Option("--only", metavar="PATTERN", help="Make the missing cells of this pattern alone, as 'rqe/*'.")
    ] = "",
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Make this part of the cells alone, as one of N processes.")
    ] = "",
    processes: Processes = None,
    settings: Settings = None,
) -> None:
    """Run all stages; the same command resumes a run that was stopped."""
    given = (("--cell", cell), ("--only", only), ("--shard", shard), ("--processes", processes))
    chosen = [name for name, value in given if value]
    if len(chosen) > 1:
        few = "one of the two" if len(chosen) == 2 else "one of them"
        raise InputError(f"{' and '.join(chosen)} do not go together", wanted=few)
    if shard:
        _shard(experiment, out, shard, settings)
        return
    read = _read(experiment, settings)
    folder = out or Path("runs") / read.name
    if cell:
        _remake(read, folder, cell)
    elif only:
        _part(read, folder, only)
    else:
        if processes and processes > 1:
            from mpdd.experiment import processes as side_by_side
            from mpdd.progress import Reporter

            side_by_side.make(read, folder, _given(experiment, folder, settings), processes, Reporter())
        _run(read, folder)


@app.command()
def teach(experiment: Config, out: Out = None, settings: Settings = None) -> None:
    """Stage 1 alone: one soft prompt for each source."""
    _stages(experiment, out, "teach", settings)


@app.command()
def distil(experiment: Config, out: Out = None, settings: Settings = None) -> None:
    """Stages 1 and 2: the metaprompt, and whatever else the experiment's methods start from."""
    _stages(experiment, out, "distil", settings)


@app.command()
def adapt(
    file: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT.toml|CARD.toml", help="An experiment, or the card of your own task.")
    ],
    out: Out = None,
    metaprompt: Annotated[
        Path | None,
        typer.Option("--from", metavar="METAPROMPT", help="For a card: what to adapt, if not the one in the package."),
    ] = None,
    methods: Annotated[str, typer.Option("--methods", help="For a card: also compared, for example prompt-tuning,lora.")] = "",
    shots: Annotated[int | None, typer.Option("--shots", help="For a card: so many training examples; default all.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="For a card: training steps for each rate tried; 0: none.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="For a card.")] = 0,
    backbone: Annotated[str, typer.Option("--backbone", help="Where the backbone is, if not where the metaprompt says.")] = "",
    test_examples: Annotated[
        int, typer.Option("--test-examples", min=0, help="For a card: so many test examples are scored at most; 0 for all.")
    ] = TEST_EXAMPLES,
    epsilon: Annotated[
        float | None,
        typer.Option("--epsilon", help="For a card: train with this differential privacy (docs/privacy.md)."),
    ] = None,
    delta: Annotated[float, typer.Option("--delta", help="With --epsilon.")] = 1e-5,
    unit: Annotated[
        str, typer.Option("--unit", help="With --epsilon, what it hides: an example, or a document with all its examples.")
    ] = "example",
    grounded: Grounded = None,
    exportable: Annotated[
        bool, typer.Option("--exportable", help="For a card: a prompt at the input, which every export and engine takes.")
    ] = False,
) -> None:
    """Adapt a finished metaprompt to the task of a card; or stages 1 to 3 of an experiment for our own method alone."""
    from mpdd.experiment import own_task
    from mpdd.export import where_it_runs

    if metaprompt is None and not own_task.is_card(file):
        _stages(file, out, "adapt")
        return
    origin = metaprompt or own_task.shipped_metaprompt(file, backbone)
    taken = own_task.at_input(origin, is_chosen=metaprompt is not None) if exportable else origin
    if taken is None:
        typer.echo(f"mpdd: {own_task.no_metaprompt(backbone) if origin is None else own_task.NOT_DEEP}", err=True)
    compared = (*own_task.METHODS, *(name.strip() for name in methods.split(",") if name.strip()))
    experiment = own_task.experiment_for(
        file, taken, methods=tuple(dict.fromkeys(compared)), shots=shots, steps=steps, seed=seed, backbone=backbone,
        privacy=None if epsilon is None else {"epsilon": epsilon, "delta": delta, "unit": unit}, test_examples=test_examples,
        grounded=grounded,
    )  # fmt: skip
    folder = out or Path("runs") / experiment.name
    _run(experiment, folder)
    typer.echo(f"Prompt: {own_task.prompt_path(experiment, folder)}")
    is_at_input = own_task.prompt_method(experiment) == "prompt-tuning"
    typer.echo(where_it_runs("input" if is_at_input else experiment.prompt.depth))


@app.command()
def compare(experiment: Config, out: Out = None, settings: Settings = None) -> None:
    """All methods of the experiment on every target, with the report."""
    run(experiment, out, settings=settings)


app.command()(predict)
app.command()(convert)
app.command()(review)
app.command()(evaluate)


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A prompt file, or hf://ORG/NAME of a repository with one.")],
    as_json: AsJson = False,
) -> None:
    """Say what a prompt file is, what it was made from and for which backbone."""
    from mpdd.cli.show import print_header
    from mpdd.prompts.hub import is_on_hub
    from mpdd.prompts.store import load_prompt, one_task

    print_header(one_task(file) if is_on_hub(file) else load_prompt(Path(file)), as_json)


@app.command()
def report(run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or published results.")]) -> None:
    """Make report.html anew from results.json."""
    from mpdd.evaluation.report.page import write_report

    typer.echo(f"Report: {write_report(run_folder)}")


app.command()(audit)
app.command()(export)
app.command()(pack)
app.command()(federate)
app.command()(serve)
app.command()(token)


def _version(wanted: bool) -> None:
    if wanted:
        from mpdd import __version__

        typer.echo(f"mpdd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def _audited(text: Path | None, write: Path | None) -> dict[str, Any]:
    from mpdd.data.audit import audit, steps
    from mpdd.files import write_atomically
    from mpdd.progress import Reporter

    with Reporter().job("audit", steps(text)) as tick:
        found = audit(text, tick)
    if write:
        write_atomically(write, (json.dumps(found, indent=1) + "\n").encode())
    return found


@contextmanager
def _together(folder: Path) -> Iterator[tuple[Path, Reporter, bool]]:
    """Work with the processes that `torchrun` started, if any: the folder of this one, what it says, whether it is the first."""
    from mpdd.backbone import distributed
    from mpdd.experiment.folder import alone_in
    from mpdd.progress import Reporter, Silent

    with distributed.together():
        is_first = distributed.number() == 0
        with alone_in(folder) if is_first else nullcontext(), distributed.working_copy(folder) as place:
            yield place, Reporter() if is_first else Silent(), is_first


def _run(experiment: Experiment, folder: Path) -> None:
    from mpdd.cli.show import print_table
    from mpdd.experiment import pipeline

    with _together(folder) as (place, reporter, is_first):
        rows = pipeline.run(experiment, place, reporter, _command())
        if is_first:
            print_table(rows)
            typer.echo(f"Report: {folder / 'report.html'}")


def _remake(experiment: Experiment, folder: Path, cell: str) -> None:
    from dataclasses import asdict

    from mpdd.experiment.comparison import remake
    from mpdd.experiment.setup import Run

    with _together(folder) as (place, reporter, is_first):
        row = remake(Run.open(experiment, place, reporter, _command()), cell)
        if is_first:
            typer.echo(json.dumps(asdict(row), indent=1))


def _part(experiment: Experiment, folder: Path, only: str) -> None:
    from mpdd.cli.show import print_table
    from mpdd.experiment.comparison import part
    from mpdd.experiment.setup import Run

    with _together(folder) as (place, reporter, is_first):
        rows = part(Run.open(experiment, place, reporter, _command()), only)
        if is_first:
            print_table(rows)


def _shard(experiment: Path, out: Path | None, part: str, settings: Sequence[str] | None) -> None:
    from mpdd.files.shard import Shard

    shard, read = Shard.read(part, "cells"), _read(experiment, settings)
    from mpdd.backbone import distributed  # after what may be refused at once: it imports torch
    from mpdd.cli.show import print_table
    from mpdd.experiment import parts
    from mpdd.experiment.folder import alone_in
    from mpdd.progress import Reporter

    if distributed.started() > 1:
        raise InputError(
            "The processes of torchrun share the rows of every cell, and --shard deals cells out: the two do not go together",
            found=f"{distributed.started()} processes", wanted="each part as a process of its own, without torchrun",
        )  # fmt: skip
    given = _given(experiment, out, settings)
    commands = {name: shlex.join(["mpdd", verb, *given]) for name, verb in (("command", "run"), ("preparing", "distil"))}
    folder = out or Path("runs") / read.name
    with alone_in(folder, shard):
        print_table(parts.make(read, folder, shard, Reporter(), **commands))


def _given(experiment: Path, out: Path | None, settings: Sequence[str] | None) -> list[str]:
    """The words after `mpdd run` or `mpdd distil` for this experiment and folder."""
    return [str(experiment), *(["--out", str(out)] if out else []), *(word for s in settings or () for word in ("--set", s))]


def _stages(
    experiment: Path, out: Path | None, last: Literal["teach", "distil", "adapt"], settings: Sequence[str] | None = None
) -> None:
    from mpdd.experiment.pipeline import run_until
    from mpdd.experiment.setup import Run

    read = _read(experiment, settings)
    folder = out or Path("runs") / read.name
    with _together(folder) as (place, reporter, is_first):
        run_until(last, Run.open(read, place, reporter, _command()))
        if is_first:
            typer.echo(f"Prompts: {folder / 'prompts'}")


def _read(experiment: Path, settings: Sequence[str] | None = None) -> Experiment:
    """Read an experiment whose tasks all exist, before anything is written for it."""
    from mpdd.experiment import config
    from mpdd.experiment.check import require_tasks

    read = config.read(experiment, settings or ())
    require_tasks(read)
    return read


def _command() -> str:
    """The command line as typed, without the path of the program."""
    return shlex.join(["mpdd", *sys.argv[1:]])
