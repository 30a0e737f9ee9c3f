"""A user's own task as an experiment: a finished metaprompt adapted to one task card, beside what it is compared with."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpdd.backbone.checkpoints.registry import EMBEDDED
from mpdd.data import catalogue
from mpdd.errors import InputError
from mpdd.experiment import TEST_EXAMPLES, config
from mpdd.experiment.config import Experiment
from mpdd.experiment.folder import prompt_in
from mpdd.methods.registry import ALONE, UNTRAINED
from mpdd.prompts.ready import shipped
from mpdd.prompts.store import load_prompt

METHODS = ("zero-shot", "mpdd-zero-shot", "mpdd")
WITHOUT_STEPS = ("zero-shot", "mpdd-zero-shot", "mpdd-examples")
WITHOUT_METAPROMPT = ("zero-shot", "prompt-tuning")
# How a metaprompt with rows before every layer is adapted, as in experiments/open31.toml; a whole one is no small file.
_DEEP: dict[str, Any] = {
    "steps": 120, "batch_size": 4, "every": 20, "halving_steps": 20, "patience": 2, "factor_start": "kind",
    "select_by": "accuracy", "mpdd": [0.03, 0.1, 0.3],
}  # fmt: skip

_ALL = 10**9
# With differential privacy: batches that drown the noise, and one rate for each method, since trying more is not private.
_PRIVATE: dict[str, Any] = {
    "steps": 100, "batch_size": 32, "every": 100, "mpdd": [0.03], "prompt_tuning": [0.1], "deep_prompt_tuning": [0.03],
    "lora": [0.001], "ia3": [0.01], "full_finetuning": [0.0001],
}  # fmt: skip


def experiment_for(
    card: Path, metaprompt: Path | None, *, methods: Sequence[str] = METHODS, shots: int | None = None, steps: int | None = None,
    seed: int = 0, backbone: str = "", privacy: Mapping[str, Any] | None = None, test_examples: int = TEST_EXAMPLES,
    grounded: bool | None = None,
) -> Experiment:  # fmt: skip
    """Return the experiment that adapts `metaprompt` to the task of `card`, with the defaults of `config.Adapt`; a deep one as
    Open-31 does. Without a metaprompt, that of the `methods` which need none (`WITHOUT_METAPROMPT` by default). With 0 `steps`
    nothing is trained: `shots` examples (8 by default) are made into rows behind the metaprompt. With `privacy` (the values of
    `methods.options.Privacy`) each method has one rate, and larger batches. At most `test_examples` are scored (0: all).

    Raise `InputError` for a card, a metaprompt or options that do not fit.
    """
    name = catalogue.get(str(card)).name
    origin = _without_metaprompt(backbone, methods) if metaprompt is None else _from_metaprompt(metaprompt, methods)
    adapt = origin.pop("adapt")
    if steps == 0 and privacy:
        raise InputError(
            "With --steps 0 a prompt is made of words of examples, which cannot be private", found="--epsilon with --steps 0",
            wanted="one of the two",
        )  # fmt: skip
    if steps == 0:
        origin["methods"] = _without_steps(origin["methods"], has_metaprompt=metaprompt is not None)
        adapt = adapt | ({"in_context_examples": shots} if shots else {})
    if privacy:
        start = {"factor_start": adapt["factor_start"]} if "factor_start" in adapt else {}
        adapt = {**start, **_PRIVATE, "privacy": privacy, **({"steps": steps, "every": steps} if steps else {})}
    elif steps:
        adapt = adapt | {"steps": steps, "every": max(1, steps // 4), "halving_steps": steps // 4 if adapt else 0}
    values: dict[str, Any] = {
        **origin,
        "name": name,
        "targets": [str(card)],
        "seeds": [seed],
        "shots": ["all" if shots is None else shots],
        "adapt": adapt,
        "limits": {"test": test_examples or _ALL},
        "decoding": {} if grounded is None else {"grounded": grounded},
    }
    return config.build(values | ({"backbone": backbone} if backbone else {}), "the command line")


def prompt_method(experiment: Experiment) -> str:
    """The method whose prompt an experiment of `experiment_for` is run for; the others are compared with it."""
    return next(name for name in ("mpdd", "mpdd-examples", "prompt-tuning") if name in experiment.methods)


def prompt_path(experiment: Experiment, folder: Path) -> Path:
    """Where the run folder of such an experiment keeps that prompt."""
    name = f"{experiment.name}-{prompt_method(experiment)}-{experiment.shots[0]}-s{experiment.seeds[0]}"
    return prompt_in(folder, name)


def _without_steps(methods: Sequence[str], *, has_metaprompt: bool) -> list[str]:
    """The methods that are compared where nothing is trained."""
    added = [name for name in methods if name not in (*METHODS, *WITHOUT_METAPROMPT)]
    if trained := [name for name in added if name not in UNTRAINED]:
        raise InputError("With --steps 0 nothing is trained", found=f"--methods {','.join(trained)}", wanted="no such method")
    if not has_metaprompt:
        raise InputError(
            "With --steps 0 a prompt is made of a metaprompt and examples, and there is no metaprompt for this backbone",
            wanted="--from METAPROMPT, or more than 0 steps",
        )
    return [*WITHOUT_STEPS, *(name for name in added if name not in WITHOUT_STEPS)]


def _from_metaprompt(metaprompt: Path, methods: Sequence[str]) -> dict[str, Any]:
    header = load_prompt(metaprompt).header
    if header.kind != "meta":
        raise InputError(f"{metaprompt.name} is not a metaprompt", found=f"kind {header.kind}", wanted="kind meta")
    return {
        "backbone": header.backbone,
        "template": header.template.kind if header.template else "plain",
        "metaprompt": str(metaprompt),
        "methods": list(methods),
        "prompt": {"length": header.length, "rank": header.rank, "depth": header.depth},
        "adapt": _DEEP if header.depth == "all" else {},
    }


def _without_metaprompt(backbone: str, methods: Sequence[str]) -> dict[str, Any]:
    more = [name for name in methods if name not in METHODS]
    needing = [name for name in more if name not in ALONE]
    if needing:
        raise InputError(
            f"There is no metaprompt for the backbone {backbone}",
            found=f"--methods {','.join(needing)}, which start from one",
            wanted=f"--from METAPROMPT, or only {', '.join(sorted(ALONE))}",
        )
    return {"methods": list(dict.fromkeys((*WITHOUT_METAPROMPT, *more))), "adapt": {}}


def shipped_metaprompt(card: Path, backbone: str = "") -> Path | None:
    """Return the metaprompt inside the package that fits a backbone: by its known name, or, for a folder or a GGUF file, by its
    fingerprint. None where none of them fits; raise `InputError` where the embedded backbone's own is missing.
    """
    name = backbone or EMBEDDED
    path = shipped(name)
    if path is None and name == EMBEDDED:
        raise InputError(
            f"{card.name} is a task card, and there is no metaprompt to adapt",
            wanted="--from METAPROMPT, for example runs/demo/prompts/metaprompt.safetensors",
            next_step="`mpdd demo` makes that one.",
        )
    return path


def at_input(metaprompt: Path | None, *, is_chosen: bool) -> Path | None:
    """Return the metaprompt if prompts adapted from it are exportable to every format: if its rows are at the input alone. None
    for one of the package that is deep; raise `InputError` for a deep one that the user has chosen (`is_chosen`)."""
    if metaprompt is None or load_prompt(metaprompt).header.depth == "input":
        return metaprompt
    if is_chosen:
        raise InputError(
            f"The metaprompt {metaprompt.name} is deep (rows before every layer), so what is adapted from it is not exportable "
            f"to every format",
            wanted='one made with prompt.depth = "input"',
            next_step="Leave out --from for prompt tuning at the input, or --exportable.",
        )
    return None


NOT_DEEP = (
    "The metaprompt for this backbone is deep (rows before every layer), which vLLM and llama.cpp cannot take: the task is "
    "learnt by prompt tuning at the input, without a metaprompt."
)


def no_metaprompt(backbone: str) -> str:
    """Say that no metaprompt comes for a backbone, what is done instead and how to get one."""
    return (
        f"This version has no metaprompt for the backbone {backbone}, so the task is learnt by prompt tuning alone. "
        f"--from METAPROMPT adapts one of yours; `mpdd distil EXPERIMENT.toml` with this backbone makes one."
    )


def is_card(path: Path) -> bool:
    """Say whether a TOML file is a task card rather than an experiment; a file that cannot be read is neither."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "instruction" in values and "targets" not in values
