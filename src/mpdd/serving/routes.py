"""What routes share: refusals, responses and ids; and the web page with the policy that lets it run its own script and style,
and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from importlib import resources
from typing import Any

from fastapi import Request as HttpRequest
from fastapi import Response

from mpdd.serving.schema import Error

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (400, 401, 404, 408, 413, 422, 429, 503)
}  # fmt: skip


async def until_gone(request: HttpRequest) -> None:
    """Return when the client of a request, whose body was read, has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def as_json(values: object) -> Response:
    """A response with these values; to be called in a thread, as they may be long."""
    content = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(content, media_type="application/json")


def new_id() -> str:
    """An id that nobody has used."""
    return secrets.token_hex(12)


HTML = resources.files(__package__).joinpath("web/index.html").read_text(encoding="utf-8")


def _hashes(tag: str) -> str:
    """The sha256 of each inline part of this kind, as a content security policy wants it."""
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in parts)


POLICY = (
    f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
