"""Around every request: its size, its time, its line in the audit log, safe headers; a failure that tells nothing."""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mpdd.errors import InputError
from mpdd.serving.audit import Entry
from mpdd.serving.bodies import GoneError, RefusedError, error_response, shutting_down
from mpdd.serving.service import Account, Service

log = logging.getLogger("mpdd.serving")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_ACCOUNT = "mpdd.account"
_GONE = 499  # the outcome in the audit log where the client left first


def account_of(scope: Scope) -> Account:
    """Where a route writes down what the audit log needs."""
    account: Account = scope[_ACCOUNT]
    return account


class _TooLargeError(Exception):
    pass


class _TooSlowError(Exception):
    pass


class Guard:
    """Middleware over all routes. HEAD is answered as GET without its body, OPTIONS with the methods of the route."""

    def __init__(self, app: ASGIApp, service: Service, routes: Sequence[Any]) -> None:
        self._app, self._service, self._routes, self._unrecorded = app, service, routes, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = scope["method"]
        scope = {**scope, "method": "GET" if wanted == "HEAD" else wanted, _ACCOUNT: Account()}
        exchange = _Exchange(self, scope, receive, send, wanted == "HEAD", self._service.limits.body_bytes)
        try:
            await self._answer(exchange, scope)
        except RefusedError as error:
            await exchange.refuse(error)
        except (GoneError, ClientDisconnect):
            pass
        except asyncio.CancelledError:  # the server stops and has waited long enough
            await asyncio.wait_for(exchange.refuse(shutting_down()), 1.0)
        except Exception as error:
            log.error("request failed: %s at %s", type(error).__name__, where(error))  # never what the error says
            await exchange.refuse(RefusedError(500, "failed", "The server failed on this request."))
        finally:
            self._measure(exchange)
            if not exchange.status:
                await self.record(scope, _GONE, exchange.began)

    async def _answer(self, exchange: _Exchange, scope: Scope) -> None:
        if scope["method"] == "OPTIONS":
            await exchange.respond(_options(scope, self._routes))
            return
        if self._unrecorded and scope["method"] == "POST":
            raise _no_audit()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except _TooLargeError:
            limit = self._service.limits.body_bytes
            raise RefusedError(413, "too_large", f"The request is larger than {limit:,} bytes.") from None
        except _TooSlowError:
            limit_s = self._service.limits.body_seconds
            raise RefusedError(408, "too_slow", f"The request was not received within {limit_s:g} seconds.") from None

    async def record(self, scope: Scope, status: int, began: float) -> bool:
        """Write the line of a request to the audit log; false where that fails, and then nothing may be answered."""
        audit, account = self._service.audit, account_of(scope)
        if audit is None or scope["method"] != "POST":
            return True
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            if not self._unrecorded and (not account.caller or status == 429):
                await run_in_threadpool(audit.count, now, account.caller, status)
                return True
            entry = Entry(
                time=now, caller=account.caller, route=_route(scope), tasks=account.tasks, prompts=account.prompts,
                backbone=self._service.engine.vocabulary.fingerprint, characters=account.characters, outcome=status,
                seconds=round(time.perf_counter() - began, 3), request_id=secrets.token_hex(8),
            )  # fmt: skip
            await run_in_threadpool(audit.append, entry)
            self._unrecorded = False
        except InputError as error:  # from now on nothing is answered, until a line can be written again
            self._unrecorded = True
            log.error("%s", error)
        return not self._unrecorded

    def _measure(self, exchange: _Exchange) -> None:
        route, metrics = _route(exchange.scope), self._service.metrics
        metrics.requests.labels(route, str(exchange.status or _GONE)).inc()
        metrics.seconds.labels(route).observe(time.perf_counter() - exchange.began)

    @property
    def body_seconds(self) -> float:
        """How long a request may take to arrive."""
        return self._service.limits.body_seconds


@dataclass
class _Exchange:
    """A request and its response. What is received is counted and timed; what is sent is recorded first."""

    guard: Guard
    scope: Scope
    _receive: Receive
    _send: Send
    _is_head: bool
    _left: int  # bytes that may still come
    status: int = 0
    began: float = field(default_factory=time.perf_counter)
    _whole: bool = False
    _until: float | None = None
    _replaced: bool = False

    async def receive(self) -> Message:
        """The next part of the request; after the last one, when the client goes."""
        if self._whole:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self.guard.body_seconds
            if _announced(self.scope) > self._left:
                raise _TooLargeError
        try:
            message = await asyncio.wait_for(self._receive(), self._until - now)
        except TimeoutError:
            raise _TooSlowError from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _TooLargeError
        self._whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass a part of the response on, once the request has its line in the audit log."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not await self.guard.record(self.scope, self.status, self.began):
                self._replaced, self.status = True, 503
                await error_response(_no_audit())(self.scope, self._receive, self._pass)
                return
        if not self._replaced:
            await self._pass(message)

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)

    async def respond(self, response: Response) -> None:
        """Send a whole response."""
        await response(self.scope, self._receive, self.send)

    async def refuse(self, error: RefusedError) -> None:
        """Send an error, unless a response has begun."""
        if not self.status:
            await self.respond(error_response(error))


def _options(scope: Scope, routes: Sequence[Any]) -> Response:
    """The methods that the path takes."""
    methods = {method for route in routes if _matches(route, scope) for method in route.methods}
    if not methods:
        return error_response(RefusedError(404, "not_possible", "There is no such route."))
    methods |= {"OPTIONS", *(["HEAD"] if "GET" in methods else [])}
    return Response(status_code=204, headers={"Allow": ", ".join(sorted(methods))})


def _matches(route: Any, scope: Scope) -> bool:
    return isinstance(route, Route) and route.matches(scope)[0] != Match.NONE


def _announced(scope: Scope) -> int:
    """The length that the request says it has; 0 if it says none, or no number."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")


def _no_audit() -> RefusedError:
    return RefusedError(503, "no_audit", "The audit log cannot be written; nothing is answered.", 30.0)


def where(error: BaseException) -> str:
    """File and line where an error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
