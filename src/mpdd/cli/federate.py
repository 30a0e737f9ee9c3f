"""`mpdd federate`: one shared prompt of several sites, through a Flower SuperLink, or all of them here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from mpdd.errors import InputError, MpddError


def federate(
    file: Annotated[Path, typer.Argument(metavar="FEDERATION.toml", help="What all sites agree on.")],
    superlink: Annotated[str, typer.Argument(help="The SuperLink's name in Flower's configuration.")] = "",
    here: Annotated[
        list[Path] | None,
        typer.Option("--here", metavar="SITE.toml", help="Without Flower's servers: all sites in this process, once for each."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The server's folder; default runs/NAME.")] = None,
) -> None:
    """Train one metaprompt with other sites: prompts travel, text does not. Sites join with Flower's flower-supernode."""
    from mpdd.federated.federation import Federation

    if bool(superlink) == bool(here):
        raise InputError("Who takes part is not clear", wanted="the name of a SuperLink, or --here SITE.toml for every site")
    federation = Federation.read(file)
    folder = out or Path("runs") / federation.name
    try:
        import flwr  # noqa: F401
    except ImportError as error:
        raise MpddError("A federation needs Flower; `pip install 'mpdd[federated]'` brings it.") from error
    if here:
        from mpdd.federated.here import federate_here

        if len(here) != federation.sites:
            raise InputError("Not all sites are here", found=len(here), wanted=f"{federation.sites} (sites of {file.name})")
        federate_here(federation, here, folder)
    else:
        from mpdd.federated.federation import write_app

        with tempfile.TemporaryDirectory(prefix="mpdd-") as temporary:
            _submit(write_app(Path(temporary), federation, folder), superlink)
    typer.echo(f"Metaprompt: {folder / 'prompts' / 'metaprompt.safetensors'}")


def _submit(app: Path, superlink: str) -> None:
    """Start the run, follow its log to the end, and raise `MpddError` where it failed."""
    started = json.loads(_flwr("run", str(app), superlink, "--format", "json"))
    if not started.get("run-id"):
        raise MpddError(f"Flower did not start the federation: {started.get('error-message', 'it does not say why')}")
    number = str(started["run-id"])
    _flwr("log", number, superlink, "--stream", shown=True)
    (run,) = json.loads(_flwr("list", superlink, "--run-id", number, "--format", "json"))["runs"]
    if not str(run["status"]).endswith("completed"):
        details = str(run.get("status-details", "")).removeprefix("ServerApp failed with exception: ")
        raise MpddError(f"The federation ended early: {details or run['status']}")


def _flwr(*arguments: str, shown: bool = False) -> str:
    """Flower's own command, in silence towards its makers; what it prints, or with `shown` straight to standard error."""
    from mpdd.federated.federation import SILENCE

    command = [sys.executable, "-c", "from flwr.cli.app import app; app()", *arguments]
    pipes: dict[str, Any] = {"stdout": sys.stderr} if shown else {"stdout": subprocess.PIPE}
    done = subprocess.run(command, env={**os.environ, **SILENCE}, text=True, check=False, **pipes)
    return done.stdout or "{}"
