"""`mpdd audit`: what a prompt file tells of the notes that it was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def audit(
    prompt: Annotated[Path, typer.Argument(metavar="PROMPT", help="The prompt file.")],
    card: Annotated[Path, typer.Argument(metavar="CARD.toml", help="The card of the task that it was trained on.")],
    canaries: Annotated[
        int,
        typer.Option("--canaries", metavar="N", min=0, help="Adapt once more beside N invented examples: are they memorised?"),
    ] = 0,
    shadows: Annotated[
        int,
        typer.Option("--shadows", metavar="K", min=0, help="Attack with K shadow prompts, each adapted to half of the examples."),
    ] = 0,
    shots: Annotated[
        int | None, typer.Option("--shots", min=1, help="Trained on so many examples; default as the prompt says.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Trained with this seed; default as the prompt says.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder of what is adapted, and the report; default runs/audit-NAME.")
    ] = None,
    backbone: Annotated[str, typer.Option("--backbone", help="Where the backbone is, if not where the prompt says.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Attack a prompt: what does it tell of its training notes? A page for a privacy officer; no text is shown.

    Canaries and shadow prompts are left out unless asked for, as they adapt the task again: what that costs is said before.
    """
    from mpdd.backbone.model import load as load_backbone
    from mpdd.evaluation.privacy_page import page
    from mpdd.experiment.audit import audit as attack
    from mpdd.files import make_folder, write_atomically
    from mpdd.progress import Reporter
    from mpdd.prompts.store import load_prompt

    if out is not None:
        make_folder(out)  # before the attacks, which take long
    opened = load_backbone(backbone or load_prompt(prompt).header.backbone)
    record = attack(
        load_prompt(prompt, opened), card, opened, canary_count=canaries, shadow_count=shadows, shots=shots, seed=seed, out=out,
        reporter=Reporter(),
    )  # fmt: skip
    if out is not None:
        write_atomically(out / "audit.json", (json.dumps(record, indent=1) + "\n").encode())
        write_atomically(out / "audit.txt", (page(record) + "\n").encode())
    print(json.dumps(record, indent=1) if as_json else page(record))
