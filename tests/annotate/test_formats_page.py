"""docs/formats.md lists every format that is written, with what it does not hold."""

from __future__ import annotations

from pathlib import Path

from mpdd.annotate.writers import formats, writer

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def test_the_page_lists_what_can_be_written():
    table = PAGE.partition("## What is written")[2]
    for name in formats():
        of = writer(name)
        output = f"`{of.suffix}`" if of.suffix else "a folder"
        assert f"| `{name}` | {output} | {of.title} | {of.lost} |" in table
