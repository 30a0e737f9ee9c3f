"""Runs the gateway under uvicorn: sparing logs, bounded connections, and an end within the promised time."""

from __future__ import annotations

import os
import socket
import sys
from functools import partial
from typing import Any

import uvicorn

from mpdd.errors import InputError
from mpdd.serving import logs
from mpdd.serving.app import create_app
from mpdd.serving.connections import Connection, Room, room_for
from mpdd.serving.service import Service

_HEADER = 2**16  # bytes of a request's header
_BACKLOG = 1024  # connections that the system holds until they are accepted
_KEEP_ALIVE = 5  # seconds that a connection is kept for a further request
_SWITCH = 0.0005  # seconds that a thread may hold the interpreter while another waits: the engine waits after each operation


class _Server(uvicorn.Server):
    """uvicorn's server, which tells the service at once that it stops."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. Few connections are accepted at once, and many can wait for that."""
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                with socket.socket(fileno=os.dup(listener.fileno())) as same:
                    same.listen(_BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests, wait for those accepted as long as the limits say, then tell the rest and end."""
        self._service.begin_stop()
        await super().shutdown(sockets)


def require_address(host: str, port: int) -> None:
    """Raise `InputError` for an address that this process cannot listen on, before a backbone is loaded for it."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does
            trial.bind(address)
    except OSError as error:
        raise InputError(
            f"The server cannot listen at {host} port {port}", found=error.strerror, wanted="a free port of this machine",
            next_step="Choose another with --port.",
        ) from error  # fmt: skip


def run(service: Service, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    logs.set_up()
    sys.setswitchinterval(_SWITCH)
    engine_connections = 0 if service.engine.parallel == 1 else service.rows
    room, at_once = room_for(service.limits, engine_connections)
    try:
        make_server(service, host, port, room, at_once).run()
    finally:  # after SIGTERM the process is gone by now
        if service.batcher.is_busy:  # the engine does not come back: Python would wait for its threads
            sys.stderr.flush()
            os._exit(130)


def make_server(service: Service, host: str, port: int, room: Room, at_once: int) -> uvicorn.Server:
    """The server, with room for connections, of which `at_once` are accepted at a time."""
    protocol: Any = partial(Connection, room=room)
    config = uvicorn.Config(
        create_app(service), host=host, port=port, http=protocol, ws="none", log_config=None, access_log=False,
        server_header=False, timeout_graceful_shutdown=service.limits.stop_seconds, timeout_keep_alive=_KEEP_ALIVE,
        h11_max_incomplete_event_size=_HEADER, backlog=at_once,
    )  # fmt: skip
    return _Server(config, service)
