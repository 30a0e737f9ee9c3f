"""What a run records beside a task's own metrics: the n2c2 script's scores, and scores by coarser labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mpdd.data.task import Example, Parsed, Task
from mpdd.evaluation import n2c2
from mpdd.evaluation.metrics import score

_BY_COARSE_LABELS = ("strict_f1", "lenient_f1")


def other_values(task: Task, examples: Sequence[Example], parsed: Sequence[Parsed]) -> dict[str, float]:
    """Return further values, 0 to 100, by name, of one output for each example; none for most types.

    `n2c2_*` for entities and relations (see `n2c2`), `coarse_*` where the task has coarser labels.
    """
    values = n2c2.scores(examples, parsed) if task.card.type in ("ner", "re") else {}
    if task.coarse is not None:
        gold = [replace(example, gold=task.coarse(example.gold)) for example in examples]
        coarse = score(task.card, gold, [replace(output, answer=task.coarse(output.answer)) for output in parsed]).values
        values |= {f"coarse_{name}": coarse[name] for name in _BY_COARSE_LABELS if name in coarse}
    return values
