"""Hostile clients beside honest ones: what honest ones notice of them.

`python -m benchmarks.soak [--minutes M] [--honest N]`: starts `mpdd serve` (one thread) on the embedded backbone with a file of
tokens, lets N honest clients, each with a token of its own, send a real note from time to time, and measures their latency
in turns: alone, then beside hostile clients, six times over, so that what else the machine does touches both alike. The
hostile ones run in a process of their own and hold a valid token of their own (the longest notes for all tasks, again and
again, and 12,000 full stops) or none (half-sent headers and bodies, endless bodies, wrong tokens, no HTTP at all). At the end
the server is stopped under load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import tomli_w

from benchmarks import common
from benchmarks.serving import free_port, make_prompts, plain
from mpdd.data import catalogue
from mpdd.data.mixture import few_shot
from mpdd.experiment.folder import commit
from mpdd.serving.access import new_token

ROUNDS = 6
DESCRIPTORS = 64  # files and connections that the server may have open, far fewer than there are hostile connections
PAUSE = 6.0  # seconds that an honest client thinks, on average
Hostile = Callable[["Soak"], Awaitable[None]]


@dataclass(frozen=True)
class Address:
    """Where the server listens, and the tokens that it knows by name."""

    port: int
    tokens: dict[str, str]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, name: str) -> httpx.AsyncClient:
        """A client with one of the tokens, or with a wrong one."""
        headers = {"Authorization": f"Bearer {self.tokens.get(name, 'wrong')}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=180)


@dataclass(frozen=True)
class Server:
    """A running `mpdd serve`, and where its log is."""

    process: subprocess.Popen[bytes]
    address: Address
    log: Path


@dataclass
class Soak:
    """What is sent, what was seen. `latency` of honest requests in seconds, `alone` and `beside` hostile clients."""

    server: Address
    tasks: list[str]
    notes: list[str]
    ends: float = 0.0
    phase: str = "alone"
    latency: dict[str, list[float]] = field(default_factory=lambda: {"alone": [], "beside": []})
    honest: Counter[str] = field(default_factory=Counter)
    hostile: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        """Whether the present phase is not over."""
        return time.monotonic() < self.ends

    def see(self, who: Counter[str], response: httpx.Response) -> None:
        """Count a status; keep what no client should ever get."""
        who[str(response.status_code)] += 1
        is_overload = response.status_code == 503 and "Retry-After" in response.headers
        if response.status_code >= 500 and not is_overload:
            self.wrong.append(f"{response.status_code} {response.headers.get('content-type')}")


def main() -> None:
    """Start the server, soak it, stop it under load, write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="beside hostile clients; half as long alone")
    parser.add_argument("--honest", type=int, default=3)
    args = parser.parse_args()
    names = [name for name in catalogue.names() if plain(name)][:12]
    notes = [example.text for name in names for example in few_shot(catalogue.load(name).test, 25, 0)]
    with tempfile.TemporaryDirectory() as place:
        make_prompts(Path(place), names)
        server = start(Path(place), args.honest)
        soak = Soak(server.address, names, notes)
        try:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as hostile:
                hostile.submit(attack, soak, 0.0).result()  # imports what it needs
                asyncio.run(run(soak, args.minutes * 60 / ROUNDS, args.honest, hostile))
                stopped = stop_under_load(server, hostile.submit(attack, soak, 60.0))
        finally:
            server.process.kill()
        log_bytes, log_lines = server.log.stat().st_size, kinds_of_lines(server.log)
    settings = {
        "minutes": args.minutes,
        "honest_clients": args.honest,
        "hostile_clients": len(HOSTILE),
        "descriptors": DESCRIPTORS,
    }
    seen = {**summary(soak), "log_bytes": log_bytes, "log_lines": log_lines, "seconds_to_stop_under_load": stopped}
    common.write_json(common.RESULTS / "soak.json", {**common.made_on(commit()), **settings, **seen})


def start(folder: Path, honest: int) -> Server:
    """A server of one thread that is ready, with tokens for the honest clients and one for the hostile ones."""
    names = [f"honest-{number}" for number in range(honest)] + ["hostile"]
    made = {name: new_token() for name in names}
    entries = [{"name": name, "sha256": digest, "tasks": ["*"]} for name, (_, digest) in made.items()]
    file = folder / "tokens.toml"
    file.write_text(tomli_w.dumps({"token": entries}))
    file.chmod(0o600)
    port, log = free_port(), folder / "server.txt"
    options = ["--prompts", folder, "--tokens", file, "--port", port, "--audit", folder / "audit.jsonl"]
    with log.open("w") as stream:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "mpdd", "serve", *map(str, options)]
        process = subprocess.Popen(command, stderr=stream, env=environment, preexec_fn=_few_descriptors)
    address = Address(port, {name: token for name, (token, _) in made.items()})
    while True:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address.url}/health/ready").status_code == 200:
                return Server(process, address, log)
        time.sleep(0.5)


def kinds_of_lines(log: Path) -> dict[str, int]:
    """How often each message stands in the server's log, without times; the ten most frequent."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return dict(Counter(line[24:] for line in lines if line[:2] == "20").most_common(10))


def _few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


async def run(soak: Soak, seconds: float, honest: int, hostile: Executor) -> None:
    """The rounds: each half of `seconds` alone, then `seconds` beside hostile clients in the process `hostile`."""
    soak.ends = time.monotonic() + 15  # the first requests compile kernels; they do not count
    await asyncio.gather(*(honest_client(soak, number) for number in range(honest)))
    soak.latency["alone"].clear()
    for _ in range(ROUNDS):
        for phase, length in (("alone", seconds / 2), ("beside", seconds)):
            soak.phase, soak.ends = phase, time.monotonic() + length
            attacking = hostile.submit(attack, replace(soak, latency={}), length) if phase == "beside" else None
            await asyncio.gather(*(honest_client(soak, number) for number in range(honest)))
            if attacking:
                seen, wrong = await asyncio.wrap_future(attacking)
                soak.hostile += seen
                soak.wrong += wrong


def attack(soak: Soak, seconds: float) -> tuple[Counter[str], list[str]]:
    """All hostile clients for so many seconds: what they got, and what no client should get."""
    soak = Soak(soak.server, soak.tasks, soak.notes, time.monotonic() + seconds)
    if seconds:
        asyncio.run(_all(soak))
    return soak.hostile, soak.wrong


async def _all(soak: Soak) -> None:
    await asyncio.gather(*(endless(client, soak) for client in HOSTILE))


async def honest_client(soak: Soak, number: int) -> None:
    """A note for one to three tasks, then a pause; waits as it is told to."""
    rng = random.Random(f"{number} {soak.phase} {len(soak.latency[soak.phase])}")
    async with soak.server.client(f"honest-{number}") as client:
        while soak.goes_on:
            await asyncio.sleep(rng.expovariate(1 / PAUSE))
            body = {"text": rng.choice(soak.notes), "tasks": rng.sample(soak.tasks, rng.randint(1, 3))}
            began = time.perf_counter()
            try:
                response = await client.post("/v1/annotate", json=body)
            except httpx.TransportError as error:
                soak.honest[type(error).__name__] += 1
                continue
            soak.see(soak.honest, response)
            if response.status_code == 200:
                soak.latency[soak.phase].append(time.perf_counter() - began)
            else:
                await asyncio.sleep(float(response.headers.get("Retry-After", 1)))


async def endless(client: Hostile, soak: Soak) -> None:
    """A hostile client that starts over whatever happens to it."""
    while soak.goes_on:
        left = soak.ends - time.monotonic()
        with contextlib.suppress(httpx.HTTPError, OSError, TimeoutError, EOFError):
            await asyncio.wait_for(client(soak), max(0.1, left))
        await asyncio.sleep(0.02)


async def _ask(soak: Soak, name: str, body: dict[str, Any]) -> None:
    async with soak.server.client(name) as client:
        soak.see(soak.hostile, await client.post("/v1/annotate", json=body))


async def long_note(soak: Soak) -> None:
    """60,000 characters for all tasks, by a valid token."""
    await _ask(soak, "hostile", {"text": " ".join(soak.notes * 40)[:60_000], "tasks": soak.tasks})


async def full_stops(soak: Soak) -> None:
    """A run of full stops, by a valid token."""
    await _ask(soak, "hostile", {"text": "." * 12_000, "tasks": soak.tasks})


async def repeated(soak: Soak) -> None:
    """The same task thirty times, by a valid token."""
    await _ask(soak, "hostile", {"text": " ".join(soak.notes * 40)[:60_000], "tasks": soak.tasks[:1] * 30})


async def wrong_token(soak: Soak) -> None:
    """A large body with a wrong token."""
    await _ask(soak, "nobody", {"text": "x" * 500_000, "tasks": soak.tasks})


async def _send(soak: Soak, content: bytes, then: bytes = b"", every: float = 0.5) -> None:
    """Send something over a connection of its own, then `then` again and again until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", soak.server.port)
    closed = asyncio.ensure_future(reader.read(-1))
    try:
        writer.write(content)
        while not closed.done() and soak.goes_on:
            await asyncio.sleep(every)
            writer.write(then)
            await writer.drain()
        soak.hostile["connections"] += 1
    finally:
        closed.cancel()
        await asyncio.gather(closed, return_exceptions=True)
        writer.close()


async def half_sent(soak: Soak) -> None:
    """A header that is never finished."""
    await _send(soak, b"POST /v1/annotate HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n")


async def silent(soak: Soak) -> None:
    """Nothing at all."""
    await _send(soak, b"")


async def no_http(soak: Soak) -> None:
    """Something else than HTTP."""
    await _send(soak, b"\x16\x03\x01 this is not HTTP\r\n\r\n", every=0.1)


async def dripping_body(soak: Soak) -> None:
    """A body that comes a byte at a time, by a valid token."""
    token = soak.server.tokens["hostile"].encode()
    head = b"POST /v1/annotate HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nAuthorization: Bearer " + token + b"\r\n\r\n"
    await _send(soak, head, b" ")


async def endless_body(soak: Soak) -> None:
    """A body without an end and without a token."""
    head = b"POST /v1/annotate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await _send(soak, head, b"400\r\n" + b"x" * 1024 + b"\r\n", every=0.05)


HOSTILE: tuple[Hostile, ...] = (
    *[long_note] * 6, *[full_stops] * 2, repeated, *[wrong_token] * 2, *[half_sent] * 70, *[silent] * 20, *[no_http] * 2,
    *[dripping_body] * 4, *[endless_body] * 4,
)  # fmt: skip


def stop_under_load(server: Server, attacking: Future[Any]) -> float:
    """Send SIGTERM while hostile clients are at work; seconds until the process has ended."""
    time.sleep(10)
    assert not attacking.done(), "The hostile clients ended too early."
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    while server.process.poll() is None and time.monotonic() - began < 90:
        time.sleep(0.05)
    return round(time.monotonic() - began, 1)


def summary(soak: Soak) -> dict[str, Any]:
    """Statuses, and honest latency alone and beside hostile clients."""
    cuts = {phase: statistics.quantiles(values, n=100) for phase, values in soak.latency.items()}
    seconds = {
        phase: {"p50": round(cut[49], 3), "p95": round(cut[94], 3), "requests": len(soak.latency[phase])}
        for phase, cut in cuts.items()
    }
    return {
        "honest_seconds": seconds,
        "p95_beside_over_alone": round(cuts["beside"][94] / cuts["alone"][94], 2),
        "honest": dict(sorted(soak.honest.items())),
        "hostile": dict(sorted(soak.hostile.items())),
        "errors_other_than_503_with_retry_after": soak.wrong[:20],
    }


if __name__ == "__main__":
    main()
