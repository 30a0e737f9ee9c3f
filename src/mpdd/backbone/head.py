"""From hidden states to logits by the model's own code: its head, with all that it multiplies, divides or caps."""

from __future__ import annotations

import copy
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast


def logits_of(model: Any, decoder: nn.Module, states: Float[Tensor, "n width"]) -> Float[Tensor, "n vocabulary"]:
    """Return the logits that a causal language model gives for hidden states of its `decoder`, in the states' number format.

    The model's `forward` runs as it is (Granite divides by `logits_scaling`, Cohere multiplies by `logit_scale`, Gemma caps
    with a tanh), but on a copy in which the decoder gives back the states. The copy shares all weights.
    """
    path = next(name for name, module in model.named_modules() if module is decoder)
    head = whole = copy.copy(model)
    for name in path.split("."):
        part = copy.copy(head._modules[name])
        head._modules = {**head._modules, name: part}
        head = part
    head.forward = _pass_through
    head._forward_pre_hooks, head._forward_hooks = {}, {}
    logits: Tensor = type(model).forward(whole, inputs_embeds=states[None], use_cache=False).logits[0]
    return logits


class _States(BaseModelOutputWithPast):
    """Hidden states alone. Other outputs that a head may pass on (router logits and the like) are None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


def _pass_through(*_: Any, inputs_embeds: Tensor, **__: Any) -> _States:
    """Stands for a decoder: gives back what it is called with, as the output of the last layer."""
    return _States(last_hidden_state=inputs_embeds)
