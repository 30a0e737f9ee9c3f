"""A user's own task as an experiment: a finished metaprompt adapted to one task card, beside what it is compared with."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpdd import config
from mpdd.config import Experiment
from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.prompts.store import load
from mpdd.vocabulary import EMBEDDED, EMBEDDED_METAPROMPT

METHODS = ("zero-shot", "mpdd-zero-shot", "mpdd")
# How a metaprompt with rows before every layer is adapted, as in experiments/open31.toml; a whole one is no small file.
_DEEP: dict[str, Any] = {
    "steps": 120, "batch_size": 4, "every": 20, "race": 20, "patience": 2, "mode": "factors", "factor_start": "kind",
    "mpdd": [0.03, 0.1, 0.3],
}  # fmt: skip


def experiment_for(
    card: Path, metaprompt: Path, *, methods: Sequence[str] = METHODS, shots: int | None = None, steps: int | None = None,
    seed: int = 0, backbone: str = "",
) -> Experiment:  # fmt: skip
    """Return the experiment that adapts `metaprompt` to the task of `card`, with the defaults of `config.Adapt`; a deep one as
    Open-31 does.

    Raise `InputError` for a card, a metaprompt or options that do not fit.
    """
    name = catalogue.get(str(card)).name
    header = load(metaprompt).header
    if header.kind != "meta":
        raise InputError(f"{metaprompt.name} is not a metaprompt", found=f"kind {header.kind}", wanted="kind meta")
    adapt = _DEEP if header.depth == "all" else {}
    if steps is not None:
        adapt = adapt | {"steps": steps, "every": max(1, steps // 4), "race": steps // 4 if adapt else 0}
    values: dict[str, Any] = {
        "name": name,
        "backbone": backbone or header.backbone,
        "template": header.template.kind if header.template else "plain",
        "metaprompt": str(metaprompt),
        "targets": [str(card)],
        "methods": list(methods),
        "seeds": [seed],
        "shots": ["all" if shots is None else shots],
        "prompt": {"length": header.length, "rank": header.rank, "depth": header.depth},
        "adapt": adapt,
    }
    return config.build(values, "the command line")


def shipped_metaprompt(card: Path, backbone: str = "") -> Path:
    """The metaprompt inside the package, which fits the embedded backbone alone; raise `InputError` where that is not enough."""
    if EMBEDDED_METAPROMPT.is_file() and backbone in ("", EMBEDDED):
        return EMBEDDED_METAPROMPT
    raise InputError(
        f"{card.name} is a task card, and there is no metaprompt to adapt",
        found=f"backbone {backbone}" if backbone else None,
        wanted="--from METAPROMPT, for example runs/demo/prompts/metaprompt.safetensors",
        next_step="`mpdd demo` makes that one."
        if backbone in ("", EMBEDDED)
        else "`mpdd distil` makes one for another backbone.",
    )


def is_card(path: Path) -> bool:
    """Say whether a TOML file is a task card rather than an experiment; a file that cannot be read is neither."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "instruction" in values and "targets" not in values
