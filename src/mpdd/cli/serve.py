"""`mpdd serve` and `mpdd token`: the HTTP gateway, and access tokens for it."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpdd.cli.predict import Grounded
from mpdd.errors import InputError, MpddError, counted

if TYPE_CHECKING:
    from mpdd.serving.access import Tokens

_KERNELS = "64"  # compiled products that torch keeps on a CPU; its 1,024 come to hundreds of MiB, for a gain of some 2 %


def serve(
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            help="The folder of prompt files, which may change, or hf://ORG/NAME; left out: the tasks that need none.",
        ),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Who may use what (`mpdd token`); without it, one for now.")
    ] = None,
    backbone: Annotated[str, typer.Option("--backbone", help="Where the backbone is.")] = "embedded",
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8000,
    audit: Annotated[Path | None, typer.Option("--audit", help="The audit log; continued if it exists.")] = None,
    abstain_below: Annotated[
        float, typer.Option("--abstain-below", min=0, max=1, help="Mark answers less sure than this.")
    ] = 0.0,
    engine: Annotated[str, typer.Option("--engine", metavar="URL", help="A vLLM server that runs the backbone.")] = "",
    grounded: Grounded = None,
    per_minute: Annotated[float, typer.Option("--per-minute", min=1, help="Requests a minute for each token.")] = 600.0,
    connections: Annotated[int, typer.Option("--connections", min=4, help="Connections at a time, at most.")] = 512,
    signed_by: Annotated[
        list[Path] | None, typer.Option("--signed-by", metavar="KEY.pub", help="Serve only files that one of these keys signed.")
    ] = None,
) -> None:
    """Serve all tasks of a folder over HTTP, with a web page; stop with Ctrl-C, and what was accepted is finished.

    Without a folder, the tasks that come with the package for the backbone are served, without any training.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS)  # read when torch is loaded, below
    try:
        from mpdd.serving.server import require_address, run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mpdd"):
            raise
        raise MpddError("Serving needs more libraries; `pip install 'mpdd[serve]'` brings them.") from error
    from mpdd.inference.engines import open_engine
    from mpdd.prompts.hub import local
    from mpdd.prompts.ready import ready
    from mpdd.prompts.signature import require_public_keys
    from mpdd.serving.access import Tokens
    from mpdd.serving.audit import AuditLog
    from mpdd.serving.folder import FixedTasks, PromptFolder
    from mpdd.serving.limits import Limits
    from mpdd.serving.service import Service

    folder = None if prompts is None else local(prompts)
    if folder is not None and not folder.is_dir():
        raise InputError(
            "There is no such folder of prompt files", found=prompts, wanted="a folder, for example runs/demo/prompts"
        )
    if folder is None and signed_by:
        raise InputError("The tasks of the package are not signed", found="--signed-by without --prompts", wanted="--prompts")
    if signed_by:
        require_public_keys(signed_by)
    if tokens is None and not _is_loopback(host):
        raise InputError(
            "Without a file of tokens only this machine is served", found=f"--host {host}", wanted="--tokens FILE",
            next_step="`mpdd token NAME --tasks '*'` makes an entry for it.",
        )  # fmt: skip
    listed = Tokens.read(tokens) if tokens else None
    require_address(host, port)
    log = AuditLog(audit) if audit else None
    package_prompts = ready(backbone) if folder is None else []  # before the backbone is opened: there may be none for it
    answers = open_engine(backbone, engine, patience=30.0, grounded=grounded)
    words = answers.vocabulary
    allowed = listed or _one_for_now()
    tasks = (
        FixedTasks(package_prompts, words, answers) if folder is None else PromptFolder(folder, words, signed_by or (), answers)
    )
    service = Service(answers, tasks, allowed, log, Limits(per_minute=per_minute, connections=connections), abstain_below)
    listing = service.folder.look()
    for problem in listing.problems.values():
        typer.echo(f"mpdd: {problem}", err=True)
    typer.echo(f"{counted(len(listing.tasks), 'task')} at http://{host}:{port}/", err=True)
    run(service, host, port)


def token(
    name: Annotated[str, typer.Argument(help="Whose token it is; it stands in the audit log.")],
    tasks: Annotated[str, typer.Option("--tasks", help="The tasks it may use, with commas; * for all.")] = "*",
) -> None:
    """Make an access token: the entry for the file of tokens on standard output, the token itself on standard error."""
    import tomli_w

    from mpdd.serving.access import new_token

    secret, digest = new_token()
    entry = {"name": name, "sha256": digest, "tasks": [part.strip() for part in tasks.split(",") if part.strip()]}
    typer.echo(tomli_w.dumps({"token": [entry]}))
    typer.echo(f"Token, shown only here: {secret}", err=True)


def _one_for_now() -> Tokens:
    from mpdd.serving.access import Caller, Tokens, new_token

    secret, digest = new_token()
    print(f"Token for this run: {secret}", file=sys.stderr)
    return Tokens({digest: Caller("this-run", ("*",))})


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
