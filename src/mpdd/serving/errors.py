"""Errors of the gateway: a status, a kind and one sentence, always in the same JSON form, never with what was sent."""

from __future__ import annotations

import json
from math import ceil

from fastapi.responses import JSONResponse


class RefusedError(Exception):
    """A request that gets an error: its status, its kind, one sentence without anything that was sent, seconds to wait."""

    def __init__(self, status: int, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(kind)
        self.status, self.kind, self.message, self.retry_after = status, kind, message, retry_after
        if status == 503 and retry_after is None:
            self.retry_after = 5.0


class GoneError(Exception):
    """The client closed the connection before its answer."""


def body_of(error: RefusedError) -> bytes:
    """The one form of errors, as JSON."""
    return json.dumps({"error": {"type": error.kind, "message": error.message}}).encode()


def headers_of(error: RefusedError) -> dict[str, str]:
    """When to come back, and how to authenticate."""
    headers = {"Retry-After": str(max(1, ceil(error.retry_after)))} if error.retry_after is not None else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def error_response(error: RefusedError, headers: dict[str, str] | None = None) -> JSONResponse:
    """The error as a response."""
    content = json.loads(body_of(error))
    return JSONResponse(content, error.status, {**headers_of(error), **(headers or {})})


def shutting_down() -> RefusedError:
    """What is said to requests that come, or are not finished, when the server stops."""
    return RefusedError(503, "shutting_down", "The server is shutting down; try again.", 5.0)
