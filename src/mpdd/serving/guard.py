"""Around every request: its size, its time, its line in the audit log, safe headers; a failure that tells nothing."""

from __future__ import annotations

import datetime
import logging
import secrets
import time
import traceback
from typing import Any

from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mpdd.errors import InputError
from mpdd.serving.audit import Entry
from mpdd.serving.service import Account, Service

log = logging.getLogger("mpdd.serving")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_ACCOUNT = "mpdd.account"


def account_of(scope: Scope) -> Account:
    """Where a route writes down what the audit log needs."""
    account: Account = scope[_ACCOUNT]
    return account


class _TooLargeError(Exception):
    pass


class Guard:
    """Middleware over all routes."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service, self._unrecorded = app, service, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, account, status = time.perf_counter(), Account(), 0
        scope[_ACCOUNT] = account
        left = self._service.limits.body_bytes

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLargeError
            return message

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        try:
            if self._unrecorded and scope["method"] == "POST":
                await _say(503, "no_audit", "The audit log cannot be written; nothing is answered.")(scope, receive, guarded)
                return
            if _announced(scope) > left:
                raise _TooLargeError
            await self._app(scope, counted, guarded)
        except _TooLargeError:
            if not status:
                limit = self._service.limits.body_bytes
                await _say(413, "too_large", f"The request is larger than {limit:,} bytes.")(scope, receive, guarded)
        except Exception as error:
            log.error("request failed: %s at %s", type(error).__name__, _where(error))  # never what the error says
            if not status:
                await _say(500, "failed", "The server failed on this request.")(scope, receive, guarded)
        finally:
            await self._record(scope, account, status, time.perf_counter() - began)

    async def _record(self, scope: Scope, account: Account, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._service.metrics.requests.labels(route, str(status)).inc()
        self._service.metrics.seconds.labels(route).observe(seconds)
        if self._service.audit is None or scope["method"] != "POST":
            return
        entry = Entry(
            time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), caller=account.caller, route=route,
            tasks=account.tasks, prompts=account.prompts, backbone=self._service.engine.vocabulary.fingerprint,
            characters=account.characters, outcome=status, seconds=round(seconds, 3), request_id=secrets.token_hex(8),
        )  # fmt: skip
        try:
            await run_in_threadpool(self._service.audit.append, entry)
            self._unrecorded = False
        except InputError as error:  # from now on nothing is answered, until a line can be written again
            self._unrecorded = True
            log.error("%s", error)


def _announced(scope: Scope) -> int:
    """The length that the request says it has; 0 if it says none, or no number."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _say(status: int, kind: str, message: str) -> Any:
    return JSONResponse({"error": {"type": kind, "message": message}}, status)


def _where(error: BaseException) -> str:
    """File and line where an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
