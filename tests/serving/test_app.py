"""The gateway as its clients see it: answers equal to `mpdd predict`, errors without a word of what was sent."""

from __future__ import annotations

import json
import logging
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpdd.annotate.notes import Note, answer_notes
from mpdd.errors import InputError
from mpdd.inference.engines import EngineDownError
from mpdd.inference.engines.local import Local
from mpdd.prompts.store import load_prompt
from mpdd.serving import schema
from mpdd.serving.audit import verify
from tests.conftest import tries
from tests.serving.conftest import CARDS

SECRET = "Zacharias Quimby MRN 90210-77"
NOTE = "aspirin was given 81 mg \U0001f48a; fever and cough.\nNo e\u0301dema."


def error(response, status):
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"type", "message"}
    assert SECRET not in response.text
    return body["error"]["message"]


def test_answers_are_those_of_predict_in_one_mixed_request(client, tiny, prompts):
    fields, choices = {"Hypothesis": "fever", "Question": "What was given?"}, ["aspirin", "none"]
    body = {"text": NOTE, "tasks": list(CARDS), "fields": fields, "choices": choices}
    found = client.post("/v1/annotate", json=body).json()
    files = [load_prompt(prompts / f"{name}.safetensors") for name in CARDS]
    for result, wanted in zip(
        found["results"], answer_notes(Local(tiny), files, [Note("n", NOTE, fields, tuple(choices))]), strict=True
    ):
        assert result.pop("type") == CARDS[result["task"]].type and result.pop("abstained") is False
        wanted.pop("id")
        assert result.pop("confidence") == pytest.approx(wanted.pop("confidence"), abs=1e-3)
        assert result == wanted


@settings(max_examples=tries(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=300))
def test_offsets_are_those_of_the_text_as_sent(client, text):
    response = client.post("/v1/annotate", json={"text": text, "tasks": ["drugs", "pairs"]})
    if not text.strip():
        assert response.status_code == 422
        return
    assert response.status_code == 200
    for result in response.json()["results"]:
        spans = [*result.get("entities", []), *(end for r in result.get("relations", []) for end in (r["head"], r["tail"]))]
        assert all(text[span["start"] : span["end"]] == span["text"] for span in spans)


def test_no_route_answers_without_a_token_but_health_and_the_page(make):
    client = make()
    del client.headers["Authorization"]
    open_routes = set()
    for route in client.app.routes:
        for method in {*route.methods, "HEAD"} if "GET" in route.methods else route.methods:
            status = client.request(method, route.path, content=b"{}").status_code
            assert status in (200, 401, 503), route.path
            if status != 401:
                open_routes.add(route.path)
    assert open_routes == {"/", "/health/live", "/health/ready"}
    for wrong in ("Bearer", "Bearer ", "Bearer wrong", f"Basic {make.all}", make.all, f"Bearer {make.all}x", "Bearer \u00fc"):
        assert client.get("/v1/tasks", headers={"Authorization": wrong.encode("latin-1")}).status_code == 401


def test_a_token_sees_and_uses_its_own_tasks_only(make):
    client = make()
    client.headers["Authorization"] = f"Bearer {make.few}"
    assert [task["name"] for task in client.get("/v1/tasks").json()["tasks"]] == ["drugs"]
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["drugs"]
    assert client.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs"]}).status_code == 200
    hidden = error(client.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs", "sums"]}), 404)
    missing = error(client.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs", SECRET]}), 404)
    assert hidden == missing and "Number 2" in hidden


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"text": SECRET}, 422),
        ({"text": SECRET, "tasks": []}, 422),
        ({"text": SECRET, "tasks": ["drugs"], SECRET: 1}, 422),
        ({"text": {"SECRET": SECRET}, "tasks": ["drugs"]}, 422),
        ({"text": "", "tasks": ["drugs"]}, 422),
        ({"text": " \n", "tasks": ["drugs"]}, 422),
        ({"text": SECRET, "tasks": ["says"]}, 422),
        ({"text": SECRET, "tasks": ["picks"], "fields": {"Question": SECRET}}, 422),
        ({"text": SECRET, "tasks": ["says"], "fields": {"Hypothesis": SECRET * 300}}, 422),
        ({"text": SECRET, "tasks": [SECRET]}, 404),
        ({"text": SECRET * 20_000, "tasks": ["drugs"]}, 413),
        ({"text": SECRET * 200_000, "tasks": ["drugs"]}, 413),
        ([SECRET], 422),
    ],
    ids=range(13),
)
def test_what_does_not_fit_is_one_sentence_without_what_was_sent(client, body, status):
    error(client.post("/v1/annotate", json=body), status)


@pytest.mark.parametrize("content", [SECRET.encode(), b"\xff\xfe", b'{"text": "\\ud800", "tasks": ["drugs"]}', b"[" * 100_000])
def test_what_is_no_json_or_no_unicode_is_refused(client, content):
    assert client.post("/v1/annotate", content=content).status_code in (400, 422)


def test_nothing_sent_reaches_logs_metrics_or_the_audit_log(client, caplog, capfd, monkeypatch):
    caplog.set_level(logging.DEBUG)

    def fail(requests):
        raise ValueError(requests[0].example.text)

    client.post("/v1/annotate", json={"text": SECRET, "tasks": ["drugs"]})
    client.post("/v1/completions", json={"model": SECRET, "prompt": SECRET})
    client.post("/v1/chat/completions", json={"model": "sums", "messages": [{"role": "user", "content": SECRET}]})
    client.post(f"/{SECRET}", content=SECRET.encode())
    monkeypatch.setattr(client.service.batcher, "_engine", fail)
    assert "engine failed" in error(client.post("/v1/annotate", json={"text": SECRET, "tasks": ["drugs"]}), 503)
    monkeypatch.setattr(client.service, "chosen", lambda *_: fail([type("R", (), {"example": type("E", (), {"text": SECRET})})]))
    error(client.post("/v1/annotate", json={"text": SECRET, "tasks": ["drugs"]}), 500)
    said = capfd.readouterr()
    logged = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))  # the client's
    everything = (logged, said.out, said.err, client.get("/metrics").text, client.audit_path.read_text())
    assert not [part for part in everything if SECRET in part or "Quimby" in part or "90210" in part]
    assert "ValueError at test_app.py" in logged


def test_the_audit_log_has_a_line_for_each_request_that_sends_something(make):
    client = make()
    client.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs", "sums"]})
    client.post("/v1/annotate", json={"text": NOTE, "tasks": ["none"]})
    client.post("/v1/annotate", content=b"{")
    client.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs"]}, headers={"Authorization": "Bearer wrong"})
    client.get("/v1/tasks")
    assert verify(client.audit_path) == 4
    lines = [json.loads(line) for line in client.audit_path.read_text().splitlines()]
    assert lines.pop()["refused"] == [["", 401, 1]]
    assert [(line["caller"], line["outcome"]) for line in lines] == [("all", 200), ("all", 404), ("all", 422)]
    assert (lines[0]["tasks"], lines[0]["characters"], lines[0]["route"]) == (["drugs", "sums"], len(NOTE), "/v1/annotate")
    assert lines[0]["prompts"][0] == client.service.folder.look().tasks["drugs"].digest


def test_nothing_is_answered_while_the_audit_log_cannot_be_written(client, monkeypatch):
    body = {"text": NOTE, "tasks": ["drugs"]}

    def full(_entry):
        raise InputError("The audit log cannot be written", found="No space left on device")

    append = client.service.audit.append
    monkeypatch.setattr(client.service.audit, "append", full)
    error(client.post("/v1/annotate", json=body), 503)
    error(client.post("/v1/annotate", json=body), 503)
    assert client.get("/v1/tasks").status_code == 200
    monkeypatch.setattr(client.service.audit, "append", append)
    error(client.post("/v1/annotate", json=body), 503)  # its line could be written
    assert client.post("/v1/annotate", json=body).status_code == 200


def test_openai_clients_get_the_raw_output(client, tiny, prompts):
    wanted = client.post("/v1/annotate", json={"text": NOTE, "tasks": ["sums"]}).json()["results"][0]["summary"]
    plain = client.post("/v1/completions", json={"model": "sums", "prompt": NOTE}).json()
    chat = client.post("/v1/chat/completions", json={"model": "sums", "messages": [{"role": "user", "content": NOTE}]}).json()
    assert plain["choices"][0]["text"].strip() == wanted == chat["choices"][0]["message"]["content"].strip()
    assert plain["usage"]["total_tokens"] == plain["usage"]["prompt_tokens"] + plain["usage"]["completion_tokens"]
    short = client.post("/v1/completions", json={"model": "sums", "prompt": NOTE, "max_tokens": 1}).json()
    assert len(short["choices"][0]["text"]) < len(plain["choices"][0]["text"])


def test_too_many_requests_and_a_full_server_say_when_to_come_back(make, monkeypatch):
    limited = make(limits={"per_minute": 60, "burst": 2})
    answers = [limited.get("/v1/tasks") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["Retry-After"]) >= 1
    full, engine, go = make(limits={"requests": 1}), None, threading.Event()
    engine = full.service.batcher._engine
    monkeypatch.setattr(full.service.batcher, "_engine", lambda requests: go.wait(20) and engine(requests))
    found = []
    first = threading.Thread(target=lambda: found.append(full.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs"]})))
    first.start()
    until = time.monotonic() + 10
    while not full.service.admission.inside and time.monotonic() < until:
        time.sleep(0.01)
    second = full.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs"]})
    go.set()
    first.join()
    error(second, 503)
    assert int(second.headers["Retry-After"]) >= 1 and found[0].status_code == 200


def test_a_slow_engine_ends_in_a_timeout_and_the_next_request_works(make, monkeypatch):
    client, go_on, ended = make(limits={"seconds": 1.0}), threading.Event(), threading.Event()
    engine = client.service.batcher._engine

    def slow(requests):
        go_on.wait(20)
        answers = engine(requests)
        ended.set()
        return answers

    monkeypatch.setattr(client.service.batcher, "_engine", slow)
    late = client.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs"]})
    error(late, 503)
    assert int(late.headers["Retry-After"]) >= 1
    monkeypatch.setattr(client.service.batcher, "_engine", engine)
    go_on.set()
    assert ended.wait(20)
    assert client.post("/v1/annotate", json={"text": NOTE, "tasks": ["drugs"]}).status_code == 200


def test_unsure_answers_are_marked(make):
    body = {"text": NOTE, "tasks": ["drugs"]}
    assert make(abstain_below=1.0).post("/v1/annotate", json=body).json()["results"][0]["abstained"] is True


def test_the_page_runs_its_own_parts_only(client):
    response = client.get("/", headers={"Authorization": ""})
    policy = response.headers["content-security-policy"]
    assert policy == schema.POLICY and "unsafe" not in policy and policy.count("sha256-") == 2
    assert response.headers["x-frame-options"] == "DENY" and response.headers["cache-control"] == "no-store"


def test_ready_only_with_a_task(make, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert make(folder=empty).get("/health/ready").status_code == 503
    assert make().get("/health/ready").json() == {"status": "ready"}


class Down:
    """An engine that cannot be reached."""

    parallel = 3

    def __init__(self, vocabulary):
        self.vocabulary, self.asked = vocabulary, 0

    def ready(self):
        return False

    def predict(self, requests, *, tick=lambda _: None):
        self.asked += 1
        raise EngineDownError("The vLLM server does not answer.")


def test_an_engine_that_is_down_is_said_and_asked_once(make, tiny):
    engine = Down(tiny.vocabulary)
    client = make(engine=engine)
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["error"]["type"]) == (503, "engine_down")
    found = client.post("/v1/annotate", json={"text": "aspirin", "tasks": ["drugs"]})
    assert (found.status_code, found.json()["error"]["type"]) == (503, "engine_down")
    assert int(found.headers["Retry-After"]) > 0
    assert engine.asked == 1
    assert client.get("/health/live").status_code == 200
