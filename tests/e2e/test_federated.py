"""Two sites and a server as Flower deploys them, on loopback: real processes, real data, a tiny backbone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import tomli_w
import torch

from mpdd.prompts.store import load_prompt
from tests.e2e.conftest import EXPERIMENT, MIRROR

pytest.importorskip("flwr")
pytestmark = pytest.mark.e2e
SITES = {"a": ["scifact", "ddi"], "b": ["bc5cdr_ner", "biored_ner"]}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def place(world, tmp_path):
    """A folder with the federation's file, each site's experiment, and Flower's configuration."""
    values = {"backbone": str(world.backbone), "compute": {"dtype": "fp32"}, "prompt": {"length": 4}}
    for name, sources in SITES.items():
        site = {**EXPERIMENT, **values, "name": name, "sources": sources, "targets": ["rqe"], "methods": ["mpdd"]}
        site["distil"] = {"steps": 4, "batch_size": 2, "every": 2, "kl": 0.0, "hidden": 0.0}
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps(site))
    federation = {"name": "joint", **values, "rounds": 1, "sites": 2, "secure": True, "most_examples": 100}
    (tmp_path / "federation.toml").write_text(tomli_w.dumps(federation))
    (tmp_path / "flwr").mkdir()
    return tmp_path


@contextmanager
def started(place, name, *command):
    """A process with its log in a file, ended with all that it started."""
    environment = {
        **os.environ, "FLWR_HOME": str(place / "flwr"), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1",
        "MPDD_MIRROR": str(MIRROR), "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    with (place / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            list(map(str, command)), cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def logs(place):
    return "\n".join(f"--- {path.name}\n{path.read_text()[-4000:]}" for path in sorted(place.glob("*.log")))


def listens(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def wait_for(port, process):
    until = time.monotonic() + 120
    while not listens(port):
        assert process.poll() is None and time.monotonic() < until, "The superlink does not listen"
        time.sleep(0.1)


def test_two_sites_make_one_metaprompt(place):
    port = free_port()
    (place / "flwr" / "config.toml").write_text(
        tomli_w.dumps({"superlink": {"default": "loopback", "loopback": {"address": f"127.0.0.1:{port}", "insecure": True}}})
    )
    with ExitStack() as running:
        link = ("flower-superlink", "--insecure", "--port", port, "--disable-runtime-dependency-installation")
        wait_for(port, running.enter_context(started(place, "superlink", *link)))
        for name in SITES:
            config = f'experiment="{name}.toml" out="runs/{name}" secure=true'
            node = ("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--port", free_port())
            running.enter_context(started(place, f"site-{name}", *node, "--node-config", config))
        command = (sys.executable, "-m", "mpdd", "federate", "federation.toml", "loopback", "--out", "out")
        with started(place, "mpdd", *command) as mpdd:
            assert mpdd.wait(300) == 0, logs(place)
    joint = load_prompt(place / "out/prompts/metaprompt.safetensors")
    assert joint.header.tasks == ("federated",)  # the factors stayed at the sites
    sites = {name: load_prompt(place / f"runs/{name}/prompts/metaprompt.safetensors") for name in SITES}
    for own in sites.values():
        torch.testing.assert_close(own.tensors["shared"], joint.tensors["shared"], rtol=0, atol=0)
    assert {own.header.tasks for own in sites.values()} == set(map(tuple, SITES.values()))
    assert len(json.loads((place / "out/rounds.json").read_text())) == 1
    assert "Metaprompt: out/prompts/metaprompt.safetensors" in (place / "mpdd.log").read_text()
