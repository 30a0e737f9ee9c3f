"""Connections to a real server: bounded, timed, and answered in one form whatever is sent over them."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpdd.errors import MpddError
from mpdd.serving.connections import room_for
from mpdd.serving.limits import Limits
from tests.conftest import tries


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def received(connection):
    """All that comes until the other side closes."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionError:
        pass
    return data


def is_alive(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=20, verify=False) as client:  # reads no certificates
        return client.get("/health/live").status_code == 200


def refusal(data, status):
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status}".encode()), data
    assert b"application/json" in head
    return json.loads(body)["error"]


def test_a_header_that_is_not_finished_in_time_ends_the_connection(live):
    server = live(limits={"header_seconds": 0.5})
    silent, slow = connect(server), connect(server)
    began = time.monotonic()
    slow.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
    assert received(silent) == b""
    assert refusal(received(slow), 408)["type"] == "too_slow"
    assert 0.3 < time.monotonic() - began < 10


def test_a_header_that_drips_in_ends_too(live):
    server = live(limits={"header_seconds": 0.5})
    slow, began = connect(server), time.monotonic()
    slow.sendall(b"GET / HTTP/1.1\r\nX: ")
    with pytest.raises(OSError):
        while time.monotonic() - began < 20:
            slow.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() - began < 10


def test_a_body_that_drips_in_ends(live):
    server = live(limits={"body_seconds": 0.5, "header_seconds": 0.5})
    slow = connect(server)
    head = f"POST /v1/annotate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer {live.all}\r\n\r\n"
    slow.sendall(head.encode())
    until = time.monotonic() + 10
    answer = b""
    slow.settimeout(0.05)
    while time.monotonic() < until and not answer:
        try:
            slow.sendall(b" ")
            answer = slow.recv(65536)
        except TimeoutError:
            continue
    assert b" 408 " in answer


def test_who_holds_connections_open_loses_them_and_everybody_else_gets_in(live):
    server = live(descriptors=8)
    held = [connect(server) for _ in range(50)]
    for connection in held:
        try:
            connection.sendall(b"POST /v1/annotate HTTP/1.1\r\n")
        except OSError:
            continue
    for _ in range(5):
        assert is_alive(server)
    assert len(server.room.open) <= 8
    for connection in held:
        connection.close()


def test_connections_that_are_kept_alive_make_room_after_those_that_never_asked(live):
    server = live(descriptors=4)
    kept = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=20)
    assert kept.get("/health/live").status_code == 200
    silent = [connect(server) for _ in range(12)]
    assert kept.get("/health/live").status_code == 200
    kept.close()
    for connection in silent:
        connection.close()


def test_a_full_server_says_so_in_the_one_form(live, monkeypatch):
    server = live(descriptors=2)
    for connection in list(server.room.open):
        server.room.act(connection)
    busy = [connect(server) for _ in range(2)]
    until = time.monotonic() + 10
    while len(server.room.open) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    for connection in list(server.room.open):
        server.room.act(connection)  # as if they were being answered
    data = received(connect(server))
    assert refusal(data, 503)["type"] == "busy" and b"retry-after: 1" in data.lower()
    for connection in busy:
        connection.close()


def test_what_is_no_http_gets_the_one_form(live):
    server = live()
    for content in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nX" + b"y" * 10**5,
    ):
        connection = connect(server)
        connection.sendall(content + b"\r\n\r\n")
        assert refusal(received(connection), 400)["type"] == "no_http"
    assert is_alive(server)


def test_a_wrong_token_is_answered_while_the_body_is_still_coming(live):
    server = live()
    connection = connect(server)
    connection.sendall(b"POST /v1/annotate HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\nAuthorization: Bearer x\r\n\r\n")
    assert b" 401 " in connection.recv(65536)
    connection.close()


PIECES = st.sampled_from(
    [b"GET", b"POST", b" ", b"/", b"/health/live", b"/v1/annotate", b" HTTP/1.1", b"\r\n", b"\n", b"\r\n\r\n", b"Host: x\r\n",
     b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
     b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n",
     b"Connection: upgrade\r\n", b"Connection: close\r\n", b"Authorization: Bearer TOKEN\r\n", b'{"text":"x","tasks":["drugs"]}',
     b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00", b"\xff\xfe", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)  # fmt: skip


ENDS = st.sampled_from(["end", "half", "reset"])


def begun(server, pieces, end, token):
    """A connection over which the pieces were sent; with "half" its sending side is closed, with "reset" all of it."""
    connection = connect(server)
    with suppress(ConnectionError):
        connection.sendall(b"".join(pieces).replace(b"TOKEN", token.encode()))
        if end == "half":
            connection.shutdown(socket.SHUT_WR)
    if end == "reset":
        connection.close()
    return connection


SENT = st.tuples(st.lists(PIECES | st.binary(max_size=8), min_size=1, max_size=12), ENDS)


@settings(max_examples=tries(10), deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=st.lists(SENT, min_size=12, max_size=12))
def test_whatever_comes_over_a_connection_the_server_goes_on_and_errors_have_the_one_form(live, sent):
    """Twelve connections at a time: those on which the server waits for more do so together."""
    server = getattr(live, "_shared", None) or live(limits={"header_seconds": 0.3, "body_seconds": 0.3})
    live._shared = server
    for connection, end in [(begun(server, pieces, end, live.all), end) for pieces, end in sent]:
        data = b"" if end == "reset" else received(connection)
        if data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")):
            head, _, body = data.partition(b"\r\n\r\n")
            assert b"application/json" in head or not body
            assert not data.startswith(b"HTTP/1.1 500")
        connection.close()
    assert is_alive(server)


def test_it_stops_in_time_whatever_is_open(live, monkeypatch):
    server = live(limits={"stop_seconds": 1})
    monkeypatch.setattr(server.service.batcher, "_engine", lambda requests: time.sleep(8) or [])
    silent, half = connect(server), connect(server)
    half.sendall(b"POST /v1/annotate HTTP/1.1\r\nHost: x\r\nContent-Le")
    body = connect(server)
    head = f"POST /v1/annotate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer {live.all}\r\n\r\n"
    body.sendall(head.encode() + b"{")
    with ThreadPoolExecutor(1) as pool:
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{server.port}", headers={"Authorization": f"Bearer {live.all}"}, timeout=30
        )
        asked = pool.submit(client.post, "/v1/annotate", json={"text": "aspirin", "tasks": ["drugs"]})
        until = time.monotonic() + 10
        while not server.service.batcher._running and time.monotonic() < until:
            time.sleep(0.01)
        assert server.stop() < 7
        answer = asked.result()
    assert answer.status_code == 503 and answer.json()["error"]["type"] == "shutting_down" and "retry-after" in answer.headers
    for connection in (silent, half, body):
        connection.close()


def test_few_descriptors_leave_room_for_few_connections():
    code = """if True:
        import resource
        from mpdd.errors import MpddError
        from mpdd.serving.connections import room_for
        from mpdd.serving.limits import Limits
        for descriptors in (64, 24):
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            try:
                room, at_once = room_for(Limits(), 0)
                print(room.most + 4 * at_once + 16 < descriptors, room.most)
            except MpddError as error:
                print(error)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    few, too_few = ran.stdout.strip().splitlines()
    fits, most = few.split()
    assert fits == "True" and 8 <= int(most) < 48
    assert "too few to serve; raise the limit" in too_few


def test_the_soft_limit_of_descriptors_is_raised():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this machine has a low hard limit")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        room, _ = room_for(Limits(), 0)
        assert room.most == 512
    except MpddError:  # pragma: no cover
        pytest.fail("not raised")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_flood_of_connections_uses_up_no_descriptors(live, caplog):
    """Descriptors in use stay below the room and what is accepted meanwhile, and the event loop never runs out of them."""
    before = len(os.listdir("/dev/fd"))
    server = live(descriptors=12)
    own, most = [], 0
    for _ in range(300):
        own.append(connect(server))
        if len(own) > 40:
            own.pop(0).close()
        most = max(most, len(os.listdir("/dev/fd")) - before - len(own))
    assert is_alive(server)
    for connection in own:
        connection.close()
    assert most <= 12 + 4 * 32 + 8
    assert "out of system resource" not in caplog.text


@pytest.mark.e2e
def test_with_64_descriptors_a_burst_of_connections_is_survived():
    """The whole server, in a process of its own with 64 descriptors, while 200 connections come at once, twice."""
    code = """if True:
        import asyncio, resource, socket, sys, threading
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        from functools import partial
        import uvicorn
        from mpdd.serving import logs
        from mpdd.serving.connections import Connection, room_for
        from mpdd.serving.limits import Limits
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                while (message := await receive())["type"] != "lifespan.shutdown":
                    await send({"type": message["type"] + ".complete"})
                return await send({"type": "lifespan.shutdown.complete"})
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
        logs.set_up()
        room, at_once = room_for(Limits(), 0)
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(app, http=partial(Connection, room=room), log_config=None, backlog=at_once)
        server = uvicorn.Server(config)
        threading.Thread(target=lambda: (sys.stdin.read(), setattr(server, "should_exit", True)), daemon=True).start()
        server.run(sockets=[listener])
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    port = int(process.stdout.readline())
    for _ in range(2):
        burst = []
        for _ in range(200):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            burst.append(connection)
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=30).text == "ok"
        for connection in burst:
            connection.close()
    _, said = process.communicate(timeout=60)
    assert "out of system resource" not in said, said[:500]
