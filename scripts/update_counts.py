"""Measures `counts.toml` anew, each `source` kept: `python -m scripts.update_counts`; `--check` only compares.

Both read all data (MPDD_MIRROR or MPDD_DATA, else downloads).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpdd.data import catalogue, counts

PATH = Path(counts.__file__).with_name(counts.TABLE)


def main() -> int:
    """Update or check the table; exit code 1 when a check finds a difference, which it names."""
    rows = {name: counts.measure(catalogue.load(name)) for name in catalogue.names()}
    old, new = PATH.read_text(encoding="utf-8"), text(rows, counts.table())
    if "--check" in sys.argv:
        differing = set(new.split("\n\n")) ^ set(old.split("\n\n"))
        print(*sorted({part.partition("\n")[0] for part in differing}) or ["as measured"])
        return int(old != new)
    PATH.write_text(new, encoding="utf-8")
    return 0


def text(rows: Mapping[str, Mapping[str, Any]], former: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole file: its opening comment, then each task with the `source` that it had."""
    opening = PATH.read_text(encoding="utf-8").partition("\n\n")[0]
    parts = (_part(name, rows[name], former.get(name, {}).get("source", "measured here")) for name in sorted(rows))
    return "\n\n".join([opening, *("\n".join(part) for part in parts)]) + "\n"


def _part(name: str, row: Mapping[str, Any], source: str) -> Iterator[str]:
    yield f"[{name}]"
    yield from (f"{key} = {_value(row[key])}" for key in ("documents", "examples", "gold", "ids"))
    yield f"source = {_value(source)}"
    if row["notes"]:
        yield f"[{name}.notes]"
        yield from (f"{_value(reason)} = {number}" for reason, number in sorted(row["notes"].items()))


def _value(value: Any) -> str:
    """A list of numbers or a text in TOML, which writes these as JSON does."""
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
