"""What all routes that ask the engine share."""

from __future__ import annotations

import json
import secrets
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
