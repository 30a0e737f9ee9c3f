"""The order of the house: imports go one way, and importing the package or the command line loads no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mpdd

ROOT = Path(mpdd.__file__).parent
ORDER = (
    "errors", "files", "progress", "backbone", "data", "config", "prompts", "training", "inference", "annotate", "serving",
    "export", "methods", "evaluation", "run_folder", "shape", "check", "pipeline", "parts", "side_by_side", "rehearsal",
    "own_task", "federated", "demo", "cli",
)  # fmt: skip


def part(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mpdd":
            found |= {f"mpdd.{a.name}" for a in node.names} if node.module == "mpdd" else {node.module}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "mpdd"}
    return {part(name) for name in found} - {"__version__", ""}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    later = {name for name in imports(path) if ORDER.index(name) > ORDER.index(own)}
    assert not later, f"{own} imports {later}, which come after it"


@pytest.mark.parametrize("module", ["mpdd", "mpdd.cli.app", "mpdd.config", "mpdd.data.catalogue", "mpdd.data.types"])
def test_light_modules_load_no_torch(module):
    code = f"import {module}, sys; print([m for m in ('torch', 'transformers', 'peft', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
