"""`mpdd task`: write the card of a task of your own, and look at its data before anything is trained."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpdd.errors import InputError

if TYPE_CHECKING:
    from mpdd.data.task import Splits, Task

task = typer.Typer(help="A task of your own: its card and its data.", no_args_is_help=True)
Paths = list[str] | None


@task.command("new")
def new(
    name: Annotated[str | None, typer.Option("--name", help="The task's name; the card is NAME.toml.")] = None,
    task_type: Annotated[str | None, typer.Option("--type", help="ner, re, qa, nli, summarization or classification.")] = None,
    form: Annotated[
        str | None, typer.Option("--form", help="qa: choice, extractive or free; classification: single or multiple.")
    ] = None,
    instruction: Annotated[str | None, typer.Option("--instruction", help="What the model is asked to do.")] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="The labels, between commas.")] = None,
    fields: Annotated[str | None, typer.Option("--fields", help="Further inputs, between commas: Question, Hypothesis.")] = None,
    text_field: Annotated[str | None, typer.Option("--text-field", help="What the text is called: Note, Premise.")] = None,
    train: Annotated[Paths, typer.Option("--train", help="Training data: a file or folder; may be repeated.")] = None,
    dev: Annotated[Paths, typer.Option("--dev", help="As --train; left out: cut from train.")] = None,
    test: Annotated[Paths, typer.Option("--test", help="As --train; left out: cut from train.")] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="What the files are; left out: told by their content (docs/formats.md).")
    ] = None,
    column: Annotated[
        Paths,
        typer.Option("--column", help="Our column=the file's: text=note, choices=a,b,c, test.text=note; may be repeated."),
    ] = None,
    headerless: Annotated[
        bool, typer.Option("--headerless", help="CSV and TSV have no header line: --column text=1 gives numbers.")
    ] = False,
    value: Annotated[Paths, typer.Option("--value", help="The file's value=our label: e=entailment; may be repeated.")] = None,
    ignore_case: Annotated[bool, typer.Option("--ignore-case", help="Labels of the files may be in any case.")] = False,
    like: Annotated[str | None, typer.Option("--like", metavar="PRESET", help="Copy a ready card.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the ready cards.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write the card.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a card that is there.")] = False,
) -> None:
    """Write a card: ask for what the options leave out, read the data once and say what was found."""
    from mpdd.cli import interview
    from mpdd.data.cards.formats import FORMATS

    paths = {"train": train, "dev": dev, "test": test}
    given: dict[str, Any] = {"name": name, "type": task_type, "form": form, "instruction": instruction, "text_field": text_field}
    given |= {"labels": _split(labels), "fields": _split(fields), "format": file_format, **paths}
    given |= {"columns": pairs("--column", "ours=theirs", column), "values": pairs("--value", "theirs=ours", value)}
    given |= {"headerless": headerless, "ignore_case": ignore_case}
    if listed:
        _print_presets()
    elif like is not None:
        _copy(like, given, out or Path(f"{name or like}.toml"), force)
    else:
        values = interview.values(interview.Interview(given))
        told = values["data"]["format"] if file_format is None else None  # "": each file by itself
        recognised = FORMATS[told].title if told else "" if told is None else "of several formats, each by itself"
        _write(values, out or Path(f"{values['name']}.toml"), force, recognised)


@task.command("check")
def check(
    card: Annotated[Path, typer.Argument(metavar="CARD.toml", help="The task card.")],
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad record and say where it stands.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    no_examples: Annotated[bool, typer.Option("--no-examples", help="Show no examples, which hold text of your data.")] = False,
    backbone: Annotated[str, typer.Option("--backbone", help="Whose tokens and context to count in.")] = "embedded",
) -> None:
    """Read a task's data and say what is in it: counts, labels, lengths, duplicates, leaks, what was skipped, examples."""
    from mpdd.backbone.vocabulary import load_tokenizer
    from mpdd.cli.task_report import print_report
    from mpdd.data.cards import card_file
    from mpdd.data.cards.check import facts, shown
    from mpdd.data.cards.fitting import fitted
    from mpdd.data.task import PROMPT_LENGTH
    from mpdd.evaluation.metrics import chance

    tokenizer, context = load_tokenizer(backbone)
    found = fitted(card_file.read(card, strict=strict or None), tokenizer, context, PROMPT_LENGTH)
    splits = found.load(card.parent)
    report = facts(found, splits, tokenizer, context)
    report["chance"] = {"metric": found.headline, "test": round(chance(found.card, splits.test), 1)}
    report["shown"] = [] if no_examples else shown(found, splits)
    if as_json:
        print(json.dumps(report, indent=1))
    else:
        print_report(report)


def _write(values: Mapping[str, Any], path: Path, force: bool, recognised: str) -> None:
    """Check a new card, read its data, write it and say what was found; nothing is written where the data cannot be used."""
    from mpdd.data.cards import card_file
    from mpdd.data.cards import new as cards

    data = {**values["data"], **{split: _from(path.parent, values["data"][split]) for split in ("train", "dev", "test")}}
    filled = cards.filled({**values, "data": data})
    found = card_file.build(filled, path.name, path.parent)
    cards.require_writable(path, force)
    own, splits = _loaded(card_file.task(found, path), path)
    cards.write(path, cards.toml(filled, [f"`mpdd task check {path.name}` says what is in the data of this task."]), force)
    if recognised:
        typer.echo(f"Recognised the data as {recognised}.")
    typer.echo(f"Wrote {path}.")
    _print_sizes(own, splits)


def _copy(like: str, given: Mapping[str, Any], path: Path, force: bool) -> None:
    """Copy a ready card, with the values that options give; its data may well not be there yet."""
    from mpdd.data.cards import card_file
    from mpdd.data.cards import new as cards

    paths = {split: given[split] for split in ("train", "dev", "test") if given[split]}
    data: dict[str, Any] = {split: _from(path.parent, named) for split, named in paths.items()}
    shared, of_splits = cards.columns_given(given["columns"])
    data |= {"format": given["format"], "columns": {**cards.named(shared), **of_splits}, "labels": given["values"]}
    data |= {name: given[name] for name in ("headerless", "ignore_case")}
    text = cards.preset(like, {**given, "data": data})
    card_file.build(tomllib.loads(text), path.name)
    cards.write(path, text, force)
    typer.echo(f"Wrote {path}.")
    try:
        own, splits = _loaded(card_file.read(path), path)
    except InputError as error:
        typer.echo(f"Its data was not read: {error}")
    else:
        _print_sizes(own, splits)


def _loaded(own: Task, path: Path) -> tuple[Task, Splits]:
    """The task of a card at `path` and its examples, in the windows that `mpdd task check` will say."""
    from mpdd.data.task import SPLITS
    from mpdd.data.windows import NER_CHARS

    splits = own.load(path.parent)
    if own.in_windows and any(len(example.text) > NER_CHARS / 2 for split in SPLITS for example in splits[split]):
        own = _fitted(own)  # some text may take several windows
        splits = own.load(path.parent)
    return own, splits


def _print_sizes(own: Task, splits: Splits) -> None:
    from mpdd.data.cards import losses

    typer.echo(f"Found {len(splits.train)} train, {len(splits.dev)} dev and {len(splits.test)} test examples.")
    for note, number in splits.notes.items():
        typer.echo(f"{number:>8} {splits.with_place(note)}")
    if message := losses.warning(own.card, splits):
        typer.echo(f"Warning: {message}", err=True)


def _fitted(own: Task) -> Task:
    """The task with windows for the embedded backbone."""
    from mpdd.backbone.vocabulary import load_tokenizer
    from mpdd.data.cards.fitting import fitted
    from mpdd.data.task import PROMPT_LENGTH

    return fitted(own, *load_tokenizer(), PROMPT_LENGTH)


def _print_presets() -> None:
    from mpdd.cli.show import console
    from mpdd.data.cards import new as cards

    for name, text in cards.presets().items():
        values = tomllib.loads(text)
        console().print(f"{name:<24}{values['type']:<16}{values.get('licence', '')}", markup=False)


def _from(folder: Path, paths: list[str] | None) -> list[str] | str:
    """The paths as they are found from the card's folder; one of them is not listed."""
    found = [path if not path or Path(path).is_absolute() else os.path.relpath(path, folder) for path in paths or []]
    return found[0] if len(found) == 1 else found


def pairs(option: str, wanted: str, given: list[str] | None) -> dict[str, str]:
    """The values A=B of an option that may be repeated; `InputError`, which says what is `wanted`, for any other."""
    parts = [text.partition("=") for text in given or []]
    if any(not name or not value for name, _, value in parts):
        raise InputError(f"{option} names two things", found="one, or nothing", wanted=f"{option} {wanted}")
    return {name.strip(): value.strip() for name, _, value in parts}


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
