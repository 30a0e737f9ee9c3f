"""The web page with the policy that lets it run its own script and style, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

HTML = resources.files(__package__).joinpath("web/index.html").read_text(encoding="utf-8")


def _hashes(tag: str) -> str:
    """The sha256 of each inline part of this kind, as a content security policy wants it."""
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in parts)


POLICY = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
