"""The layers of the package, as docs/architecture.md lists them, and what its light modules load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mpdd

ROOT = Path(mpdd.__file__).parent
PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
LAYERS = [re.findall(r"`(\w+)`", line) for line in re.findall(r"^\d+\. ((?:`\w+`(?:, )?)+)$", PAGE, re.M)]
FLOOR = {room: number for number, layer in enumerate(LAYERS) for room in layer}
FILES = sorted(ROOT.rglob("*.py"))
MOST_NAMES = 22  # at the top of the package
FEWEST_LINES = 39  # of a module


def module_of(path: Path) -> str:
    return ".".join(["mpdd", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: no bodies of functions, nothing for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or isinstance(node, ast.If)
            and "TYPE_CHECKING" in ast.dump(node)
        ):
            continue
        yield node
        yield from at_import(node)


def imports(path: Path, nodes: Iterator[ast.AST]) -> set[str]:
    """The modules of the package that a file imports."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mpdd":
            found |= {full if (full := f"{node.module}.{a.name}") in MODULES else str(node.module) for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "mpdd"}
    return found - {"mpdd"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_lower_layers(path):
    own = room_of(module_of(path)) or "__init__"
    if own in ("__init__", "__main__"):
        return
    others = {room_of(name) for name in imports(path, ast.walk(ast.parse(path.read_text())))} - {own}
    assert not {room for room in others if FLOOR[room] >= FLOOR[own]}, f"{own} is in layer {FLOOR[own] + 1}"


def test_no_modules_import_each_other():
    graph = {name: imports(path, at_import(ast.parse(path.read_text()))) for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


def test_the_page_lists_what_is_there():
    tree = PAGE.partition("```text\nsrc/mpdd/\n")[2].partition("```")[0]
    listed = [line.split()[0].rstrip("/") for line in tree.splitlines()]
    there = [path.name for path in ROOT.iterdir() if path.name != "__pycache__"]
    assert sorted(listed) == sorted(there) and len(there) <= MOST_NAMES
    rooms = {name.removesuffix(".py") for name in listed} - {"__init__", "__main__", "metaprompts", "py.typed"}
    assert rooms == FLOOR.keys() and len(rooms) == sum(map(len, LAYERS))
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+(?:\.py|/))`", PAGE)) - {"results/", "scripts/"}
    assert len(named) > 20
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT.parents[1] / name).exists()]
    assert not missing


@pytest.mark.parametrize(
    "module", ["mpdd", "mpdd.cli.app", "mpdd.experiment.config", "mpdd.data.catalogue", "mpdd.data.types", "mpdd.methods.options"]
)
def test_light_modules_load_no_torch(module):
    code = f"import {module}, sys; print([m for m in ('torch', 'transformers', 'peft', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# Rooms where each file is one thing of a kind, however short: adding one is adding a file.
ONE_A_FILE = ("data/tasks", "data/readers", "data/types", "data/cards/exports", "annotate/writers", "methods/catalogue")


def test_short_modules_join_their_neighbours():
    named = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    short = {name: lines for name, lines in named.items() if lines < FEWEST_LINES and not name.startswith(ONE_A_FILE)}
    assert not {name for name in short if Path(name).name not in ("__init__.py", "__main__.py")}
