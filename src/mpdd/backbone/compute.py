"""How a frozen backbone is held and computed: its element type, quantized weights (`model`), layers split over processes
(`distributed`), and two bargains: compiled layers (time for a slow start) and layers that are computed again in the
backward pass (memory for time). Neither of these two changes what comes out but by rounding.

The last layer stays as it is: its feed-forward part sees answer tokens only (`packed/skip_mlp.py`), and computing it again
would save nothing, as the backward pass begins with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mpdd.backbone import distributed
from mpdd.backbone import model as backbones
from mpdd.backbone.model import Backbone, Quantize
from mpdd.backbone.packed import attention
from mpdd.backbone.template import Kind
from mpdd.errors import InputError

DTYPES = {"auto": None, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def load_backbone(
    name: str, *, dtype: str = "auto", quantize: Quantize = "no", compile: bool = False, gradient_checkpointing: bool = False,
    context: int = 0, shard: bool = False, template: Kind = "plain",
) -> Backbone:  # fmt: skip
    """Load a backbone as an experiment's `compute` wants it. Raises what `mpdd.backbone.model.load` raises."""
    if shard and distributed.processes() > 1:
        backbone = _split(name, DTYPES[dtype], template)
    else:
        backbone = backbones.load(name, dtype=DTYPES[dtype], quantize=quantize, template=template)
    if gradient_checkpointing:
        recompute_layers(backbone)
    if compile:
        compile_layers(backbone)
    return replace(backbone, longest=context or None)


def _split(name: str, dtype: torch.dtype | None, template: Kind) -> Backbone:
    """A backbone whose layers are shared among processes; it is read into ordinary memory, as no device may hold it whole."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = backbones.load(name, dtype=dtype or backbones.fast_dtype(device), device="cpu", template=template)
    distributed.split(_layers(backbone, "split"))
    backbone.model.to(device)
    return replace(backbone, is_split=True)


def compile_layers(backbone: Backbone) -> None:
    """Compile each layer but the last for any lengths, in place; the first steps take as long as the compiler needs.

    Attention stays outside of what is compiled. Raises `InputError` for a backbone without a plain list of layers.
    """
    attention.leave_uncompiled()
    for layer in _layers(backbone, "compiled")[:-1]:
        layer.forward = torch.compile(layer.forward, dynamic=True)


def recompute_layers(backbone: Backbone) -> None:
    """Keep only each layer's input for the backward pass, in place (gradient checkpointing, Chen et al. 2016, arXiv 1604.06174).

    Raises `InputError` for a backbone without a plain list of layers.
    """
    for layer in _layers(backbone, "computed again")[:-1]:
        layer.forward = _recomputed(layer.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def again(*args: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **options)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **options)

    return again


def _layers(backbone: Backbone, wanted: str) -> list[nn.Module]:
    if backbone.layers is None:
        raise InputError(
            f"The layers of the backbone {backbone.name} cannot be {wanted}",
            found=type(backbone.decoder).__name__,
            wanted="a model with a list of layers",
            next_step="Leave compute.compile, compute.gradient_checkpointing and compute.shard out.",
        )
    return list(backbone.layers)
