"""The real server in a process of its own: malformed and generated requests, a folder that changes, and the end of its work."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from mpdd.backbone import model as backbones
from mpdd.serving.audit import verify
from tests.serving.test_folder import write

pytestmark = pytest.mark.e2e
SECRET = "Zacharias Quimby"
NUMBER = "MRN-90210-77"


@pytest.fixture
def server(world):
    """A server on the tiny backbone with one task; `server.stop()` ends it and gives its exit code and all that it said."""
    folder = world.folder / "served"
    folder.mkdir(exist_ok=True)
    backbone = backbones.load(str(world.backbone))
    write(folder, backbone, "drugs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    audit = world.folder / "audit.jsonl"
    audit.unlink(missing_ok=True)
    arguments = ("--prompts", folder, "--backbone", world.backbone, "--port", port, "--audit", audit, "--per-minute", 10**6)
    process = world.start("serve", *arguments)
    token = re.search(r"Token for this run: (\S+)", process.stderr.readline()).group(1)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=60)
    until = time.monotonic() + 120
    while True:
        assert process.poll() is None and time.monotonic() < until
        try:
            if client.get("/health/ready").status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.1)

    class Server:
        pass

    made = Server()
    made.client, made.folder, made.backbone, made.audit, made.process = client, folder, backbone, audit, process

    def stop(how=signal.SIGTERM):
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
        return process.returncode, out + err

    made.stop = stop
    yield made
    process.kill()
    process.communicate()


def body(rng):
    """A request that is right, or wrong in one of many ways; each has the secret somewhere."""
    text = f"{SECRET} ({NUMBER}) was given aspirin {rng.randrange(99)} mg."
    good = {"text": text, "tasks": ["drugs"]}
    return rng.choice(
        [
            {"json": good},
            {"json": good},
            {"json": good | {"tasks": [SECRET]}},
            {"json": good | {NUMBER: SECRET}},
            {"json": {"text": [text]}},
            {"json": good, "headers": {"Authorization": f"Bearer {SECRET}"}},
            {"content": text.encode()},
            {"content": text.encode("utf-16")},
            {"json": good | {"text": text * 5000}},
            {"json": good | {"text": text + "\ud83d"[:0] + "\x00\U0001f48a"}},
        ]
    )


def test_a_thousand_requests_leave_no_trace_of_patients(server):
    rng = random.Random(0)
    bodies = [body(rng) for _ in range(1000)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda one: server.client.post("/v1/annotate", **one).status_code, bodies))
    assert set(statuses) <= {200, 400, 401, 404, 413, 422, 429}, sorted(set(statuses))
    assert statuses.count(200) > 150
    server.client.get(f"/{SECRET}?{NUMBER}")
    metrics = server.client.get("/metrics").text
    code, said = server.stop()
    assert code == -signal.SIGTERM  # uvicorn ends its work, then lets the signal end the process
    verify(server.audit)
    lines = [json.loads(line) for line in server.audit.read_text().splitlines()]
    refused = [count for line in lines for _, _, count in line.get("refused", [])]
    assert len([line for line in lines if "outcome" in line]) + sum(refused) == 1000
    for part in (said, metrics, server.audit.read_text()):
        assert not [word for word in (SECRET, NUMBER, "Quimby", NUMBER[3:], "Zacharias") if word in part]


def test_tasks_come_and_go_while_requests_run(server):
    asked = {"text": "aspirin was given", "tasks": ["drugs"]}
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(server.client.post, "/v1/annotate", json=asked) for _ in range(60)]
        write(server.folder, server.backbone, "doses")
        names = [task["name"] for task in server.client.get("/v1/tasks").json()["tasks"]]
        both = server.client.post("/v1/annotate", json=asked | {"tasks": ["doses", "drugs"]})
        (server.folder / "doses.safetensors").unlink()
        gone = server.client.post("/v1/annotate", json=asked | {"tasks": ["doses"]})
        answers = [one.result() for one in running]
    assert names == ["doses", "drugs"] and both.status_code == 200 and gone.status_code == 404
    assert {answer.status_code for answer in answers} == {200}
    assert len({str(answer.json()["results"][0].get("entities")) for answer in answers}) == 1


def test_what_was_accepted_is_finished_when_it_is_stopped(server):
    long = {"text": "aspirin was given. " * 10_000, "tasks": ["drugs"]}
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(server.client.post, "/v1/annotate", json=long)
        until = time.monotonic() + 60
        while not re.search(r"mpdd_batch_rows_count [1-9]", server.client.get("/metrics").text):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not accepted.done()
        code, said = server.stop()
        assert accepted.result().status_code == 200
    assert code == -signal.SIGTERM and "Traceback" not in said


def test_it_ends_in_time_under_load_and_says_so_to_those_who_wait(server):
    heavy = {"text": "Fever rose after aspirin was given. " * 5_000, "tasks": ["drugs"]}
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.client.post, "/v1/annotate", json=heavy) for _ in range(8)]
        time.sleep(2)
        began = time.monotonic()
        code, said = server.stop()
        assert time.monotonic() - began < 30
        answers = [request.result() for request in asked]
    assert code == -signal.SIGTERM and "Traceback" not in said and len(said) < 2000
    for answer in answers:
        assert answer.status_code in (200, 503)
        if answer.status_code == 503:
            assert answer.json()["error"]["type"] == "shutting_down" and "retry-after" in answer.headers


# Requests made from the server's own OpenAPI document, right and wrong ones.

REQUESTS = 1000


def memory(process):
    """Resident memory of a process, in MiB."""
    line = next(one for one in Path(f"/proc/{process.pid}/status").read_text().splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_no_request_makes_the_server_fail(server):
    schema = schemathesis.openapi.from_dict(server.client.get("/openapi.json").json())
    found = [operation.ok() for operation in schema.get_all_operations()]
    posts = [operation for operation in found if operation.method == "post"]
    assert {operation.path for operation in posts} == {"/v1/annotate", "/v1/completions", "/v1/chat/completions", "/v1/convert"}
    cases = st.one_of([
        operation.as_strategy(generation_mode=mode)
        for operation in [*found, *posts, *posts, *posts]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        if operation in posts or mode == GenerationMode.POSITIVE
    ])  # fmt: skip
    statuses, sizes = [], []
    base, token = str(server.client.base_url), server.client.headers["Authorization"]

    @settings(
        max_examples=REQUESTS, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases)
    def ask(case):
        response = case.call(base_url=base, headers={"Authorization": token}, timeout=30)
        statuses.append(response.status_code)
        sizes.append(memory(server.process))
        assert response.status_code < 500

    ask()
    assert len(statuses) >= REQUESTS
    assert {200, 422} <= set(statuses) <= {200, 400, 404, 405, 413, 422}, sorted(set(statuses))
    settled = sizes[REQUESTS // 4]
    assert sizes[-1] - settled < 32, f"{settled:.0f} MiB after a quarter of the requests, {sizes[-1]:.0f} at the end"
    assert server.client.get("/health/ready").status_code == 200
