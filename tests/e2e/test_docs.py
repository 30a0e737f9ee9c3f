"""The commands of the documentation, run in their order as a reader would."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.pages import DOCS, blocks, run_blocks

pytestmark = pytest.mark.e2e


def test_adding_a_task(tmp_path):
    """The demo, with its two processes, and the first of every other command but `predict` are new Pythons; the second card,
    and `predict`, of which the README's is one, are forked."""
    scripts = blocks((DOCS / "adding_a_task.md").read_text(encoding="utf-8"))
    assert len(scripts) == 6
    (folder := tmp_path / "reader").mkdir()
    said = run_blocks(scripts[:4], folder, tmp_path / "first")
    said += run_blocks(scripts[4:], folder, tmp_path / "then", forked=("predict", "task"))
    assert "labels = [" in said[1]
    assert "Found 42 train, 6 dev and 12 test examples." in said[1]
    assert "mpdd" in said[3]
    note = (folder / "new.txt").read_text()
    (answer,) = map(json.loads, (folder / "answers.jsonl").read_text().splitlines())
    assert answer["task"] == "visits"
    assert all(note[e["start"] : e["end"]] == e["text"] for e in answer["entities"])
    kept = "".join(p.read_text(errors="replace") for p in (folder / "runs" / "visits").rglob("*") if p.is_file())
    assert "metoprolol" not in kept
    assert "nosebleed" not in kept


def python_blocks(page):
    """Python of a page, without the blocks of libraries that are not installed here."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"(?:<!-- needs (\w+) -->\n)?^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [code for needed, code in blocks if not needed or importlib.util.find_spec(needed)]


def test_python(tmp_path):
    blocks = python_blocks("python.md")
    assert len(blocks) >= 4
    script = "\n".join(blocks) + "\nprint('all of it')\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all of it\n")
    assert (tmp_path / "answers.html").is_file() and (tmp_path / "answers-brat" / "1.ann").is_file()
    assert (tmp_path / "urgency.safetensors").is_file()


def test_a_note_shows_itself_in_a_notebook(tmp_path):
    """The cells up to `notes[0]` in a notebook. With MPDD_NOTEBOOK=FILE.html the notebook is left there as a page
    (docs/notebook.png is a picture of it)."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = python_blocks("python.md")
    cells = cells[: cells.index("notes[0]\n") + 1]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code.strip()) for code in cells])
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = notebook.cells[-1].outputs
    assert "Naloxone" in output.data["text/html"] and "<mark " in output.data["text/html"]
    if page := os.environ.get("MPDD_NOTEBOOK"):
        for cell in notebook.cells:  # without the progress bars and warnings of this machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        exporter = pytest.importorskip("nbconvert").HTMLExporter(template_name="lab")
        Path(page).write_text(exporter.from_notebook_node(notebook)[0], encoding="utf-8")


def test_the_first_example_of_the_readme(tmp_path):
    """The note and the JSON of the README are what the command gives, with nothing but the package."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (note,) = re.findall(r'^echo "(.*)" > note.txt$', readme, re.MULTILINE)
    (shown,) = re.findall(r"^```json\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    (command,) = re.findall(r"^mpdd (predict --task .*)$", readme, re.MULTILINE)
    (tmp_path / "note.txt").write_text(f"{note}\n", encoding="utf-8")
    ran = subprocess.run([sys.executable, "-m", "mpdd", *command.split()], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    found, expected = json.loads(ran.stdout), json.loads(shown)
    for answer in (found, expected):
        sure = [answer.pop("confidence"), *(entity.pop("confidence") for entity in answer["entities"])]
        assert all(0.5 < p <= 1 for p in sure)
    assert found == expected
