"""The counted errors of a run as tables for its report, with a sentence on the most frequent one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpdd.errors import InputError
from mpdd.evaluation.failures import ERRORS, at_most_shots
from mpdd.evaluation.report import wording
from mpdd.evaluation.results import read_json

_LABELS = 12  # shown by name in a table
_CONFUSED = 8  # labels, at most, of a table of gold against predicted
_DARKEST = 40  # per cent of the tint of the most frequent error
_NAMES = {  # of what happens, as people read it: as a heading, and in a sentence about the most frequent error
    "wrong_boundary": ("wrong boundary", "the right label on a wrong boundary"),
    "wrong_label": ("wrong label", "the right place with a wrong label"),
    "turned_round": ("turned round", "head and tail the wrong way round"),
    "missed": ("missed", "nothing found where gold has something"),
    "spurious": ("spurious", "something found where gold has nothing"),
    "wrong": ("wrong", "a wrong answer"),
    "overlapping": ("overlapping", "some words of the gold answer, but not exactly those"),
    "unparseable": ("unparseable", "an output that cannot be read"),
}


@dataclass(frozen=True)
class Count:
    """A number as people read it, the per cent of its tint as an error, and whether it counts what is right."""

    text: str
    tint: int = 0
    right: bool = False


@dataclass(frozen=True)
class View:
    """A table: its heading and its lines, each with a name first; and what it says in words."""

    head: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Count, ...]], ...]
    summary: str


@dataclass(frozen=True)
class FailureTable:
    """What one run did wrong on a target; `notes` are on outputs that the table does not speak of."""

    target: str
    method: str
    run: str
    view: View
    notes: tuple[str, ...]


def failure_tables(path: Path, methods: Sequence[str]) -> list[FailureTable]:
    """A table for each target: the first of `methods` that has one, at the most shots; none without such a record.

    Raise `InputError` where the file is not what a run writes.
    """
    records = read_json(path) if path.exists() else []
    try:
        by_target: dict[str, list[Any]] = {}
        for item in records:
            by_target.setdefault(item["target"], []).append(item)
        return [_table(items, methods) for items in by_target.values()]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise InputError(f"{path} is not what a run writes", wanted="a list of objects with target, method and kind") from error


def _table(items: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> FailureTable:
    places = at_most_shots(items)
    record = items[places[next(method for method in (*methods, *places) if method in places)]]
    run = f"{wording.shots_name(record['shots'])}, seed {record['seed']}"
    return FailureTable(str(record["target"]), str(record["method"]), run, _VIEWS[record["kind"]](record), tuple(_notes(record)))


def _by_label(record: Mapping[str, Any]) -> View:
    return _label_view(record["labels"], ERRORS[record["kind"]], f"gold {record['kind']}")


def _label_view(labels: Mapping[str, Mapping[str, int]], errors: Sequence[str], noun: str) -> View:
    """The most frequent labels by name, the others together."""
    names = ("gold", "right", *errors)
    filled = [label for label, counts in labels.items() if any(counts[name] for name in names)]
    filled.sort(key=lambda label: -labels[label]["gold"] - labels[label]["spurious"])
    named = {label: labels[label] for label in filled[:_LABELS]}
    rest, whole = ({name: sum(labels[label][name] for label in some) for name in names} for some in (filled[_LABELS:], filled))
    largest = max((counts[name] for counts in named.values() for name in errors), default=0)
    lines = [(label, _counts(counts, names, largest)) for label, counts in named.items()]
    lines += [(f"{len(filled) - _LABELS} others", _counts(rest, names))] if len(filled) > _LABELS else []
    lines += [("all", _counts(whole, names))] if len(filled) > 1 else []
    head = ("label", "gold", "right", *(_NAMES[name][0] for name in errors))
    return View(head, tuple(lines), _summary(whole["right"], whole["gold"], noun, [(whole[e], _NAMES[e][1]) for e in errors]))


def _counts(counts: Mapping[str, int], names: Sequence[str], largest: int = 0) -> tuple[Count, ...]:
    return tuple(Count(wording.whole(counts[n]), 0 if n in ("gold", "right") else _tint(counts[n], largest)) for n in names)


def _tint(count: int, largest: int) -> int:
    return round(_DARKEST * count / largest) if largest else 0


def _confusion(record: Mapping[str, Any]) -> View:
    """Gold labels against predicted ones; with many labels, what became of each."""
    labels, table, outcomes = record["labels"], record["confusion"], record["outcomes"]
    errors = {(i, j): n for i, row in enumerate(table) for j, n in enumerate(row) if i != j}
    phrases = [(n, _confused(labels[i], labels[j] if j < len(labels) else None)) for (i, j), n in errors.items()]
    summary = _summary(outcomes["right"], record["examples"], "examples", phrases)
    if len(labels) > _CONFUSED:
        return replace(
            _label_view({label: _one_label(table, i) for i, label in enumerate(labels)}, ERRORS["labels"], ""), summary=summary
        )
    largest = max(errors.values(), default=0)
    lines = (
        (label, tuple(Count(wording.whole(n), 0 if i == j else _tint(n, largest), i == j) for j, n in enumerate(row)))
        for i, (label, row) in enumerate(zip(labels, table, strict=True))
    )
    return View(("gold", *(f"as {label}" for label in labels), "unread"), tuple(lines), summary)


def _confused(gold: str, predicted: str | None) -> str:
    return f"{gold} without an answer that can be read" if predicted is None else f"{gold} taken for {predicted}"


def _one_label(table: Sequence[Sequence[int]], place: int) -> dict[str, int]:
    gold, right, predicted = sum(table[place]), table[place][place], sum(row[place] for row in table)
    return {"gold": gold, "right": right, "missed": gold - right, "spurious": predicted - right}


def _outcomes_view(record: Mapping[str, Any]) -> View:
    (best, right), *errors = record["outcomes"].items()
    whole, largest = record["examples"], max(n for _, n in errors)
    lines = [(best, (Count(wording.whole(right), right=True), _share(right, whole)))]
    lines += [(_NAMES[name][0], (Count(wording.whole(n), _tint(n, largest)), _share(n, whole))) for name, n in errors]
    return View(
        ("answers", "examples", "share"), tuple(lines), _summary(right, whole, "answers", [(n, _NAMES[e][1]) for e, n in errors])
    )


def _words_view(record: Mapping[str, Any]) -> View:
    whole, ratio = record["examples"], record["median_ratio"]
    names = {"empty": "empty", "copied": "word for word in the input", "gold_copied": "gold: word for word in the input"}
    lines = ((text, (Count(wording.whole(record[name])), _share(record[name], whole))) for name, text in names.items())
    summary = (
        "No output has a word." if ratio is None else f"An output has {ratio:.2f} times the words of its gold answer (median)."
    )
    return View(("outputs", "examples", "share"), tuple(lines), summary)


def _share(part: int, whole: int) -> Count:
    return Count(wording.percent(part / whole) if whole else "")


def _summary(right: int, whole: int, noun: str, errors: Sequence[tuple[int, str]]) -> str:
    """How much is right, and which error is the most frequent."""
    share = f" ({wording.percent(right / whole)})" if whole else ""
    opening = f"{wording.whole(right)} of {wording.whole(whole)} {noun} are right{share}"
    number, phrase = max(errors, key=lambda error: error[0], default=(0, ""))
    if not number:
        return f"{opening}, without an error."
    return (
        f"{opening}. The most frequent error: {phrase} ({wording.whole(number)} of {wording.whole(sum(n for n, _ in errors))})."
    )


def _notes(record: Mapping[str, Any]) -> Iterator[str]:
    reported = (
        ("lost", "Gold items that cannot be answered (in pieces, or across a window\u2019s edge) and are scored as missed"),
        ("unparseable", "Outputs that cannot be read"),
        ("ungrounded", "Predictions that name nothing in the text, or no label"),
        ("cut_inputs", "Inputs cut to fit the context"),
    )
    yield from (f"{what}: {wording.whole(record[name])}." for name, what in reported if record.get(name))


_VIEWS: Mapping[str, Callable[[Mapping[str, Any]], View]] = {
    **dict.fromkeys(("entities", "relations", "labels"), _by_label),
    "choices": _confusion,
    **dict.fromkeys(("options", "extracts"), _outcomes_view),
    "texts": _words_view,
}
