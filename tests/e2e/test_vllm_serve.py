"""The gateway over a real vLLM server: the answers of the backbone in this process on real notes, and what happens when it dies.

Optional, as tests/e2e/test_vllm.py is.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch

from mpdd.annotate.notes import Note, answer_notes
from mpdd.backbone import model as backbones
from mpdd.backbone import vocabulary
from mpdd.backbone.vocabulary import EMBEDDED_FOLDER
from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.export import kv_cache
from mpdd.inference.engines.local import Local
from mpdd.inference.engines.vllm import Vllm
from mpdd.inference.predict import Request
from mpdd.prompts.ready import ready
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, load_prompt, save_prompt
from mpdd.serving.access import Caller, Tokens, new_token
from mpdd.serving.app import create_app
from mpdd.serving.folder import PromptFolder
from mpdd.serving.service import Limits, Service

PYTHON = os.environ.get("MPDD_VLLM_PYTHON")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not PYTHON, reason="MPDD_VLLM_PYTHON is not set")]
TASKS = ("bc5cdr_ner", "indiana_radiology", "rqe")  # two that write, one that chooses
NOTES = 100  # of each


class VllmServer:
    """vLLM's own server on loopback, in fp32; with the deep prompts of an export's folder, where one is given."""

    def __init__(self, export=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process, self.export = None, export

    def start(self):
        command = [
            PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(EMBEDDED_FOLDER), "--dtype", "float32",
            "--enable-prompt-embeds", "--enforce-eager", "--host", "127.0.0.1", "--port", str(self.port), "--block-size", "32",
        ]  # fmt: skip
        if self.export:
            connector = {"kv_connector": "PromptConnector", "kv_connector_module_path": "mpdd_vllm_connector"}
            command += ["--kv-transfer-config", json.dumps({**connector, "kv_role": "kv_consumer"})]
        environment = {
            **os.environ, "PYTHONPATH": str(self.export or ""),
            "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1",
        }  # fmt: skip
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + 300
        while True:
            assert self.process.poll() is None and time.monotonic() < until, "vLLM did not start"
            try:
                if httpx.get(f"{self.url}/health", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.5)

    def kill(self):
        """The server with all its processes, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server():
    made = VllmServer()
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def words():
    return vocabulary.load()


@pytest.fixture(scope="module")
def folder(words, tmp_path_factory):
    place = tmp_path_factory.mktemp("prompts")
    for seed, name in enumerate(TASKS):
        header = Header("soft", words.name, words.fingerprint, 15, words.width, tasks=(name,), card=catalogue.get(name).card)
        save_prompt(place / f"{name}.safetensors", {"rows": from_vocabulary(words, 15, seed)}, header)
    return place


def test_the_same_answers_on_real_notes(server, words, folder):
    backbone = backbones.load(dtype=torch.float32, device="cpu")
    engine = Vllm(server.url, words)
    engine.check()
    asked = []
    for name in TASKS:
        prompt, card = load_prompt(folder / f"{name}.safetensors", words).rows(), catalogue.get(name).card
        asked += [Request(card, example, prompt) for example in catalogue.load(name).test[:NOTES]]
    ours, theirs = Local(backbone).predict(asked), engine.predict(asked)
    assert len(ours) == NOTES * len(TASKS)
    assert [p.output for p in theirs] == [p.output for p in ours]
    assert [p.parsed for p in theirs] == [p.parsed for p in ours]
    assert [p.confidence for p in theirs] == pytest.approx([p.confidence for p in ours], rel=1e-3)


def test_deep_prompts_and_others_answer_as_in_this_process(words, tmp_path):
    """Of the package's own metaprompt: two tasks that write, one that chooses, and one at the input."""
    backbone = backbones.load(dtype=torch.float32, device="cpu")
    *prompts, absent = ready(tasks=["bc5cdr_ner", "indiana_radiology", "scifact", "ddi"])
    kv_cache.write_for_vllm(backbone, prompts, tmp_path)
    server = VllmServer(tmp_path)
    server.start()
    try:
        engine = Vllm(server.url, words)
        engine.check()
        asked = []
        for prompt in prompts:
            engine.require_prompt(prompt)
            card, rows, digest = prompt.header.card, prompt.rows(), prompt.header.digest
            examples = catalogue.load(card.name).test[:15]
            asked += [Request(card, example, rows, digest=digest) for example in examples]
            asked += [Request(card, example, from_vocabulary(words, 15, 0)) for example in examples[:3]]
        ours, theirs = Local(backbone).predict(asked), engine.predict(asked)
        assert [p.output for p in theirs] == [p.output for p in ours]
        assert [p.confidence for p in theirs] == pytest.approx([p.confidence for p in ours], rel=1e-3)
        with pytest.raises(InputError, match="does not have the deep prompt"):
            engine.require_prompt(absent)
    finally:
        server.kill()


def test_a_death_of_the_engine_loses_nothing_that_was_accepted(server, words, folder):
    from starlette.testclient import TestClient

    token, digest = new_token()
    engine = Vllm(server.url, words, patience=100.0)
    limits = Limits(per_minute=1e6, burst=10**6)
    service = Service(engine, PromptFolder(folder, words), Tokens({digest: Caller("all", ("*",))}), None, limits)
    notes = [example.text for example in catalogue.load("bc5cdr_ner").test[:40]]
    with TestClient(create_app(service)) as client, ThreadPoolExecutor(40) as pool:
        client.headers["Authorization"] = f"Bearer {token}"

        def annotate(text):
            return client.post("/v1/annotate", json={"text": text, "tasks": ["bc5cdr_ner"]})

        before = [annotate(text).json()["results"] for text in notes[:3]]
        accepted = [pool.submit(annotate, text) for text in notes]
        time.sleep(0.3)
        server.kill()
        down = client.get("/health/ready")
        assert (down.status_code, down.json()["error"]["type"]) == (503, "engine_down")
        server.start()
        answers = [one.result() for one in accepted]
        assert {answer.status_code for answer in answers} == {200}
        assert client.get("/health/ready").status_code == 200
        assert [answer.json()["results"] for answer in answers[:3]] == before


def test_a_batch_of_notes_outlives_the_engine_too(server, words, folder):
    files = [load_prompt(path, words) for path in sorted(folder.glob("bc5cdr*.safetensors"))]
    notes = [Note(str(n), example.text, {}) for n, example in enumerate(catalogue.load("bc5cdr_ner").test[:30])]
    engine = Vllm(server.url, words, patience=float("inf"))
    wanted = list(answer_notes(engine, files, notes))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: list(answer_notes(engine, files, notes)))
        time.sleep(0.2)
        server.kill()
        server.start()
        assert running.result(timeout=300) == wanted
