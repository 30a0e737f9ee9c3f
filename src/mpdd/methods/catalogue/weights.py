"""Methods that train weights: adapters inside the backbone, or the whole of it."""

from __future__ import annotations

from mpdd.methods.method import Method, function

METHODS = (
    Method(
        name="lora",
        place=140,
        run=function("weights", "lora"),
        note="Low-rank updates of the backbone's weights, at a usual rank.",
        family="lora",
        trains="adapter",
        rates="lora",
    ),
    Method(
        name="lora-matched",
        place=150,
        run=function("weights", "lora_matched"),
        note="LoRA with about as many trainable parameters as mpdd.",
        family="lora",
        starts_from="metaprompt if any",
        trains="adapter",
        rates="lora",
    ),
    Method(
        name="lora-multitask",
        place=160,
        run=function("weights", "lora_multitask"),
        note="LoRA trained on the same source tasks first.",
        family="lora",
        starts_from="lora-of-sources",
        trains="adapter",
        rates="lora",
    ),
    Method(
        name="ia3",
        place=170,
        run=function("weights", "ia3"),
        note="Learned factors that rescale activations inside the backbone.",
        family="other",
        trains="adapter",
        rates="ia3",
    ),
    Method(
        name="ia3-multitask",
        place=180,
        run=function("weights", "ia3_multitask"),
        note="IA3 trained on the same source tasks first.",
        family="other",
        starts_from="ia3-of-sources",
        trains="adapter",
        rates="ia3",
    ),
    Method(
        name="full-finetuning",
        place=190,
        run=function("weights", "full_finetuning"),
        note="Every weight of the backbone is trained.",
        family="other",
        trains="backbone",
        rates="full_finetuning",
    ),
)
