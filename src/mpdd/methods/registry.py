"""Every method of the comparison by its contract name: the same rows, the same steps, equally many rates tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from mpdd.methods import ensemble, examples, prompts, weights
from mpdd.methods.cell import Cell, Outcome

METHODS: Mapping[str, Callable[[Cell], Outcome]] = {
    "zero-shot": prompts.zero_shot,
    "in-context": examples.in_context,
    "prompt-tuning": prompts.prompt_tuning,
    "deep-prompt-tuning": prompts.deep_prompt_tuning,
    "mpdd": prompts.mpdd,
    "mpdd-zero-shot": prompts.mpdd_zero_shot,
    "mpdd-examples": examples.mpdd_examples,
    "mpdd-context": examples.mpdd_context,
    "mpdd-factors": prompts.mpdd_factors,
    "mpdd-no-teachers": prompts.mpdd,  # the same adaptation, from a metaprompt that was trained without teachers
    "shared-prompt": prompts.shared_prompt,
    "spot": prompts.spot,
    "sesom": ensemble.sesom,
    "lora": weights.lora,
    "lora-matched": weights.lora_matched,
    "lora-multitask": weights.lora_multitask,
    "ia3": weights.ia3,
    "ia3-multitask": weights.ia3_multitask,
    "full-finetuning": weights.full_finetuning,
}
# Those that have nothing from the sources.
ALONE = frozenset(("zero-shot", "in-context", "prompt-tuning", "deep-prompt-tuning", "lora", "ia3", "full-finetuning"))
WITHOUT_EXAMPLES = frozenset(("zero-shot", "mpdd-zero-shot"))  # one cell for all shots and seeds
UNTRAINED = WITHOUT_EXAMPLES | {"in-context", "mpdd-examples", "sesom"}
# Those that start from an adapter trained on the sources, with the list of `adapt` that has its rates.
MULTITASK: Mapping[str, Literal["lora", "ia3"]] = {"lora-multitask": "lora", "ia3-multitask": "ia3"}
IN_THE_WEIGHTS = frozenset(("lora", "lora-matched", "ia3", "full-finetuning", *MULTITASK))  # one rate at a time
# The prompt file that a method starts from, where it is not `metaprompt`.
ORIGIN: Mapping[str, Literal["metaprompt-no-teachers", "metaprompt-shared"]] = {
    "mpdd-no-teachers": "metaprompt-no-teachers",
    "shared-prompt": "metaprompt-shared",
}
