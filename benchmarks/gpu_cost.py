"""What work at a true shape needs, against the time it took: operations, bytes moved, and what `mpdd check --shape` foretells.

Operations are those that the method needs, on real tokens only: two for each weight and token forward (of experts, those
that a token goes to; the head and the last layer's feed-forward part at answer tokens only), as many backward (no
gradients of weights), and attention to the tokens that each one sees: four for each number of a query forward, twice that
backward. Utilisation is their share of a bf16 matrix product of 8192 x 8192 x 8192 in the same run; layers that are
computed again count as no work, but for `with_recomputing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.gpu_case import Case, Found
from mpdd.backbone.model import Backbone
from mpdd.experiment.shape import calculated
from mpdd.prompts.pack import Text, pack
from mpdd.training.passes import Row


def operations(case: Case, texts: Sequence[Text], answers: int) -> tuple[float, float, int]:
    """Operations of a forward pass in products with weights and in attention, and its tokens; the head is looked at in
    `answers` tokens a text."""
    backbone, packed = case.backbone, pack(case.backbone, texts)
    seen = packed.positions[: max(packed.ends)].float() + 1  # behind the last text there is only padding
    tokens, asked = len(seen), len(texts) * answers
    head, last = backbone.model.get_output_embeddings().weight.numel(), _active(backbone, backbone.layers[-1].mlp)  # type: ignore[index]
    products = 2.0 * ((case.shape.active - head) * tokens - last * (tokens - asked) + head * asked)
    heads, size = queries(backbone)
    attended = sum(float(seen.clamp(max=window).sum()) for window in _windows(backbone))
    return products, 4.0 * heads * size * attended, tokens


def _active(backbone: Backbone, part: Any) -> int:
    """Weights of a part that multiply one token."""
    text = backbone.model.config.get_text_config()
    chosen, experts = getattr(text, "num_experts_per_tok", None) or 1, getattr(text, "num_local_experts", None) or 1
    return sum(w.numel() * (chosen if "experts" in n else experts) // experts for n, w in part.named_parameters())


def queries(backbone: Backbone) -> tuple[int, int]:
    """Heads and their size."""
    text = backbone.model.config.get_text_config()
    return text.num_attention_heads, getattr(text, "head_dim", None) or backbone.width // text.num_attention_heads


def _windows(backbone: Backbone) -> list[int]:
    """How many tokens a token sees in each layer, itself included."""
    text = backbone.model.config.get_text_config()
    kinds = getattr(text, "layer_types", None) or ["full_attention"] * backbone.depth
    return [text.sliding_window if kind == "sliding_attention" else backbone.context for kind in kinds]


def tokens_seen(case: Case, lengths: Sequence[int]) -> float:
    """How many tokens a row's new token sees, on average over rows and what is written, in layers without a window."""
    return sum(lengths) / len(lengths) + case.sizes.prompt + case.sizes.written / 2


def weights_read(case: Case, rows: int) -> float:
    """Weights that a token of all rows reads: of experts, those that any row goes to if each goes anywhere alike."""
    text = case.backbone.model.config.get_text_config()
    chosen, experts = getattr(text, "num_experts_per_tok", None) or 1, getattr(text, "num_local_experts", None) or 1
    used = 1 - (1 - chosen / experts) ** rows if experts > 1 else 1.0
    table = case.backbone.table
    weights = [(name, weight) for name, weight in case.backbone.model.named_parameters() if weight is not table]
    return float(sum(weight.numel() * (used if ".experts." in name else 1.0) for name, weight in weights))


def trained(case: Case, seconds: Found, rows: Sequence[Row], again: bool = True) -> Found:
    """What a step on `rows` took, against what it needs and what `mpdd check --shape` foretells.

    The rows' padded tokens are what `check` reckons with; it assumes as many as one pass may have.
    """
    texts = [
        Text((*r.encoded.input_ids, *r.encoded.answer_ids[:-1]), case.prompts[r.prompt], len(r.encoded.answer_ids)) for r in rows
    ]
    products, attending, tokens = operations(case, texts, case.sizes.answer)
    needed = 2 * products + 3 * attending
    best, layers = case.best.get("product", float("nan")), case.backbone.depth
    how = case.experiment.compute.model_copy(update={"gradient_checkpointing": again})
    numbers = case.experiment.prompt.length * case.backbone.width
    foretold = calculated(
        case.experiment.model_copy(update={"compute": how}), case.shape, numbers, len(rows), tokens=case.sizes.text,
        tflops=best / 1e12,
    )  # fmt: skip
    padded = len(rows) * case.sizes.text
    at_these = foretold["weights_bytes"] + foretold["saved_bytes_a_token"] * padded + foretold["optimizer_bytes"]
    return {
        "seconds": seconds,
        "rows": len(rows),
        "tokens": tokens,
        "layers_computed_again": again,
        "operations": needed,
        "utilisation": needed / seconds["median"] / best,
        "with_recomputing": (needed + again * (products + attending) * (layers - 1) / layers) / seconds["median"] / best,
        "foretold": {
            "peak_bytes": foretold["peak_bytes"],
            "peak_bytes_at_these_tokens": at_these,
            "seconds": 4 * case.shape.active * padded / best,
        },
    }
