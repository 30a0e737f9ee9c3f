"""Writes generated lines into a Markdown page, between the markers of their name; shared by the update scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def put(page: str, name: str, lines: Iterable[str]) -> str:
    """Return the page with `lines` between the markers of this name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.partition(begin)
    return "\n".join([before + begin, *lines, end + rest.partition(end)[2]])


def grid(heads: Sequence[str], rows: Sequence[Sequence[str | int]]) -> Iterator[str]:
    """A Markdown table; numbers stand to the right."""
    sides = ["---:" if rows and isinstance(cell, int) else "---" for cell in (rows[0] if rows else heads)]
    yield _line(head.replace("_", " ") for head in heads)
    yield _line(sides)
    for row in rows:
        yield _line(f"{cell:,}" if isinstance(cell, int) else cell.replace("|", "\\|") for cell in row)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
