"""Whether rows can go through a backbone laid end to end, found out when it is loaded: from its configuration and by a trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mpdd.backbone.packed.attention import UnsupportedAttentionError, Wanted, is_installed
from mpdd.backbone.packed.prefix_tree import PrefixTree

_CAUSAL = ("full_attention", "sliding_attention")
_HALF = (torch.bfloat16, torch.float16)
_LENGTHS, _PARENTS = [3, 2, 3], [None, 0, 0]  # two rows of 2 and 3 tokens behind the same 3


def why_padded(backbone: Any) -> str:
    """Return why rows cannot be laid end to end for a `Backbone`, in a few words; an empty text where they can.

    Tried are two rows behind the same tokens: laid end to end each must come out as it does alone. Only what attention cannot
    do is an answer here; any other fault of the model is raised as it is.
    """
    config = backbone.model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ()
    if others := sorted({*kinds} - {*_CAUSAL}):
        return f"some of its layers are other than plain causal attention ({', '.join(others)})"
    if getattr(config, "index_topk", None):
        return "its attention chooses the tokens that it looks at"
    if not is_installed(backbone.model):
        return f"{type(backbone.model).__name__} does not take its attention from transformers' attention interface"
    watched = _Watched(PrefixTree(_LENGTHS, _PARENTS, backbone.device))
    try:
        difference, dtype = _difference(backbone, watched)
    except UnsupportedAttentionError as error:
        return f"its attention wants what packed rows do not have ({error})"
    return _by_window(config, watched.windows, backbone.depth) or _by_result(difference, dtype)


class _Watched:
    """A layout that notes which layers attend through it, and the window of each."""

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        self.windows: dict[int, int | None] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, wanted: Wanted) -> Tensor:
        """The tree's own outputs."""
        self.windows[layer] = wanted.window
        return self._tree.attend(layer, query, key, value, wanted)


def _by_window(config: Any, windows: Mapping[int, int | None], depth: int) -> str:
    """Whether each layer attended, and told how far it looks back, which eight tokens are too few to show."""
    if missing := depth - len(windows):
        return f"{missing} of its {depth} layers do not hand the layout of packed rows on to their attention"
    kinds = getattr(config, "layer_types", None)
    if kinds:
        are_told = all(windows[number] for number, kind in enumerate(kinds) if kind == "sliding_attention")
    else:
        has_window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
        are_told = not has_window or any(windows.values())
    return "" if are_told else "its layers do not tell attention how far they look back"


def _by_result(difference: float, dtype: torch.dtype) -> str:
    if difference <= (2e-2 if dtype in _HALF else 1e-3):  # quantized layers may compute in half precision all the same
        return ""
    return f"rows laid end to end differ from rows alone by {difference:.1%}"


@torch.no_grad()  # weights made in inference mode could not be trained behind
def _difference(backbone: Any, layout: _Watched) -> tuple[float, torch.dtype]:
    """How far the last hidden states of both rows are from those of each alone, relative to their size, and their number format.

    Both are computed in fp32, because in bf16 the rounding of many layers hides a wrong result and looks like one.
    """
    size, device = backbone.model.config.get_text_config().vocab_size, backbone.device
    shared, *ends = ((torch.tensor(ids, device=device) + backbone.end) % size for ids in ((3, 5, 8), (1, 9), (7, 2, 4)))
    positions, at = torch.tensor([0, 1, 2, 3, 4, 3, 4, 5], device=device), torch.tensor([4, 7], device=device)
    with _computed_in_fp32(backbone.decoder):
        expected = torch.cat([_alone(backbone, torch.cat([shared, row])) for row in ends]).float()
        together = torch.cat([shared, *ends])
        states = backbone.packed(backbone.embed(together).float(), positions, layout, at, ids=together).last
    return float((states.float() - expected).norm() / expected.norm()), states.dtype


def _alone(backbone: Any, ids: Tensor) -> Tensor:
    """The last hidden state of a row by itself, [1, width]."""
    positions = torch.arange(len(ids), device=ids.device)[None]
    ones, last = torch.ones_like(positions, dtype=torch.bool), positions == len(ids) - 1
    states: Tensor = backbone.states(backbone.embed(ids[None]).float(), ones, positions, last, ids=ids[None]).last
    return states


@contextmanager
def _computed_in_fp32(decoder: nn.Module) -> Iterator[None]:
    """Compute in fp32 within: each layer's bf16 or fp16 weights are widened while it runs and then as they were, which loses
    nothing and takes the memory of one layer."""
    listed = [child for child in decoder.children() if not isinstance(child, nn.Embedding)]
    modules = [module for child in listed for module in (child if isinstance(child, nn.ModuleList) else [child])]
    hooks = []
    for module in modules:
        half = {t: t.dtype for t in (*module.parameters(), *module.buffers()) if t.dtype in _HALF}

        def widen(*_: Any, half: dict[Tensor, torch.dtype] = half) -> None:
            for tensor in half:
                tensor.data = tensor.data.float()

        def narrow_again(*_: Any, half: dict[Tensor, torch.dtype] = half) -> None:
            for tensor, dtype in half.items():
                tensor.data = tensor.data.to(dtype)

        hooks += [module.register_forward_pre_hook(widen), module.register_forward_hook(narrow_again, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
