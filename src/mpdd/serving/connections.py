"""Connections of the server: how many, how long they may take to say what they want, and errors in the one form.

A connection that waits (its header is not there yet, or it is kept alive without a request) can be closed at any time to
make room. So whoever opens connections without using them loses them, the oldest first, and everybody else gets in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mpdd.errors import MpddError
from mpdd.serving.bodies import RefusedError, body_of, headers_of
from mpdd.serving.limits import Limits

_LINGER = 5.0  # seconds to send what is left when a connection is closed
_STALLED = 30.0  # seconds for a client to take what was sent
_SPARE = 16  # descriptors for prompt files and the audit log
_FEWEST = 4
_TURNS = 4  # of the event loop, from accepting a connection until one that makes room for it has given its descriptor back


class Room:
    """All open connections, `most` at a time. `fresh` have sent no whole header yet, `idle` wait for a further request."""

    def __init__(self, most: int, header_seconds: float) -> None:
        self.most, self.header_seconds = most, header_seconds
        self.open: set[Connection] = set()
        self.fresh: dict[Connection, None] = {}
        self.idle: dict[Connection, None] = {}

    def enter(self, connection: Connection) -> bool:
        """Let a connection in, in the place of the oldest that waits where all are taken; false where none waits."""
        if len(self.open) >= self.most:
            oldest = next(iter(self.fresh), None) or next(iter(self.idle), None)
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.drop()
        self.open.add(connection)
        self.fresh[connection] = None
        return True

    def wait(self, connection: Connection, *, idle: bool) -> None:
        """The connection waits for a request."""
        self.act(connection)
        if connection in self.open:
            (self.idle if idle else self.fresh)[connection] = None

    def act(self, connection: Connection) -> None:
        """The connection has a request that is being answered."""
        self.fresh.pop(connection, None)
        self.idle.pop(connection, None)

    def leave(self, connection: Connection) -> None:
        """The connection is closed."""
        self.act(connection)
        self.open.discard(connection)


class Connection(H11Protocol):
    """One connection: uvicorn's, with a place in the `room`, deadlines, and errors as JSON."""

    def __init__(self, *args: Any, room: Room, **options: Any) -> None:
        super().__init__(*args, **options)
        self._room = room
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place, or say that there is none."""
        super().connection_made(transport)
        if self._room.enter(self):
            self._until(self._room.header_seconds)
        else:
            self.refuse(RefusedError(503, "busy", "The server has as many connections as it takes; try again.", 1.0))

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()
        self._room.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came; once the header is whole the connection does not wait any more."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete and not self.transport.is_closing():
            self._room.act(self)
            self._until(None)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one to be thrown away, or for the end."""
        self._room.wait(self, idle=True)
        self._until(self._room.header_seconds)
        super().on_response_complete()  # which may find the next request
        if self.transport.is_closing():
            self._linger()
        elif not self.cycle.response_complete:
            self._room.act(self)
            self._until(None)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets the one form of errors."""
        self.refuse(RefusedError(400, "no_http", "This is no valid HTTP request."))

    def refuse(self, error: RefusedError) -> None:
        """Send an error, unless a response has begun, and close the connection."""
        body = body_of(error)
        headers = {
            **headers_of(error),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        with contextlib.suppress(h11.LocalProtocolError):
            start = h11.Response(status_code=error.status, headers=list(headers.items()), reason=b"")
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self._close()

    def drop(self) -> None:
        """Close at once."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Stop gracefully: uvicorn closes what waits, and lets a request finish."""
        try:
            super().shutdown()
        except h11.LocalProtocolError:
            self.transport.abort()
        if self.transport.is_closing():
            self._linger()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was kept alive and not used."""
        self._close()

    def pause_writing(self) -> None:
        """The client does not take what is sent: it has a while to do so."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _expire(self) -> None:
        """The time to send a request is over."""
        has_begun = bool(self.conn.trailing_data[0])
        if has_begun and (self.cycle is None or self.cycle.response_complete):
            seconds = self._room.header_seconds
            self.refuse(RefusedError(408, "too_slow", f"The request was not received within {seconds:g} seconds."))
        else:
            self._close()

    def _close(self) -> None:
        self.transport.close()
        self._linger()

    def _linger(self) -> None:
        """Let what was sent go out, but not for ever."""
        self._room.act(self)
        self._set(_LINGER, self.transport.abort)

    def _until(self, seconds: float | None) -> None:
        self._set(seconds, self._expire)

    def _set(self, seconds: float | None, then: Any) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, then)


def room_for(limits: Limits, engine_connections: int) -> tuple[Room, int]:
    """Room for as many connections as the limit and this process's descriptors allow, and how many may be accepted at once.

    The soft limit of descriptors is raised to the hard one. Raises `MpddError` where there are too few of them.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * limits.connections + 1024
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    free = soft - len(os.listdir("/dev/fd")) - _SPARE - engine_connections
    at_once = max(2, min(32, free // 8))
    most = min(limits.connections, free - _TURNS * at_once)
    if most < _FEWEST:
        raise MpddError(f"This process may open {soft} files, too few to serve; raise the limit (ulimit -n 1024).")
    return Room(most, limits.header_seconds), at_once
