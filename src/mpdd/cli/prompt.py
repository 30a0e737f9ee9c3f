"""`mpdd prompt`: sign prompt files, check signatures, and leave out how a file was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

prompt = typer.Typer(help="Prompt files to share: signatures, and what they carry.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(metavar="FILE", help="A prompt file.")]


@prompt.command("new-key")
def new_key(name: Annotated[Path, typer.Argument(metavar="NAME", help="NAME.key is private, NAME.pub is to share.")]) -> None:
    """Make a pair of keys to sign prompt files with."""
    from mpdd.prompts.signature import new_keys

    private, public = new_keys(name)
    typer.echo(f"Private key: {private} (keep it)\nPublic key: {public} (share it)")


@prompt.command("sign")
def sign(file: File, key: Annotated[Path, typer.Option("--key", help="The private key.")]) -> None:
    """Sign a prompt file; the signature lies beside it."""
    from mpdd.prompts import signature
    from mpdd.prompts.store import load_prompt

    load_prompt(file)
    typer.echo(f"Signature: {signature.sign(file, key)}")


@prompt.command("verify")
def verify(
    file: File, keys: Annotated[list[Path], typer.Option("--key", help="A public key that is trusted; may be repeated.")]
) -> None:
    """Check that a prompt file is signed by one of the keys, and unchanged since."""
    from mpdd.prompts import signature

    typer.echo(f"{file.name} is signed by {signature.verify(file, keys)}")


@prompt.command("strip")
def strip(
    file: File, out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the file without them.")]
) -> None:
    """Write a prompt file again without its provenance: experiment, options and dates. Its card and its guarantee stay."""
    from mpdd.errors import InputError
    from mpdd.prompts.store import SUFFIX, load_prompt, without_provenance

    if out.suffix != SUFFIX:
        raise InputError("A prompt file has another ending", found=f"--out {out}", wanted=f"a name that ends in {SUFFIX}")
    if out.exists():
        raise InputError(f"The file {out} is there already", next_step="Choose another with --out.")
    typer.echo(f"Prompt: {without_provenance(load_prompt(file), out).path}")
