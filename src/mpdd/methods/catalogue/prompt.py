"""Methods that train nothing on the target, or a whole prompt."""

from __future__ import annotations

from mpdd.methods.method import Method, function

METHODS = (
    Method(
        name="zero-shot",
        place=10,
        run=function("prompts", "zero_shot"),
        note="The backbone with the task's instruction; nothing is trained.",
        family="untrained",
        uses_examples=False,
    ),
    Method(
        name="in-context",
        place=20,
        run=function("examples", "in_context"),
        note="The backbone with training examples of the target in front of every question; nothing is trained.",
        family="untrained",
        can_be_private=False,
    ),
    Method(
        name="sesom",
        place=130,
        run=function("ensemble", "sesom"),
        note="The predictions of source tasks' prompts, weighted by how well each fits the training examples.",
        family="untrained",
        starts_from="metaprompt",
        can_be_private=False,
    ),
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
