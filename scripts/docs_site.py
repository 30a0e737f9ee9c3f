"""Hooks of the documentation site (mkdocs.yml): the README is its first page, and links out of `docs/` become plain text.

`make docs` builds the site; `mkdocs build --strict` stops at a link or an anchor that leads nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the README, as it is seen from `docs/`, as the first page."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=_LINK.sub(_from_docs, text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page without links to files of the repository that are no part of the site: their paths stand there as code."""
    return _LINK.sub(_outside_as_code, markdown)


def _from_docs(link: re.Match[str]) -> str:
    """A link of the README as it is written in `docs/`."""
    mark, text, target, anchor = link.groups()
    if "://" in target:
        return link[0]
    target = target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
    return f"{mark}[{text}]({target}{anchor or ''})"


def _outside_as_code(link: re.Match[str]) -> str:
    mark, text, target, _ = link.groups()
    if mark or not target.startswith("../"):
        return link[0]
    path = target.removeprefix("../")
    return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"
