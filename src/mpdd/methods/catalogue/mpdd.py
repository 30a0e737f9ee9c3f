"""The method of this package, its forms and its ablations."""

from __future__ import annotations

from mpdd.methods.method import Method, function

METHODS = (
    Method(
        name="mpdd",
        place=50,
        run=function("prompts", "mpdd"),
        note="A metaprompt distilled from many source tasks, which stays as it is; the target's low-rank factors are trained.",
        family="mpdd",
        starts_from="metaprompt",
        trains="prompt",
        rates="mpdd",
    ),
    Method(
        name="mpdd-zero-shot",
        place=60,
        run=function("prompts", "mpdd_zero_shot"),
        note="The metaprompt with the source tasks' mean factors; nothing is trained on the target.",
        family="mpdd",
        starts_from="metaprompt",
        uses_examples=False,
    ),
    Method(
        name="mpdd-examples",
        place=70,
        run=function("examples", "mpdd_examples"),
        note="As mpdd-zero-shot, with rows behind the metaprompt that are made of training examples; nothing is trained.",
        family="mpdd",
        starts_from="metaprompt",
        can_be_private=False,
    ),
    Method(
        name="mpdd-context",
        place=80,
        run=function("examples", "mpdd_context"),
        note="As mpdd-examples, with factors of the metaprompt and of the examples' rows trained on the target.",
        family="mpdd",
        starts_from="metaprompt",
        trains="prompt",
        rates="mpdd",
        can_be_private=False,
    ),
    Method(
        name="mpdd-full",
        place=90,
        run=function("prompts", "mpdd_full"),
        note="As mpdd, but the target also trains a copy of the metaprompt itself, as in the paper.",
        family="mpdd",
        starts_from="metaprompt",
        trains="prompt",
        rates="mpdd",
    ),
    Method(
        name="mpdd-no-teachers",
        place=100,
        run=function("prompts", "mpdd"),
        note="As mpdd, but the metaprompt was trained on the source tasks without teachers.",
        family="mpdd",
        starts_from="metaprompt-no-teachers",
        trains="prompt",
        rates="mpdd",
    ),
)
