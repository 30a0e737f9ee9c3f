"""Adding a method, a task, an export or a reader takes one new source file, and nothing else names it.

Each file is written into a copy of the package, which then knows the new name everywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mpdd

ROOT = Path(mpdd.__file__).parent

METHOD = '''"""A dummy."""

from mpdd.methods.method import Method


def run(cell):
    return cell.answer(None)


METHODS = (Method(name="dummy", place=999, run=run, note="It does nothing.", family="other", rates="lora", trains="adapter"),)
'''
TASK = '''"""A dummy."""

from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

ONE = Example("1", "1", "text", Answer(choice=0))
CARD = TaskCard("dummy", "nli", "Is it so?", labels=("yes", "no"), fields=("Hypothesis",))
TASK = Task(CARD, "spare", (), lambda root: Splits((ONE,), (ONE,), (ONE,)), "none", "nobody")
'''
EXPORT = '''"""A dummy."""

from mpdd.annotate.writers.base import Writer

WRITER = Writer("Dummy", ".dummy", lambda notes, origin: iter([("", b"%d" % len(notes))]), "everything")
'''
READER = '''"""A dummy."""

from mpdd.data.cards.exports.base import Export, converted, most


def convert(layout, records, notes):
    return converted(records, lambda values: {"text": values["dummy_text"], "label": values["dummy_label"]}, notes)


EXPORTS = (Export("dummy", 1, "Dummy", most(lambda values: "dummy_text" in values), convert),)
'''
CASES = {
    "method": (
        "methods/catalogue/dummy.py",
        METHOD,
        """
from mpdd.evaluation.report import plots, wording
from mpdd.evaluation.row import METHODS
from mpdd.experiment import config
from mpdd.methods.registry import ALONE, IN_THE_WEIGHTS
made = config.build({"name": "x", "methods": ["dummy"], "targets": ["rqe"]}, "x.toml")
found = [made.methods, METHODS[-1], wording.METHOD_NOTES["dummy"], plots.style("dummy").family, "dummy" in ALONE & IN_THE_WEIGHTS]
""",
        [["dummy"], "dummy", "It does nothing.", "other", True],
    ),
    "task": (
        "data/tasks/dummy.py",
        TASK,
        """
from mpdd.data import catalogue
from mpdd.experiment import config
made = config.build({"name": "x", "methods": ["zero-shot"], "targets": ["dummy"]}, "x.toml")
found = ["dummy" in catalogue.names(), catalogue.get("dummy").card.type, len(catalogue.load("dummy").test), made.targets]
""",
        [True, "nli", 1, ["dummy"]],
    ),
    "export": (
        "annotate/writers/dummy.py",
        EXPORT,
        """
from mpdd.annotate.writers import formats, writer
from mpdd.annotate.writers.base import Origin
found = ["dummy" in formats(), [content.decode() for _, content in writer("dummy").files([], Origin())]]
""",
        [True, ["0"]],
    ),
    "reader": (
        "data/cards/exports/dummy.py",
        READER,
        """
from pathlib import Path
from mpdd.data.cards import card_file
Path("rows.jsonl").write_text(''.join('{"dummy_text": "note %d", "dummy_label": "a"}\\n' % n for n in range(20)))
card = ['name = "own"', 'type = "classification"', 'labels = ["a", "b"]', 'instruction = "?"', "[data]", 'train = "rows.jsonl"']
Path("card.toml").write_text("\\n".join(card))
splits = card_file.read(Path("card.toml")).load(Path())
found = sorted({len(example.text) for example in splits.train} | {splits.train[0].gold.choice})
""",
        [0, 6, 7],
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_a_new_one_takes_one_source_file(what, tmp_path):
    name, content, use, wanted = CASES[what]
    copy = tmp_path / "src" / "mpdd"
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "tokenizer.json")
    shutil.copytree(ROOT, copy, ignore=ignored)
    code = f"import json, mpdd{use}\nassert mpdd.__file__.startswith({str(copy)!r})\nprint(json.dumps(found))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "MPDD_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "ignore", "-c", code]
    before = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert before.returncode  # the dummy is not there yet
    (copy / name).write_text(content, encoding="utf-8")
    after = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert after.returncode == 0, after.stderr
    assert json.loads(after.stdout) == wanted
