"""Writes tasks as a folder for lm-evaluation-harness: a YAML file for each, its splits as JSON Lines, and their scoring.

Inputs and targets are ours, word for word. For one `vocabulary` they are also asked exactly as `predict` asks that backbone:
texts cut to its context at their end, options closed by its end token and, where an example brings its own, compared by the
mean log-likelihood of a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpdd import __version__
from mpdd.data import catalogue
from mpdd.data.mixture import few_shot
from mpdd.data.task import SPLITS, Example, Splits, Task, TaskCard
from mpdd.data.types import candidates, render_input, render_target
from mpdd.errors import InputError
from mpdd.evaluation.harness.scoring import EXAMPLE, RECORD
from mpdd.evaluation.metrics import METRIC_NAMES, metrics_for
from mpdd.files import distinct_names, new_folder, write_atomically

if TYPE_CHECKING:
    from mpdd.backbone.vocabulary import Vocabulary

FORMAT = 1
PREFIX = "mpdd_"  # of task names, as the harness has some of the same names
_SPLIT_KEYS = {"train": ("training_split", "fewshot_split"), "dev": ("validation_split",), "test": ("test_split",)}
_UTILS = '''\
"""Reads the splits of this folder and scores outputs as mpdd does; needs `pip install mpdd` beside lm_eval."""

from pathlib import Path

from mpdd.evaluation.harness import scoring

FOLDER = Path(__file__).resolve().parent


def load(task, **_):
    return scoring.load(FOLDER, task)


def process_results(doc, results):
    return scoring.process_results(FOLDER, doc, results)


# What makes a score, from 0 to 100, of the counts of all examples.
'''


@dataclass(frozen=True)
class Exporting:
    """What is written of each task: at most so many examples of a split (`most`, by split; all where it is not named), drawn as
    an experiment's `limits` draw them, for any model or for the backbone of `vocabulary`."""

    most: Mapping[str, int] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None

    def splits(self, task: Task, name: str) -> dict[str, Sequence[Example]]:
        """The examples by split, without splits that have none. Raise `InputError` where none has any."""
        read = self._read(task, name)
        drawn = {split: few_shot(read[split], self.most.get(split, len(read[split])), 0) for split in SPLITS}
        if not (drawn["dev"] or drawn["test"]):
            raise InputError(f"The task {name} has nothing to score on", found="no dev and no test examples", wanted="some")
        return {split: examples for split, examples in drawn.items() if examples}

    def _read(self, task: Task, name: str) -> Splits:
        if self.vocabulary is None or task.in_windows is None:
            return catalogue.load(name)
        from mpdd.data.cards.fitting import fitted

        words = self.vocabulary
        return fitted(task, words.tokenizer, words.context, 0, words.template).load(Path())


def write(
    names: Sequence[str], folder: Path, exporting: Exporting | None = None, tick: Callable[[int], object] = lambda _: None
) -> None:
    """Write tasks of the catalogue, or users' own by the path of their card, to a new folder; `tick(1)` after each.

    Raise `InputError` for an unknown task, two of one name, and a folder with files; then nothing is written.
    """
    exporting = exporting or Exporting()
    tasks = [catalogue.get(name) for name in names]
    _require_distinct(tasks)
    stems = distinct_names(re.sub(r"[^\w-]+", "_", task.name) for task in tasks)
    record = {}
    with new_folder(folder) as made:
        for name, task, stem in zip(names, tasks, stems, strict=True):
            splits = exporting.splits(task, name)
            files = {split: f"{stem}.{split}.jsonl" for split in splits}
            for split, examples in splits.items():
                _write_rows(made / files[split], task.card, examples, exporting.vocabulary)
            write_atomically(made / f"{PREFIX}{stem}.yaml", _yaml(task, stem, splits, exporting.vocabulary).encode())
            sizes = {split: len(examples) for split, examples in splits.items()}
            about = {"licence": task.licence, "citation": task.citation, "headline": task.headline, "examples": sizes}
            record[task.name] = {**about, "files": files, "card": task.card.to_dict()}
            tick(1)
        write_atomically(made / "utils.py", (_UTILS + "".join(_aggregations())).encode())
        _write_record(made, record, exporting.vocabulary)


def row_of(card: TaskCard, example: Example, vocabulary: Vocabulary | None = None) -> dict[str, Any]:
    """One example as the harness reads it: plain JSON values, and the whole `example` for scoring.

    `options`, of a choice, are what is compared, `label` the right one, and `lengths` what each log-likelihood is divided by.
    """
    target, options = render_target(card, example), candidates(card, example)
    row: dict[str, Any] = {"task": card.name, "id": example.id, "document": example.document}
    end, shown, lengths = "", example, [len(option) if example.choices else 1 for option in options or ()]
    if vocabulary is not None:
        from mpdd.inference.predict import Request, ask

        asked = ask(vocabulary, Request(card, example))
        shown = replace(example, text=example.text[: len(example.text) - asked.cut])
        end = _end_of(vocabulary)
        lengths = [len(tokens) if asked.by_token else 1 for tokens in asked.continuations]
    row |= {"input": render_input(card, shown), "target": target}
    if options is not None:
        row |= {"options": [option + end for option in options], "label": options.index(target), "lengths": lengths}
    return {**row, "example": EXAMPLE.dump_json(example).decode()}


def _require_distinct(tasks: Sequence[Task]) -> None:
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise InputError("The tasks cannot be exported", found=", ".join(names) or "no task", wanted="tasks, each of them once")


def _write_rows(path: Path, card: TaskCard, examples: Iterable[Example], vocabulary: Vocabulary | None) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for example in examples:
            stream.write(json.dumps(row_of(card, example, vocabulary), ensure_ascii=False) + "\n")


def _yaml(task: Task, stem: str, splits: Iterable[str], vocabulary: Vocabulary | None) -> str:
    """The task's file. Values are written as JSON, which is YAML."""
    chooses = candidates(task.card, _any_example(task.card)) is not None
    values: dict[str, Any] = {"task": f"{PREFIX}{stem}", "tag": _tags(task)}
    values |= {key: split for split in splits for key in _SPLIT_KEYS[split]}
    values |= {"output_type": "multiple_choice" if chooses else "generate_until", "doc_to_text": "input"}
    if chooses:
        values |= {"doc_to_target": "label", "doc_to_choice": "options"}
    else:
        tokens = task.card.max_answer_tokens
        tokens = tokens if vocabulary is None else min(tokens, vocabulary.context // 2)
        values |= {"doc_to_target": "target", "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": tokens}}
    end = "" if vocabulary is None or chooses else _end_of(vocabulary)
    values |= {"target_delimiter": " ", "fewshot_delimiter": f"{end}\n\n", "metadata": {"version": FORMAT, "task": task.name}}
    lines = [f"# Licence of the data: {' '.join(task.licence.split())}", *(f"{k}: {json.dumps(v)}" for k, v in values.items())]
    lines += ["custom_dataset: !function utils.load", "process_results: !function utils.process_results", "metric_list:"]
    for metric in metrics_for(task.card):
        lines += [f"  - metric: {metric.name}", f"    aggregation: !function utils.{metric.name}", "    higher_is_better: true"]
    return "\n".join(lines) + "\n"


def _tags(task: Task) -> list[str]:
    """What several tasks can be named by: all that are exported, those of Open-31, its sources and its targets."""
    return ["mpdd", *(["open31", f"open31_{task.role}s"] if task.role in ("source", "target") else [])]


def _any_example(card: TaskCard) -> Example:
    from mpdd.data.task import Answer

    return Example("", "", "", Answer(), choices=() if card.labels else ("a", "b"))


def _aggregations() -> Iterable[str]:
    return (f'{name} = scoring.aggregation("{name}")\n' for name in METRIC_NAMES)


def _end_of(vocabulary: Vocabulary) -> str:
    return str(vocabulary.tokenizer.decode([vocabulary.end]))


def _write_record(folder: Path, tasks: Mapping[str, Any], vocabulary: Vocabulary | None) -> None:
    """Write what the folder is: the tasks with their cards, licences and citations, and the backbone that it is for, if any."""
    words = vocabulary
    backbone = None if words is None else {"name": words.name, "fingerprint": words.fingerprint, "context": words.context}
    values = {"format": FORMAT, "mpdd": __version__, "backbone": backbone, "tasks": tasks}
    write_atomically(folder / RECORD, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())
