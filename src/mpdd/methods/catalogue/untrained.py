"""Methods that train nothing on the target, and have no metaprompt of their own."""

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
)
