from __future__ import annotations

import threading
import time

import pytest
import torch
from starlette.testclient import TestClient

from mpdd.data.task import TaskCard
from mpdd.inference.engines.local import Local
from mpdd.prompts.store import Header, save_prompt
from mpdd.serving.access import Tokens, new_token
from mpdd.serving.app import create_app
from mpdd.serving.audit import AuditLog
from mpdd.serving.connections import room_for
from mpdd.serving.folder import PromptFolder
from mpdd.serving.limits import Limits
from mpdd.serving.server import make_server
from mpdd.serving.service import Service

CARDS = {
    "drugs": TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=12),
    "pairs": TaskCard("pairs", "re", "Pair drugs and doses.", labels=("dose of",), max_answer_tokens=12),
    "says": TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no"), text_field="Premise", fields=("Hypothesis",)),
    "picks": TaskCard("picks", "qa", "Choose.", fields=("Question",)),
    "kinds": TaskCard("kinds", "classification", "Which kinds?", labels=("a", "b"), form="multiple", max_answer_tokens=8),
    "sums": TaskCard("sums", "summarization", "Say it in one line.", max_answer_tokens=12),
}


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """The Chromium in which all tests of the page open their tabs."""
    from tests.serving.test_page import Browser

    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def prompts(tiny, tmp_path_factory):
    """A folder of one prompt file for each card."""
    folder = tmp_path_factory.mktemp("prompts")
    for number, (name, card) in enumerate(CARDS.items()):
        rows = torch.randn(4, tiny.width, generator=torch.Generator().manual_seed(number))
        header = Header("soft", tiny.name, tiny.fingerprint, 4, tiny.width, tasks=(name,), card=card)
        save_prompt(folder / f"{name}.safetensors", {"rows": rows}, header)
    return folder


@pytest.fixture
def gateway(tiny, prompts, tmp_path):
    """Make a gateway over the tiny backbone; `gateway.all` may use every task, `gateway.few` only drugs."""
    made = []

    def of(**options):
        file = tmp_path / "tokens.toml"
        file.write_text(
            f'[[token]]\nname = "all"\nsha256 = "{all_digest}"\ntasks = ["*"]\n'
            f'[[token]]\nname = "few"\nsha256 = "{few_digest}"\ntasks = ["drugs"]\n'
        )
        file.chmod(0o600)
        audit = AuditLog(tmp_path / f"audit-{len(made)}.jsonl", fsync=False)
        made.append(audit)
        limits = Limits(**{"per_minute": 1e6, "burst": 10**6, "strangers_per_minute": 1e6, **options.pop("limits", {})})
        engine = options.pop("engine", Local(tiny))
        folder = PromptFolder(options.pop("folder", prompts), tiny.vocabulary)
        return Service(engine, folder, Tokens.read(file), audit, limits, **options)

    (of.all, all_digest), (of.few, few_digest) = new_token(), new_token()
    return of


@pytest.fixture
def make(gateway, tmp_path):
    """Make a client of a gateway; `make.all` may use every task, `make.few` only drugs."""
    opened = []

    def of(**options):
        service = gateway(**options)
        client = TestClient(create_app(service), raise_server_exceptions=True)
        client.__enter__()
        client.headers["Authorization"] = f"Bearer {of.all}"
        client.service, client.audit_path = service, service.audit._path
        opened.append(client)
        return client

    of.all, of.few = gateway.all, gateway.few
    yield of
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make):
    return make()


@pytest.fixture
def live(gateway):
    """Start a real server in a thread on a free port; gives it with its port and `stop()`, which returns the seconds taken."""
    running = []

    def of(descriptors=None, **options):
        service = gateway(**options)
        room, at_once = room_for(service.limits, 0)
        if descriptors is not None:
            room.most = descriptors
        server = make_server(service, "127.0.0.1", 0, room, at_once)
        server.room = room
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive() and time.monotonic() < until
            time.sleep(0.01)
        server.service, server.port = service, server.servers[0].sockets[0].getsockname()[1]

        def stop():
            began = time.monotonic()
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()
            return time.monotonic() - began

        server.stop = stop
        running.append(server)
        return server

    of.all, of.few = gateway.all, gateway.few
    yield of
    for server in running:
        server.stop()
