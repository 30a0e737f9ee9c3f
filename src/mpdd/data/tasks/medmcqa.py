"""MedMCQA, Indian medical entrance exams, the 4,183 questions that MIRAGE holds (MedMCQA's own validation set).

No upstream split, so cut 70/10/20 by rule. A document is a question without regard to case and punctuation.
"""

from dataclasses import replace
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import mirage
from mpdd.data.readers.base import Notes
from mpdd.data.task import Splits, Task, TaskCard

FILES = ("mirage/benchmark.json",)


def load(root: Path) -> Splits:
    """Return the questions, cut by the rule in `splits`."""
    notes = Notes()
    questions = mirage.read(root / FILES[0], "medmcqa", notes)
    grouped = [replace(question, document=f"medmcqa:{splits.fingerprint(question.text)}") for question in questions]
    train, dev, test = splits.cut(grouped, (70, 10, 20))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="medmcqa",
        type="qa",
        instruction="Choose the right answer to the medical entrance exam question.",
        text_field="Question",
        max_answer_tokens=32,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="MIT (MedMCQA); MIRAGE: public domain (US government work)",
    citation="Pal et al. 2022, MedMCQA, CHIL, arXiv:2203.14371; in the form of MIRAGE, Xiong et al. 2024, arXiv:2402.13178",
)
