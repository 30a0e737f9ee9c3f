"""The real server in a process of its own: malformed and generated requests, a folder that changes, and the end of its work."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from mpdd.backbone import model as backbones
from mpdd.serving.audit import verify
from tests.conftest import tries
from tests.e2e.conftest import serving
from tests.serving.test_folder import write

pytestmark = pytest.mark.e2e
SECRET = "Zacharias Quimby"
NUMBER = "MRN-90210-77"
REQUESTS = tries(400)  # 4,000 with `--hypothesis-profile=thorough`


@dataclass(frozen=True)
class Server:
    """A server on the tiny backbone with one task."""

    process: Any
    client: httpx.Client
    folder: Path
    backbone: Any
    audit: Path

    def stop(self, how=signal.SIGTERM):
        """End it; its exit code and all that it said."""
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out + err


@contextmanager
def started(world, place, *, python=False):
    folder, audit = place / "served", place / "audit.jsonl"
    folder.mkdir()
    backbone = backbones.load(str(world.backbone))
    write(folder, backbone, "drugs")
    arguments = ("--prompts", folder, "--backbone", world.backbone, "--audit", audit, "--per-minute", 10**6)
    with serving(world, *arguments, python=python) as (process, url, token):
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        yield Server(process, client, folder, backbone, audit)


@pytest.fixture
def server(world, tmp_path):
    """One to stop."""
    with started(world, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def lasting(world, tmp_path_factory):
    """One for the tests that leave it running: a new Python, which reads its variables before torch is loaded."""
    with started(world, tmp_path_factory.mktemp("lasting"), python=True) as made:
        yield made


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


def test_hundreds_of_requests_leave_no_trace_of_patients(server):
    rng = random.Random(0)
    bodies = [body(rng) for _ in range(REQUESTS)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda one: server.client.post("/v1/annotate", **one).status_code, bodies))
    assert set(statuses) <= {200, 400, 401, 404, 413, 422, 429}, sorted(set(statuses))
    assert statuses.count(200) > 0.15 * REQUESTS
    server.client.get(f"/{SECRET}?{NUMBER}")
    metrics = server.client.get("/metrics").text
    code, said = server.stop()
    assert code == -signal.SIGTERM  # uvicorn ends its work, then lets the signal end the process
    verify(server.audit)
    lines = [json.loads(line) for line in server.audit.read_text().splitlines()]
    refused = [count for line in lines for _, _, count in line.get("refused", [])]
    assert len([line for line in lines if "outcome" in line]) + sum(refused) == REQUESTS
    for part in (said, metrics, server.audit.read_text()):
        assert not [word for word in (SECRET, NUMBER, "Quimby", NUMBER[3:], "Zacharias") if word in part]


def test_tasks_come_and_go_while_requests_run(lasting):
    server = lasting
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


def wait_for_rows(server):
    """Wait until the backbone has answered a batch."""
    until = time.monotonic() + 60
    while not re.search(r"mpdd_batch_rows_count [1-9]", server.client.get("/metrics").text):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_was_accepted_is_finished_when_it_is_stopped(server):
    long = {"text": "aspirin was given. " * 6_000, "tasks": ["drugs"]}
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(server.client.post, "/v1/annotate", json=long)
        wait_for_rows(server)
        assert not accepted.done()
        code, said = server.stop()
        assert accepted.result().status_code == 200
    assert code == -signal.SIGTERM and "Traceback" not in said


def test_it_ends_in_time_under_load_and_says_so_to_those_who_wait(server):
    heavy = {"text": "Fever rose after aspirin was given. " * 5_000, "tasks": ["drugs"]}
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(server.client.post, "/v1/annotate", json=heavy) for _ in range(8)]
        wait_for_rows(server)
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


def memory(process):
    """Resident memory of a process, in MiB."""
    line = next(one for one in Path(f"/proc/{process.pid}/status").read_text().splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def test_no_request_makes_the_server_fail(lasting):
    server = lasting
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
    settled = sizes[REQUESTS // 2]
    assert sizes[-1] - settled < 32, f"{settled:.0f} MiB after half of the requests, {sizes[-1]:.0f} at the end"
    assert server.client.get("/health/ready").status_code == 200
