"""MedQA (USMLE), the 1,273 four-option questions that MIRAGE holds; no upstream split, so cut 70/10/20 by rule."""

from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import mirage
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

FILES = ("mirage/benchmark.json",)


def load(root: Path) -> Splits:
    """Return the questions, cut by the rule in `splits`."""
    notes = Notes()
    train, dev, test = splits.cut(mirage.read(root / FILES[0], "medqa", notes), (70, 10, 20))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="medqa",
        type="qa",
        instruction="Choose the best answer to the medical exam question.",
        text_field="Question",
        max_answer_tokens=40,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="MIT (MedQA); MIRAGE: public domain (US government work)",
    citation="Jin et al. 2021, MedQA, arXiv:2009.13081; in the form of MIRAGE, Xiong et al. 2024, arXiv:2402.13178",
)
