"""A server under full load from a second process: errors, latency, memory.

`python -m benchmarks.serving_load [--minutes M] [--clients N] [--tasks N]`: starts `mpdd serve` on the embedded backbone with
a prompt for each of the first N tasks whose answers need nothing but a text, and lets N clients each send one real note after
another, each for one to three tasks. 429 and 503 with Retry-After are waited for, as a client should.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks import common
from mpdd.data import catalogue
from mpdd.data.mixture import few_shot
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, save_prompt


def main() -> None:
    """Start the server, load it, stop it, write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tasks", type=int, default=12)
    args = parser.parse_args()
    names = [name for name in catalogue.names() if plain(name)][: args.tasks]
    notes = [example.text for name in names for example in few_shot(catalogue.load(name).test, 25, 0)]
    with tempfile.TemporaryDirectory() as place:
        make_prompts(Path(place), names)
        process, client_of = start(Path(place))
        try:
            found = asyncio.run(load(process, client_of, names, notes, args.minutes * 60, args.clients))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    common.write("serving_load", {"tasks": len(names), "clients": args.clients, "minutes": args.minutes, **found})


def plain(name: str) -> bool:
    """Whether a note alone is all that the task asks about."""
    card = catalogue.get(name).card
    return catalogue.get(name).role != "spare" and not card.fields and (card.type != "qa" or bool(card.labels))


def make_prompts(folder: Path, names: list[str]) -> None:
    """A prompt file for each task, its rows drawn from the vocabulary."""
    backbone = common.embedded()
    for seed, name in enumerate(names):
        card, rows = catalogue.get(name).card, from_vocabulary(backbone, common.LENGTH, seed)
        about = Header("soft", backbone.name, backbone.fingerprint, common.LENGTH, backbone.width, tasks=(name,), card=card)
        save_prompt(folder / f"{name}.safetensors", {"rows": rows}, about)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """A server process that is ready, and what a client of it is made with."""
    port = free_port()
    command = [sys.executable, "-m", "mpdd", "serve", "--prompts", str(folder), "--port", str(port), "--per-minute", "1000000"]
    said = folder / "server.txt"
    with said.open("w") as file:
        process = subprocess.Popen(command, stderr=file)
    while not (found := re.search(r"Token for this run: (\S+)", said.read_text(encoding="utf-8"))):
        assert process.poll() is None, said.read_text(encoding="utf-8")
        time.sleep(0.2)
    options = {"base_url": f"http://127.0.0.1:{port}", "headers": {"Authorization": f"Bearer {found.group(1)}"}, "timeout": 180}
    while True:
        try:
            if httpx.get(f"{options['base_url']}/health/ready").status_code == 200:
                return process, options
        except httpx.TransportError:
            time.sleep(0.2)


async def load(
    process: subprocess.Popen[bytes], client_of: dict[str, Any], names: list[str], notes: list[str], seconds: float, clients: int
) -> dict[str, Any]:
    """Run the clients for so many seconds; statuses, latency in seconds, resident MiB over time.

    What the server uses rises with each batch and falls after it, so its highest in one stretch of time is compared with that
    in another.
    """
    statuses: Counter[int] = Counter()
    latency: list[float] = []
    answers = 0
    ends = time.monotonic() + seconds
    memory: list[int] = []

    async def one(client: httpx.AsyncClient, rng: random.Random) -> None:
        nonlocal answers
        while time.monotonic() < ends:
            tasks = rng.sample(names, rng.randint(1, 3))
            began = time.perf_counter()
            response = await client.post("/v1/annotate", json={"text": rng.choice(notes), "tasks": tasks})
            statuses[response.status_code] += 1
            if response.status_code == 200:
                latency.append(time.perf_counter() - began)
                answers += len(tasks)
            else:
                await asyncio.sleep(float(response.headers.get("Retry-After", 1)))

    async def watch() -> None:
        while time.monotonic() < ends:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            memory.append(int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) // 1024)
            await asyncio.sleep(max(0.5, seconds / 600))

    async with httpx.AsyncClient(**client_of, limits=httpx.Limits(max_connections=clients)) as client:
        await asyncio.gather(watch(), *(one(client, random.Random(seed)) for seed in range(clients)))
    cuts = statistics.quantiles(latency, n=100)
    return {
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "answers_a_second": round(answers / seconds, 2),
        "latency_seconds": {"p50": round(cuts[49], 3), "p95": round(cuts[94], 3), "p99": round(cuts[98], 3)},
        "resident_mib": {
            "highest_in_second_quarter": max(memory[len(memory) // 4 : len(memory) // 2]),
            "highest_in_last_quarter": max(memory[3 * len(memory) // 4 :]),
        },
    }


if __name__ == "__main__":
    main()
