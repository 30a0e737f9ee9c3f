"""What `mpdd task check` prints for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table as Grid
from rich.text import Text

from mpdd.cli.show import console
from mpdd.data.leaks import RUN
from mpdd.data.readers.base import RECOGNISED, is_about_reading
from mpdd.data.task import SPLITS
from mpdd.data.types.spans import fold


def print_report(report: Mapping[str, Any]) -> None:
    """The facts of `mpdd.data.cards.check`, the chance level and the examples, if there are any."""
    _say(f"{report['task']}: {report['type']}", style="bold")
    _grid("", SPLITS, ((name, *report[name].values()) for name in ("examples", "documents", "duplicates")))
    _print_labels(report)
    _print_tokens(report["tokens"])
    for line in _gold(report["gold"]):
        _say(line)
    _grid(f"leaks ({RUN} words)", ("train", "dev"), _leaks(report["leaks"]))
    _say(f"A trivial answer has {report['chance']['metric']} {report['chance']['test']} on test.\n")
    for warning in filter(None, (report["warning"], *report["weak_test"])):
        _say(f"Warning: {warning}\n", style="bold")
    recognised = {note: number for note, number in report["notes"].items() if RECOGNISED in note}
    for note, number in recognised.items():
        _say(f"{number} {note}.\n")
    others = [pair for pair in report["notes"].items() if pair[0] not in recognised]
    if read := [pair for pair in others if is_about_reading(pair[0])]:
        _grid("read, and nothing lost", ("",), read)
    if left_out := [pair for pair in others if not is_about_reading(pair[0])]:
        _grid("skipped, cut or left out", ("",), left_out)
    for problem, place in report["first_skipped"].items():
        _say(f"First one skipped ({problem.removeprefix('skipped: ')}): {place}.\n")
    for example in report["shown"]:
        _say(f"{example['id']}", style="bold")
        _say(f"{example['input']} {example['target']}\n")


def _print_tokens(tokens: Mapping[str, Any]) -> None:
    _grid("tokens", ("50 %", "90 %", "99 %", "max"), ((name, *tokens[name].values()) for name in ("input", "answer")))
    if tokens["window"] is not None:
        _say(f"Texts are read in windows of up to {tokens['window']} characters (`window` in the card).")
    _say(
        f"Context {tokens['context']}, {tokens['input_room']} of it for the input: {tokens['inputs_cut']} inputs are cut. "
        f"Answers have {tokens['max_answer_tokens']} tokens at most: {tokens['answers_too_long']} are longer.\n"
    )


def _print_labels(report: Mapping[str, Any]) -> None:
    """How often each label is an answer; for entities and relations also how many are in the files, and why some are lost."""
    by_label = report["gold"].get("labels", {})
    names = dict.fromkeys([*(name for split in SPLITS for name in report["labels"][split]), *by_label])
    if not names:
        return
    counts = {name: tuple(report["labels"][split].get(name, 0) for split in SPLITS) for name in names}
    if by_label:
        rows = ((name, *counts[name], *_in_files(by_label.get(name))) for name in names)
        _grid("answer", (*SPLITS, "in the files", "of these lost"), rows)
    else:
        _grid("answer", SPLITS, ((name, *counts[name]) for name in names))
    if report["labels_that_never_occur"]:
        _say(f"Labels of the card that never occur: {', '.join(report['labels_that_never_occur'])}.\n")
    if lacking := report["gold"].get("labels_not_on_card"):
        _say(f"Labels in the files that the card lacks: {', '.join(lacking)}.\n")
        folded = {fold(name): name for name in by_label if name not in lacking}
        if pairs := [f"{name} ({folded[fold(name)]})" for name in lacking if fold(name) in folded]:
            _say(f"In another case the card has {', '.join(pairs)}; `ignore_case = true` under [data] reads these.\n")


def _in_files(of_label: Mapping[str, Any] | None) -> tuple[object, str]:
    if of_label is None:
        return "", ""
    return of_label["in_files"], ", ".join(f"{number} {reason}" for reason, number in of_label["lost"].items())


def _gold(gold: Mapping[str, Any]) -> Iterable[str]:
    if "in_files" in gold:
        lost = "".join(f", {number} {reason}" for reason, number in gold["lost"].items())
        yield f"Of {gold['in_files']} gold items in the files {gold['read']} stand in what the model reads{lost}.\n"
    if gold["not_read_back"]:
        yield f"{gold['not_read_back']} answers do not read back as they were written.\n"


def _leaks(leaks: Mapping[str, Mapping[str, int]]) -> Iterable[tuple[object, ...]]:
    for name, words in (
        ("same_document_left_out", "left out: the document is in a later split"),
        ("same_input_left_out", "left out: the input is in a later split"),
        ("dev_examples_sharing_runs", "dev examples that share words in a row with it"),
        ("test_examples_sharing_runs", "test examples that share words in a row with it"),
    ):
        yield words, *(leaks[split].get(name, "") for split in ("train", "dev"))


def _grid(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    grid = Grid(box=None, pad_edge=False)
    grid.add_column(title)
    for head in heads:
        grid.add_column(head, justify="right")
    for row in rows:
        grid.add_row(*(Text(str(cell)) for cell in row))
    console().print(grid)
    console().print()


def _say(line: str, style: str = "") -> None:
    console().print(Text(line, style=style))
