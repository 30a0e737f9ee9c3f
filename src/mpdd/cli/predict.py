"""`mpdd predict`: notes answered with prompt files, to the screen or into a file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpdd.cli.review import Sort, is_uncertain_first
from mpdd.errors import InputError, counted

if TYPE_CHECKING:
    from mpdd.annotate.note_files import Inputs
    from mpdd.annotate.notes import Note
    from mpdd.inference.engines import Engine
    from mpdd.progress import Reporter
    from mpdd.prompts.store import PromptFile

_WANTED = "one or more prompt files, then the input"
Grounded = Annotated[
    bool | None,
    typer.Option("--grounded/--free", help="Entities, relations and extracts can only name labels and the note; or any words."),
]


def predict(
    names: Annotated[
        list[str],
        typer.Argument(metavar="PROMPT... INPUT...", help="Prompt files, folders of them or hf://ORG/NAME, then the notes."),
    ],
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="A task that needs no prompt file (`mpdd tasks --ready`); may be repeated."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Write JSON lines here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that holds something else.")] = False,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME=COLUMN", help="What a table calls a column, as text=TEXT; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    sort: Sort = "notes",
    backbone: Annotated[str, typer.Option("--backbone", help="Where the backbone is, if not where the prompt says.")] = "",
    engine: Annotated[str, typer.Option("--engine", metavar="URL", help="A vLLM server that runs the backbone.")] = "",
    grounded: Grounded = None,
    part: Annotated[str, typer.Option("--shard", metavar="I/N", help="Only this part of the notes, as one of N jobs.")] = "",
    workers: Annotated[int, typer.Option("--workers", min=0, help="So many workers share the notes, by Ray.")] = 0,
    ray: Annotated[str, typer.Option("--ray", metavar="ADDRESS", help="With --workers: the Ray cluster; default one here.")] = "",
) -> None:
    """Answer notes (txt, jsonl, json, csv, tsv, parquet, folders of txt) with one or more prompt files in mixed batches.

    With --task the prompts that come with the package are used, without any training. With --output the
    same command goes on where a stopped one was. With --workers the notes are a Parquet file or a folder of them, and the
    output is a folder.
    """
    from mpdd.backbone.startup import quick_start

    uncertain_first = is_uncertain_first(sort)
    if uncertain_first and (output or workers or ray):
        raise InputError(
            "--sort orders answers on the screen", found="an output, which keeps the order of the notes",
            wanted="--sort without --output and --workers",
            next_step="`mpdd review OUTPUT` lists the least certain notes; `mpdd convert --sort uncertain` writes them first.",
        )  # fmt: skip
    with quick_start():
        from mpdd.annotate.note_files import columns_of, read_inputs
        from mpdd.annotate.notes import shard
        from mpdd.prompts.hub import local

        files = [local(name) for name in names]
        named, inputs = _prompts_and_inputs(files, task or [])
        columns = columns_of(column or ())
        prompts = _prompts(named, task or [], backbone)
        if not (workers or ray):
            read = read_inputs(inputs, columns)
            notes = shard(read.notes, part) if part else read.notes
            if output:
                from mpdd.annotate.file import require_output

                require_output(output, files, prompts, notes, force=force)
            answers = _engine(prompts, backbone, engine, grounded)
    if workers or ray:
        has_columns = bool(columns)
        _annotate_with_ray(prompts, inputs, output, backbone, engine, workers, ray, grounded, has_columns=has_columns)
    elif output:
        _annotate(answers, prompts, notes, read, output)
    else:
        _print(answers, prompts, notes, read, as_json, uncertain_first)


def _prompts(files: Sequence[Path], tasks: Sequence[str], backbone: str) -> list[PromptFile]:
    """The prompts of files and of tasks that need none; raise `InputError` for one that is of no task or of the same one."""
    from mpdd.prompts.store import load_tasks, require_distinct_tasks

    prompts = load_tasks(files) if files else []
    if tasks:
        prompts += _ready(tasks, backbone or (prompts[0].header.backbone if prompts else ""))
    require_distinct_tasks(prompts)
    return prompts


def _ready(tasks: Sequence[str], backbone: str) -> list[PromptFile]:
    """The prompts of source tasks that come with the package."""
    from mpdd.prompts.ready import ready

    return ready(backbone, tasks)


def _prompts_and_inputs(files: Sequence[Path], tasks: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Tell prompts from notes: files by their endings, folders by what they hold.

    Raise `InputError` where there are no notes, or neither prompts nor `tasks` that need none.
    """
    from mpdd.annotate.note_files import is_readable
    from mpdd.prompts.store import SUFFIX

    prompts = [path for path in files if (_holds_prompts(path) if path.is_dir() else path.suffix == SUFFIX)]
    inputs = [path for path in files if path not in prompts]
    if tasks and inputs:
        return prompts, inputs
    if not prompts and any(map(is_readable, inputs)):
        readable = next(path for path in inputs if is_readable(path))
        kind = "a folder" if readable.is_dir() else "a note or a table of notes"
        raise InputError(
            f"{readable} is {kind}, and no prompt file was given",
            wanted=f"{_WANTED}; prompt files end in {SUFFIX}",
            next_step="Or name a task that needs no prompt file: --task NAME (`mpdd tasks --ready`).",
        )
    if not inputs:
        given = f"{counted(len(prompts), 'prompt file')} or folders of them" if prompts else "nothing else"
        raise InputError("No notes were given", found=given, wanted="prompt files or --task NAME, then the notes")
    if not prompts:
        raise InputError("No prompt file was given", found=", ".join(map(str, inputs)), wanted=_WANTED)
    return prompts, inputs


def _holds_prompts(folder: Path) -> bool:
    """Whether a folder is one of prompt files, as a pack is: it has some, and no note."""
    from mpdd.prompts.store import SUFFIX

    return any(folder.glob(f"*{SUFFIX}")) and not any(folder.rglob("*.txt"))


def _engine(prompts: Sequence[PromptFile], backbone: str, engine: str, grounded: bool | None) -> Engine:
    """The backbone that all prompts were made for."""
    from mpdd.inference.engines import open_engine
    from mpdd.prompts.store import require_backbone

    name = backbone or prompts[0].header.backbone
    answers = open_engine(name, engine, patience=float("inf"), grounded=grounded)
    for prompt in prompts:
        require_backbone(prompt.path.name, prompt.header, answers.vocabulary)
        answers.require_prompt(prompt)
    return answers


def _print(
    engine: Engine, prompts: Sequence[PromptFile], notes: Sequence[Note], read: Inputs, as_json: bool, uncertain_first: bool
) -> None:
    from mpdd.annotate.answers.review import certainty, least_certain_first
    from mpdd.annotate.notes import answer_notes
    from mpdd.cli.show import print_results
    from mpdd.progress import Reporter

    results = list(answer_notes(engine, prompts, notes))
    if uncertain_first:
        results = least_certain_first(
            results, lambda result: str(result["id"]), lambda result: certainty(result["confidence"], result["unparseable"])
        )
    print_results(results, as_json)  # each result says what was not read of its note
    _remark(Reporter(), notes, read)


def _annotate(engine: Engine, prompts: Sequence[PromptFile], notes: Sequence[Note], read: Inputs, output: Path) -> None:
    from mpdd.annotate.file import annotate
    from mpdd.progress import Reporter

    reporter, began = Reporter(), time.perf_counter()
    with reporter.job("notes", len(notes)) as tick:
        done = annotate(engine, prompts, notes, output, tick=tick)
    _report(reporter, (len(notes) - done) * len(prompts), done * len(prompts), time.perf_counter() - began, output)
    with output.open(encoding="utf-8") as lines:
        _remark_cuts(reporter, map(json.loads, lines))
    _remark(reporter, notes, read)


def _annotate_with_ray(
    prompts: list[PromptFile],
    inputs: Sequence[Path],
    output: Path | None,
    backbone: str,
    engine: str,
    workers: int,
    address: str,
    grounded: bool | None,
    *,
    has_columns: bool,
) -> None:
    from mpdd.annotate.ray import Work, annotate, count
    from mpdd.progress import Reporter

    if output is None or not workers:
        raise InputError("Workers do not know enough", wanted="--workers N and --output FOLDER")
    if len(inputs) > 1 or has_columns:
        problem = "--column" if has_columns else f"{len(inputs)} inputs"
        raise InputError("Workers read a Parquet file or a folder of them", found=problem, wanted="one, with columns id and text")
    (notes,) = inputs
    work = Work(prompts, output.resolve(), backbone or prompts[0].header.backbone, engine, grounded)
    reporter, began = Reporter(), time.perf_counter()
    with reporter.job("answers", count(notes) * len(prompts)) as tick:
        tally = annotate(work, notes, workers=workers, address=address, tick=tick)
    _report(reporter, tally.answered, tally.before, time.perf_counter() - began, output)


def _report(reporter: Reporter, answered: int, before: int, seconds: float, output: Path) -> None:
    """Say how many answers were given, how fast, and where they are."""
    noun, earlier = "answer" if answered == 1 else "answers", f", {before:,} answered before" if before else ""
    reporter.say(f"{answered:,} {noun} in {seconds:.1f} s ({answered / seconds:.1f} a second){earlier}: {output}")


def _remark_cuts(reporter: Reporter, results: Iterable[Mapping[str, Any]]) -> None:
    """Say how many answers were given without the whole note being read."""
    cuts = [result["cut_characters"] for result in results if result["cut_characters"]]
    if cuts:
        reporter.say(f"Answers to a part of their note: {len(cuts):,}; {sum(cuts):,} characters did not fit (cut_characters).")


def _remark(reporter: Reporter, notes: Sequence[Note], read: Inputs) -> None:
    """Say what a user may not expect: notes without text, and what of the inputs was left out."""
    blank = sum(note.is_blank for note in notes)
    if blank:
        reporter.say(f"Notes without text, answered empty: {blank:,} of {len(notes):,}.")
    for remark in read.remarks:
        reporter.say(remark)
