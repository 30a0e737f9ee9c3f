"""Importing the package loads nothing heavy, and every name of the API is there, typed and documented."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import mpdd

HEAVY = ("torch", "transformers", "numpy", "pydantic", "pyarrow", "rich", "typer", "lxml")


def test_importing_the_package_loads_no_library():
    code = f"import mpdd, sys; dir(mpdd); print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_types_of_answers_need_no_library():
    code = f"import mpdd, sys; mpdd.AnnotatedNote, mpdd.TaskCard; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", mpdd.__all__)
def test_every_name_is_there_and_documented(name):
    found = getattr(mpdd, name)
    assert found.__name__ == name
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        signature = inspect.signature(found)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


def test_all_names_are_what_type_checkers_see():
    assert sorted(mpdd._MODULE_OF) == sorted(mpdd.__all__)
    assert set(mpdd.__all__) <= set(dir(mpdd))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        mpdd.nothing  # noqa: B018
