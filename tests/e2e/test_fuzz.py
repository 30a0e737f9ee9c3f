"""A thousand requests made from the server's own OpenAPI document, right and wrong ones: no error of the server, no growth."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.e2e.test_serve import server

pytestmark = pytest.mark.e2e
__all__ = ["server"]
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
