"""Around every request: the token first, bounds of work, methods and paths as HTTP wants them, one form of errors."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpdd.serving import service as service_module
from mpdd.serving.app import create_app
from tests.conftest import tries
from tests.serving.test_app import NOTE, error

ANNOTATE = {"text": NOTE, "tasks": ["drugs"]}


async def call(app, path, headers, receive, method="POST"):
    """One request straight to the application; the messages that it sends."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "server": ("s", 80), "client": ("c", 1), "state": {},
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


def test_the_token_is_looked_at_before_anything_is_received(client):
    async def receive():
        raise AssertionError("the body was asked for")

    for path in ("/v1/annotate", "/v1/completions", "/v1/chat/completions"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer wrong", "Content-Length": "9" * 18}):
            sent = asyncio.run(call(client.app, path, headers, receive))
            assert sent[0]["status"] == 401


def test_a_request_that_does_not_arrive_is_ended(make):
    client = make(limits={"body_seconds": 0.3})

    async def go():
        async def receive():
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b" ", "more_body": True}

        began = time.monotonic()
        headers = {"Authorization": f"Bearer {make.all}"}
        sent = await call(client.app, "/v1/annotate", headers, receive)
        assert sent[0]["status"] == 408 and time.monotonic() - began < 5

    asyncio.run(go())


def test_a_client_that_goes_takes_its_work_with_it(client, monkeypatch):
    go_on, engine = threading.Event(), client.service.batcher._engine
    monkeypatch.setattr(client.service.batcher, "_engine", lambda requests: go_on.wait(20) and engine(requests))

    async def go():
        messages = [{"type": "http.request", "body": b'{"text": "aspirin", "tasks": ["drugs"]}', "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            while not client.service.admission.inside:
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        headers = {"Authorization": client.headers["Authorization"]}
        return await call(client.app, "/v1/annotate", headers, receive)

    assert asyncio.run(go()) == []
    assert client.service.admission.inside == 0
    go_on.set()
    assert '"outcome": 499' in client.audit_path.read_text()


def test_a_task_named_twice_is_refused(client):
    assert "tasks: a task is named more than once" in error(
        client.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs", "sums", "drugs"]}), 422
    )


def test_a_request_of_too_many_parts_is_refused_before_any_is_answered(make, monkeypatch):
    client = make(limits={"rows": 10})
    monkeypatch.setattr(service_module, "requests_for", lambda *args: pytest.fail("texts were written out"))
    message = error(client.post("/v1/annotate", json={"text": "Fever rose. " * 400, "tasks": ["drugs", "sums"]}), 413)
    assert "text: the text comes to at least 14 parts" in message and "a request may have 10" in message
    message = error(client.post("/v1/completions", json={"prompt": ["x"] * 11, "model": "sums"}), 413)
    assert "prompt: the text comes to at least 11 parts" in message


def test_a_request_that_the_context_cuts_into_too_many_parts_is_refused(make, monkeypatch):
    client = make(limits={"rows": 30})
    monkeypatch.setattr(client.service.batcher, "_engine", lambda requests: pytest.fail("answered"))
    message = error(client.post("/v1/annotate", json={"text": "Fever rose. " * 400, "tasks": ["drugs", "sums"]}), 413)
    assert "text: the text comes to at least 38 parts" in message


def test_a_token_with_too_many_parts_under_way_is_told_so_before_its_texts_are_written_out(make, monkeypatch):
    client = make(limits={"caller_rows": 10})
    monkeypatch.setattr(service_module, "requests_for", lambda *args: pytest.fail("texts were written out"))
    refused = client.post("/v1/annotate", json={"text": "Fever rose. " * 400, "tasks": ["drugs", "sums"]})
    assert "This token has as much under way as it may" in error(refused, 429)


def test_a_token_with_too_much_under_way_is_told_so_and_others_are_served(make, monkeypatch):
    client = make(limits={"caller_requests": 1})
    go_on, engine = threading.Event(), client.service.batcher._engine
    monkeypatch.setattr(client.service.batcher, "_engine", lambda requests: go_on.wait(30) and engine(requests))
    statuses = []
    few = {"Authorization": f"Bearer {make.few}"}
    threads = [
        threading.Thread(target=lambda h=h: statuses.append(client.post("/v1/annotate", json=ANNOTATE, headers=h).status_code))
        for h in ({}, few)
    ]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        until = time.monotonic() + 20
        while client.service.admission.inside < number and time.monotonic() < until:
            time.sleep(0.01)
    refused = client.post("/v1/annotate", json=ANNOTATE)
    go_on.set()
    for thread in threads:
        thread.join()
    assert "This token has as much under way as it may" in error(refused, 429)
    assert int(refused.headers["Retry-After"]) >= 1 and statuses == [200, 200]


def test_strangers_are_limited_and_tokens_are_not_by_them(make):
    client = make(limits={"strangers_per_minute": 3})
    answers = [client.post("/v1/annotate", json=ANNOTATE, headers={"Authorization": "Bearer x"}) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 3
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert client.post("/v1/annotate", json=ANNOTATE).status_code == 200
    assert client.get("/health/live", headers={"Authorization": ""}).status_code == 200


def test_strangers_cannot_fill_the_audit_log(client):
    for _ in range(300):
        client.post("/v1/annotate", json=ANNOTATE, headers={"Authorization": "Bearer x"})
    assert client.audit_path.stat().st_size < 500


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_nothing_is_answered_once_the_audit_log_is_gone(client, how):
    assert client.post("/v1/annotate", json=ANNOTATE).status_code == 200
    away = client.audit_path.with_suffix(".old")
    client.audit_path.rename(away)
    if how == "removed":
        away.unlink()
    for _ in range(2):
        refused = client.post("/v1/annotate", json=ANNOTATE)
        assert "audit log cannot be written" in error(refused, 503) and "Retry-After" in refused.headers
    if how == "moved":
        away.rename(client.audit_path)
        error(client.post("/v1/annotate", json=ANNOTATE), 503)  # its line could be written
        assert client.post("/v1/annotate", json=ANNOTATE).status_code == 200


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready", "/v1/tasks", "/v1/models", "/metrics"])
def test_head_is_get_without_a_body(client, path):
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert client.head(path, headers={"Authorization": "x"}).status_code in (200, 401)


def test_options_says_what_a_route_takes(client):
    del client.headers["Authorization"]
    for path, allowed in [
        ("/health/live", "GET, HEAD, OPTIONS"), ("/v1/annotate", "OPTIONS, POST"), ("/v1/models/drugs", "GET, HEAD, OPTIONS"),
    ]:  # fmt: skip
        response = client.options(path)
        assert (response.status_code, response.headers["allow"], response.content) == (204, allowed, b"")
    error(client.options("/none"), 404)


def test_a_path_with_a_slash_too_many_goes_nowhere_else(client):
    for path in ("/v1/annotate/", "/health/live/", "/v1/tasks/"):
        for method in ("GET", "POST"):
            response = client.request(method, path, headers={"Host": "evil.example"}, follow_redirects=False)
            assert response.status_code in (404, 405) and "location" not in response.headers
            error(response, response.status_code)


def test_another_method_says_which_are_taken(client):
    response = client.get("/v1/annotate")
    error(response, 405)
    assert "POST" in response.headers["allow"]


def test_metrics_show_only_the_tasks_of_the_token(make):
    client = make()
    assert client.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs", "sums"]}).status_code == 200
    every = client.get("/metrics").text
    assert 'mpdd_answers_total{task="sums"} 1.0' in every and "mpdd_tasks 6.0" in every
    few = client.get("/metrics", headers={"Authorization": f"Bearer {make.few}"}).text
    assert 'task="drugs"' in few and "sums" not in few and "mpdd_tasks 1.0" in few


def test_when_it_stops_what_waits_is_told_so_in_the_one_form(gateway, monkeypatch):
    """A request that is cancelled, as uvicorn does when the time to stop is over, gets a 503 and no traceback."""
    service = gateway()
    app, go_on = create_app(service), threading.Event()
    monkeypatch.setattr(service.batcher, "_engine", lambda requests: go_on.wait(20) and [])

    async def go():
        messages = [{"type": "http.request", "body": b'{"text": "aspirin", "tasks": ["drugs"]}', "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await asyncio.sleep(100)

        headers = {"Authorization": f"Bearer {gateway.all}"}
        task = asyncio.create_task(call(app, "/v1/annotate", headers, receive))
        while not service.batcher._running:
            await asyncio.sleep(0.01)
        task.cancel()
        return await task

    sent = asyncio.run(go())
    go_on.set()
    assert sent[0]["status"] == 503 and b"retry-after" in dict(sent[0]["headers"])
    assert b'"type":"shutting_down"' in sent[1]["body"]


def test_no_work_on_a_note_holds_the_event_loop(client, monkeypatch):
    """While a note is cut into windows, tokenized or put together, the event loop goes on."""
    loop_thread = []

    def outside_the_loop(function):
        def checked(*arguments, **options):
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            loop_thread.append(function)
            return function(*arguments, **options)

        return checked

    import mpdd.serving.app as app_module
    import mpdd.serving.bodies as bodies_module
    import mpdd.serving.openai as openai_module

    for module, name in [
        (service_module, "fewest_requests"), (service_module, "requests_for"), (app_module, "result_of"), (openai_module, "_ids"),
        (bodies_module, "parse"), (app_module, "as_json"),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, outside_the_loop(getattr(module, name)))
    assert client.post("/v1/annotate", json=ANNOTATE).status_code == 200
    assert client.post("/v1/completions", json={"model": "sums", "prompt": NOTE}).status_code == 200
    assert len(loop_thread) >= 9


METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
PATHS = st.sampled_from(
    ["/", "/v1/annotate", "/v1/annotate/", "/v1/completions", "/v1/chat/completions", "/v1/models/", "/v1/models/a/b", "/metrics",
     "/health/live", "/health/ready", "/openapi.json", "//", "/v1//tasks", "/%2e%2e", "/v1/tasks?x=1", "/none"]
)  # fmt: skip


@settings(max_examples=tries(150), deadline=None, suppress_health_check=list(HealthCheck))
@given(method=METHODS, path=PATHS, content=st.binary(max_size=30), token=st.sampled_from(["all", "wrong", ""]))
def test_every_answer_that_is_no_success_has_the_one_form(make, method, path, content, token):
    client = getattr(make, "_shared", None) or make()
    make._shared = client
    value = {"all": f"Bearer {make.all}", "wrong": "Bearer wrong", "": ""}[token]
    response = client.request(method, path, content=content, headers={"Authorization": value}, follow_redirects=False)
    assert response.status_code < 500
    if method == "HEAD":
        assert response.content == b""
    elif response.status_code >= 400:
        error(response, response.status_code)
