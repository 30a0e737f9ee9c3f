"""Puts the metaprompt of a finished run into the package, beside the embedded backbone, with where it comes from.

`python -m backbones.ship_metaprompt RUN_FOLDER`
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from mpdd.errors import InputError
from mpdd.prompts.store import Header, load
from mpdd.vocabulary import EMBEDDED, EMBEDDED_METAPROMPT
from mpdd.vocabulary import load as load_vocabulary


def main() -> None:
    """Ship what a run distilled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    made = args.run / "prompts" / "metaprompt.safetensors"
    header = load(made, load_vocabulary(EMBEDDED)).header
    if header.backbone != EMBEDDED:
        raise InputError(f"{made.name} was made under another name", found=header.backbone, wanted=f"a run on {EMBEDDED}")
    shutil.copyfile(made, EMBEDDED_METAPROMPT)
    made_by = json.loads((args.run / "provenance.json").read_text(encoding="utf-8"))
    EMBEDDED_METAPROMPT.with_name("metaprompt.md").write_text(origin(header, made_by), encoding="utf-8")


def origin(header: Header, provenance: dict[str, str]) -> str:
    """What the metaprompt is and how it was made."""
    return f"""# The metaprompt for the embedded backbone
Length {header.length}, rank {header.rank}, made by `{provenance["command"]}` at commit
{provenance["commit"]}, for the backbone with fingerprint {header.fingerprint[:12]}. Digest: {header.digest}.
What `mpdd adapt CARD.toml` adapts where no other is named.

Distilled from the training data of {len(header.tasks)} tasks: {", ".join(header.tasks)}. Their licences are in
[docs/open31.md](../../../docs/open31.md); some are for research only, and no text of them is in here.
"""


if __name__ == "__main__":
    main()
