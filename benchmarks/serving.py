"""Many tasks in one process, and a server under full load from a second process: errors, latency, memory.

`python -m benchmarks.serving [--minutes M] [--clients N] [--tasks N]`, on the embedded backbone: what a stream costs
that mixes all tasks against the same stream under one; what adding a task to a running server takes; and `mpdd serve`
with a prompt for each of the first N tasks whose answers need nothing but a text, N clients sending one real note after
another, each for one to three tasks. 429 and 503 with Retry-After are waited for, as a client should.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from torch import Tensor

from benchmarks import common
from mpdd.backbone.model import Backbone
from mpdd.data import catalogue
from mpdd.data.mixture import few_shot
from mpdd.data.task import TaskCard
from mpdd.inference.predict import Request, predict
from mpdd.inference.prompt_cache import PromptCache
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, save_prompt
from mpdd.serving.folder import PromptFolder

ADDED = 100  # tasks added to a folder that is being served, one after another
SERVED_LENGTH = 15  # virtual tokens of their prompts, as many as the demo's have


class Unending(Backbone):
    """A backbone that never ends an answer, so that both streams write equally many tokens whatever their prompts say."""

    @property
    def end(self) -> int:
        """The token of padding, which is never written."""
        return int(self.tokenizer.pad_token_id)


def main() -> None:
    """Measure all three and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tasks", type=int, default=12)
    args = parser.parse_args()
    under_load = loaded(args.minutes, args.clients, args.tasks)
    print(json.dumps({"many_tasks": many_tasks(1, 2), "adding_a_task": adding(), "load": under_load}, indent=1))


def many_tasks(examples: int, rounds: int) -> dict[str, Any]:
    """Throughput of a stream over all tasks of the suite against the very same inputs under one prompt."""
    backbone = common.load()
    cards = {name: catalogue.get(name).card for name in catalogue.names() if catalogue.get(name).role != "spare"}
    drawn = {name: few_shot(catalogue.load(name).test, examples, 0) for name in cards}
    prompts = {name: from_vocabulary(backbone, common.LENGTH, seed).to(backbone.table) for seed, name in enumerate(cards)}
    unending = Unending(**vars(backbone))

    def run(prompt_of: Mapping[str, Tensor]) -> float:
        requests = [Request(cards[name], drawn[name][i], prompt_of[name]) for i in range(examples) for name in cards]
        return common.seconds(lambda: predict(unending, requests))

    ways = {"all": prompts, "one": dict.fromkeys(cards, prompts["bc5cdr_ner"])}
    times = common.alternate({way: lambda p=p: run(p) for way, p in ways.items()}, rounds)  # type: ignore[misc]
    return {
        "tasks": len(cards),
        "examples": examples * len(cards),
        "throughput_of_all_tasks_to_one": common.ratio(times["one"], times["all"]),
    }


def adding() -> dict[str, Any]:
    """Milliseconds until a new file is served and its prompt read, and bytes of memory that it takes, over many files."""
    backbone, card = common.load(), catalogue.get("bc5cdr_ner").card
    with tempfile.TemporaryDirectory() as place:
        path = Path(place)
        folder, cache = PromptFolder(path, backbone.vocabulary), PromptCache(backbone)
        times, before = [], 0
        for number in range(ADDED):
            named = TaskCard.from_dict({**card.to_dict(), "name": f"{card.name}-{number}"})
            header = Header(
                "soft", backbone.name, backbone.fingerprint, SERVED_LENGTH, backbone.width, tasks=(named.name,), card=named
            )
            rows = from_vocabulary(backbone, SERVED_LENGTH, number).to(backbone.table)
            save_prompt(path / f"{number:03}.safetensors", {"rows": rows}, header)
            times.append(1000 * common.seconds(lambda n=named.name: cache.of([folder.look().tasks[n].rows])))  # type: ignore[misc]
            if number == ADDED // 2:
                before = _resident()
        grown = (_resident() - before) / (ADDED - ADDED // 2 - 1)
        tensors = [rows, *[part for pair in cache.of([rows])[id(rows)].by_layer.values() for part in pair]]
        assert len(folder.look().tasks) == ADDED
    return {
        "tasks": ADDED,
        "prompt": SERVED_LENGTH,
        "milliseconds": common.spread(times),
        "bytes_resident": round(grown),
        "bytes_of_tensors": sum(t.numel() * t.element_size() for t in tensors),
    }


def _resident() -> int:
    """Bytes, after what was freed went back to the system (where the C library can)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


def loaded(minutes: float, clients: int, tasks: int) -> dict[str, Any]:
    """Start the server, load it, stop it: what was seen."""
    names = [name for name in catalogue.names() if plain(name)][:tasks]
    notes = [example.text for name in names for example in few_shot(catalogue.load(name).test, 25, 0)]
    with tempfile.TemporaryDirectory() as place:
        make_prompts(Path(place), names)
        process, client_of = start(Path(place))
        try:
            seen = asyncio.run(load(process, client_of, names, notes, minutes * 60, clients))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    return {"tasks": len(names), "clients": clients, "minutes": minutes, **seen}


def plain(name: str) -> bool:
    """Whether a note alone is all that the task asks about."""
    card = catalogue.get(name).card
    return catalogue.get(name).role != "spare" and not card.fields and (card.type != "qa" or bool(card.labels))


def make_prompts(folder: Path, names: list[str]) -> None:
    """A prompt file for each task, its rows drawn from the vocabulary."""
    backbone = common.load()
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
