"""A base held against its variants, on cells of our own."""

from __future__ import annotations

import json

import pytest

from mpdd.errors import InputError
from mpdd.evaluation import ablations

VARIANTS = {
    "base": ("base", "mpdd"),
    "worse": ("base", "other"),
    "same": ("same", "mpdd"),
    "half": ("half", "mpdd"),
    "none": ("x", "mpdd"),
}


@pytest.fixture
def folder(tmp_path):
    """Twenty questions of each of two targets: the base has 15 right, the worse one 5."""

    def write(variant, target, method, right):
        cells = tmp_path / variant / "cells"
        cells.mkdir(parents=True, exist_ok=True)
        (cells.parent / "config.toml").write_text('targets = ["pubmedqa", "headqa"]')
        row = {"target": target, "method": method, "seed": 0, "value": 5.0 * right, "trainable_fraction": 0.0003}
        counts = [[int(n < right), 1] for n in range(20)]
        cell = {"row": row, "documents": [str(n) for n in range(20)], "counts": counts}
        (cells / f"{target}--{method}--32--s0.json").write_text(json.dumps(cell))

    for target in ("headqa", "pubmedqa"):
        write("base", target, "mpdd", 15)
        write("base", target, "other", 5)
        write("same", target, "mpdd", 15)
    write("half", "headqa", "mpdd", 20)
    return tmp_path


def test_each_variant_with_every_target_stands_against_the_base(folder):
    base, worse, same = ablations.rows(folder, VARIANTS)
    assert base == ("base", "75.0", "", "", "", "0.0300 %")
    assert worse[:3] == ("worse", "25.0", "+50.0")
    low, high = map(float, worse[3].strip("[]").split(", "))
    assert 0 < low < 50 < high and float(worse[4]) < 0.01
    assert same[:5] == ("same", "75.0", "+0.0", "[0.0, 0.0]", "1.000")
    assert {len(row) for row in (base, worse, same)} == {len(ablations.HEADS)}


def test_other_documents_cannot_be_compared(folder):
    path = folder / "same" / "cells" / "headqa--mpdd--32--s0.json"
    cell = json.loads(path.read_text())
    path.write_text(json.dumps(cell | {"documents": cell["documents"][::-1]}))
    with pytest.raises(InputError, match="other test documents of headqa"):
        ablations.rows(folder, VARIANTS)


def test_nothing_was_run(tmp_path):
    assert ablations.rows(tmp_path, VARIANTS) == []
