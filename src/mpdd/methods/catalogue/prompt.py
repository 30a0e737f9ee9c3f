"""Methods that train a whole prompt on the target."""

from __future__ import annotations

from mpdd.methods.method import Method, function

METHODS = (
    Method(
        name="prompt-tuning",
        place=30,
        run=function("prompts", "prompt_tuning"),
        note="One soft prompt for each target, trained on that target alone.",
        family="prompt",
        trains="prompt",
        rates="prompt_tuning",
    ),
    Method(
        name="deep-prompt-tuning",
        place=40,
        run=function("prompts", "deep_prompt_tuning"),
        note="As prompt tuning, with trained rows before every layer of the backbone.",
        family="prompt",
        trains="prompt",
        rates="deep_prompt_tuning",
    ),
    Method(
        name="shared-prompt",
        place=110,
        run=function("prompts", "shared_prompt"),
        note="One prompt trained on all source tasks without factors, then tuned on the target.",
        family="prompt",
        starts_from="metaprompt-shared",
        trains="prompt",
        rates="prompt_tuning",
        rates_if_deep="deep_prompt_tuning",
    ),
    Method(
        name="spot",
        place=120,
        run=function("prompts", "spot"),
        note="Prompt tuning that starts from the best single source task's prompt.",
        family="prompt",
        starts_from="teachers",
        trains="prompt",
        rates="prompt_tuning",
        rates_if_deep="deep_prompt_tuning",
        can_be_private=False,
    ),
)
