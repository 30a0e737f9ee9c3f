"""Puts the metaprompt of a finished run into the package in 16 bits, where `mpdd adapt` finds it, with where it comes from.

`python -m backbones.ship_metaprompt RUN_FOLDER`; the run's backbone is `embedded` or a known one (`mpdd backbone list`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mpdd.api.pack import halved
from mpdd.backbone.checkpoints.registry import EMBEDDED, metaprompt_of, pack_of, packed_tasks, table
from mpdd.backbone.vocabulary import load as load_vocabulary
from mpdd.errors import InputError
from mpdd.prompts.store import Header, load_prompt, save_prompt


def main() -> None:
    """Ship what a run distilled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    made = args.run / "prompts" / "metaprompt.safetensors"
    header = load_prompt(made).header
    if header.backbone not in (EMBEDDED, *table()):
        raise InputError(
            f"{made.name} is for a backbone without a name of its own", found=header.backbone,
            wanted=f"a run on {', '.join((EMBEDDED, *table()))}",
        )  # fmt: skip
    load_prompt(made, load_vocabulary(header.backbone))
    to = metaprompt_of(header.backbone)
    metaprompt = halved(load_prompt(made))
    to.parent.mkdir(exist_ok=True)
    header = save_prompt(to, metaprompt.tensors, metaprompt.header).header
    _remove_prompts_of_others(header.backbone, header.digest)
    made_by = json.loads((args.run / "provenance.json").read_text(encoding="utf-8"))
    to.with_suffix(".md").write_text(origin(header, made_by), encoding="utf-8")


def _remove_prompts_of_others(backbone: str, metaprompt: str) -> None:
    """Take away the prompts of the pack that were adapted from another metaprompt; `mpdd pack` puts new ones there."""
    for task, path in packed_tasks(pack_of(backbone)).items():
        if load_prompt(path).header.metaprompt != metaprompt:
            path.unlink()
            print(f"Removed from the pack: {task}, adapted from the former metaprompt")


def origin(header: Header, provenance: dict[str, str]) -> str:
    """What the metaprompt is and how it was made."""
    return f"""# The metaprompt for the backbone {header.backbone}
Length {header.length}, rank {header.rank}, made by `{provenance["command"]}` at commit
{provenance["commit"]}, for the backbone with fingerprint {header.fingerprint[:12]}. Digest: {header.digest}.
What `mpdd adapt CARD.toml --backbone {header.backbone}` adapts where no other is named.

Distilled from the training data of {len(header.tasks)} tasks: {", ".join(header.tasks)}. Their licences are in
[docs/open31.md](../../../docs/open31.md); some are for research only, and no text of them is in here.
"""


if __name__ == "__main__":
    main()
