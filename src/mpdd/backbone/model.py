"""The frozen language model: loading it, naming it by a fingerprint, and running it on embeddings.

Any Hugging Face causal language model works. The word `embedded` names the small one inside this package.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from mpdd.backbone import text_part
from mpdd.backbone.head import logits_of
from mpdd.backbone.packed import attention, deep, skip_mlp
from mpdd.backbone.packed.attention import Layout
from mpdd.backbone.packed.deep import DeepRows, given, recorded
from mpdd.backbone.packed.group import rounded
from mpdd.backbone.packed.support import why_padded
from mpdd.backbone.template import PLAIN, Kind, Template
from mpdd.backbone.vocabulary import (
    EMBEDDED,
    Vocabulary,
    context_of,
    embedded,
    factor_of,
    fingerprint_of,
    folder_of,
    needs_ids,
    pretrained,
)
from mpdd.errors import MpddError

_NO_MASK = torch.zeros(1, 1, 1, 1)  # four dimensions: transformers makes no mask of its own
_SCORES = 2**26  # numbers of vocabulary scores at a time, where only a few of them are wanted
Quantize = Literal["no", "int8", "nf4"]


@dataclass(frozen=True)
class States:
    """Hidden states at chosen positions: `last` feeds the head; `layers` has every layer's output, the last included."""

    last: Float[Tensor, "n width"]
    layers: Float[Tensor, "layers n width"] | None = None


@dataclass(frozen=True)
class Backbone:
    """A frozen causal language model with its tokenizer. `fingerprint` binds prompts to it; `packs` says whether rows can
    go through it laid end to end, which is true of all whose tokens meet in attention alone, and `why_padded` why not;
    `is_split`, whether several processes hold it together, and so must run it equally often; `longest` limits
    its context, in tokens."""

    name: str
    model: Any
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    packs: bool = True
    why_padded: str = ""
    template: Template = PLAIN
    is_split: bool = False
    longest: int | None = None

    @property
    def table(self) -> Float[Tensor, "vocabulary width"]:
        """The embedding matrix."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    @property
    def vocabulary(self) -> Vocabulary:
        """What reading and asking need of it."""
        layer = self.model.get_input_embeddings()
        extra = self.depth, factor_of(self.model.config), needs_ids(self.model.config)
        return Vocabulary(self.name, self.tokenizer, layer, self.fingerprint, self.context, self.template, *extra)

    @property
    def width(self) -> int:
        """Hidden width `d`: the length of one prompt row."""
        return int(self.table.shape[1])

    @property
    def parameters(self) -> int:
        """How many numbers the frozen model has (tied weights once)."""
        return int(self.model.num_parameters())  # knows of weights that share a byte

    @property
    def rows_path(self) -> dict[str, str]:
        """How rows go through it, for reports: `rows` is packed (laid end to end) or padded (slower), `rows_because` says why."""
        if self.packs:
            return {
                "rows": "packed",
                "rows_because": "rows joined without padding gave the same results as single rows when tried at loading",
            }
        return {"rows": "padded", "rows_because": self.why_padded}

    @property
    def context(self) -> int:
        """The longest sequence, prompt included, in tokens: what the model takes, or `longest` where that is less."""
        return min(context_of(self.model.config), self.longest or sys.maxsize)

    @property
    def device(self) -> torch.device:
        """Where the embeddings live; inputs go there."""
        return self.table.device

    @property
    def end(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    def embed(self, ids: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows width"]:
        """Token embeddings with which the layers begin; rows of prompts stand beside them."""
        return embedded(self.model.get_input_embeddings(), factor_of(self.model.config), ids)

    def rows_by_id(self, ids: Int[Tensor, "*rows"] | None) -> dict[str, Tensor]:
        """What its layers are given of tokens beside their embeddings, by the name of the argument; nothing for most models.

        `ids` has -1 for a row of a prompt, which gets what the padding token has, as images do in these models.
        """
        config = self.model.config.get_text_config()
        if not needs_ids(config):
            return {}
        if ids is None:
            raise MpddError(f"The backbone {self.name!r} needs the ids of tokens beside their embeddings.")
        decoder: Any = self.decoder
        real_ids = torch.where(ids < 0, config.pad_token_id or 0, ids).to(self.device)
        return {"per_layer_inputs": decoder.get_per_layer_inputs(real_ids)}

    def states(
        self,
        embeddings: Float[Tensor, "batch length width"],
        mask: Bool[Tensor, "batch total"],
        positions: Int[Tensor, "batch length"],
        at: Bool[Tensor, "batch length"],
        *,
        all_layers: bool = False,
        deep: DeepRows | None = None,
        ids: Int[Tensor, "batch length"] | None = None,
    ) -> States:
        """Run the model and keep the hidden states where `at` is true (row by row, left to right). `deep` has what stands
        before each layer at the tokens of deep prompts; `ids` are for `rows_by_id`.

        Only these positions reach the vocabulary head, which is most of the memory of a training step. Where all
        padding is on the right, causality alone keeps it from every real token, and attention runs without a mask.
        """
        padded_right = not bool((mask[:, 1:] & ~mask[:, :-1]).any())
        with given(deep, mask.numel()), recorded(all_layers) as below:
            out = self.decoder(
                inputs_embeds=embeddings,
                attention_mask=None if padded_right else mask.long(),
                position_ids=positions,
                use_cache=False,
                **self.rows_by_id(ids),
            )
        last = out.last_hidden_state
        return States(last[at], torch.stack([h[at] for h in (*below, last)]) if all_layers else None)

    def packed(
        self,
        embeddings: Float[Tensor, "tokens width"],
        positions: Int[Tensor, " tokens"],
        layout: Layout,
        at: Int[Tensor, " n"],
        *,
        all_layers: bool = False,
        deep: DeepRows | None = None,
        ids: Int[Tensor, " tokens"] | None = None,
    ) -> States:
        """Run rows laid end to end, `layout` saying what sees what, and keep the hidden states of the tokens `at`.

        `deep` has what stands before each layer at the tokens of deep prompts; `ids` are for `rows_by_id`. Only for backbones
        that can be packed, see `packs`.
        """
        with (
            skip_mlp.only(at, len(embeddings), deep.places if deep else None),
            given(deep, len(embeddings)),
            recorded(all_layers) as below,
        ):
            out = self.decoder(
                inputs_embeds=embeddings[None],
                attention_mask=_NO_MASK.to(embeddings.device),
                position_ids=positions[None],
                use_cache=False,
                layout=layout,
                **self.rows_by_id(None if ids is None else ids[None]),
            )
        last = out.last_hidden_state[0].index_select(0, at)
        layers = torch.stack([*(h[0].index_select(0, at) for h in below), last]) if all_layers else None
        return States(last, layers)

    def logits(self, states: States) -> Float[Tensor, "n vocabulary"]:
        """Vocabulary logits in fp32 for the kept positions."""
        count = len(states.last)
        few = 8 if count <= 32 else 32  # while answers are written, the head is a good part of the time
        padded = torch.nn.functional.pad(states.last, (0, 0, 0, rounded(count, few) - count))
        return logits_of(self.model, self.decoder, padded)[:count].float()

    def log_likelihoods(self, states: States, tokens: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The log-probability of each token after its state, without all scores of the vocabulary at once."""
        size = max(1, _SCORES // self.table.shape[0])
        by_chunk = [
            self.logits(States(last)).log_softmax(-1).gather(1, wanted[:, None])[:, 0]
            for last, wanted in zip(torch.split(states.last, size), torch.split(tokens, size), strict=True)
        ]
        return torch.cat(by_chunk)

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values that a token takes."""
        config: Any = self.model.config.get_text_config()
        of_queries: int = getattr(config, "num_attention_heads", 1)
        heads: int = getattr(config, "num_key_value_heads", None) or of_queries
        size: int = getattr(config, "head_dim", None) or self.width // of_queries
        layers: int = config.num_hidden_layers
        return 2 * layers * heads * size * self.table.element_size()

    @property
    def depth(self) -> int:
        """How many layers there are."""
        return int(self.model.config.get_text_config().num_hidden_layers)

    @property
    def layers(self) -> nn.ModuleList | None:
        """The layers, where the model keeps them in one list."""
        modules = getattr(self.decoder, "layers", None) or getattr(self.decoder, "h", None)
        return modules if isinstance(modules, nn.ModuleList) else None

    @property
    def decoder(self) -> nn.Module:
        """The model below its head."""
        model = self.model
        decoder: Any = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
        if decoder is model:  # Llama 4 gives itself
            table = model.get_input_embeddings()
            decoder = next(part for part in model.children() if any(module is table for module in part.modules()))
        below: nn.Module = decoder
        return below


def load(
    name: str = EMBEDDED, *, dtype: torch.dtype | None = None, device: str | None = None, quantize: Quantize = "no",
    template: Kind = "plain",
) -> Backbone:  # fmt: skip
    """Load and freeze a backbone.

    `name` is `embedded`, a local folder, or a Hugging Face id already in the local cache (or downloadable).
    `dtype` defaults to bf16 where the hardware multiplies it fast, else fp32. `quantize` holds the linear layers' weights
    in 8 bits (Dettmers et al. 2022, arXiv 2208.07339) or 4 bits (2023, arXiv 2305.14314); embeddings stay as they are.
    `template` is what stands around inputs where nothing else says so.
    Raises `InputError` when the folder is no model, `MpddError` when a model cannot be fetched or a library is missing.
    """
    folder = folder_of(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or fast_dtype(device)
    model, tokenizer = _load_model(name, folder, dtype, {} if quantize == "no" else _quantized(quantize, dtype, device))
    if quantize == "no":  # quantized weights are where they are read to
        model.to(device)
    model.eval().requires_grad_(False)
    for module in model.modules() if quantize == "nf4" else ():
        if type(module).__name__ == "Linear4bit":
            module.train()  # else bitsandbytes repacks it on a CPU at the first pass without gradient, and later ones are 0
    backbone = of(name, model, tokenizer, template)
    _require_own_logits(backbone)
    reason = why_padded(backbone)
    return replace(backbone, packs=not reason, why_padded=reason)


def of(name: str, model: Any, tokenizer: PreTrainedTokenizerBase, template: Kind = "plain") -> Backbone:
    """The backbone of a frozen model that is in memory already, ready for rows laid end to end; `load` tries whether it can."""
    attention.install(model)
    settings = model.generation_config  # of a checkpoint's settings only its tokens: answers are greedy, without penalties
    model.generation_config = GenerationConfig(
        bos_token_id=settings.bos_token_id, eos_token_id=settings.eos_token_id, pad_token_id=settings.pad_token_id
    )  # type: ignore[no-untyped-call]
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    fingerprint = fingerprint_of(model.config, model.get_input_embeddings().weight)
    backbone = Backbone(name, model, tokenizer, fingerprint, template=Template.of(tokenizer, template))
    if backbone.layers is not None:
        skip_mlp.install(backbone.layers)
        deep.install(backbone.layers)
    return backbone


def fast_dtype(device: str) -> torch.dtype:
    """bf16 where matrix units for it exist (CUDA Ampere and later, x86 AMX or AVX512-BF16), else fp32."""
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def _quantized(how: Quantize, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """What transformers wants to hear for weights of 8 or 4 bits."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MpddError(f"Weights as {how} need the library bitsandbytes; `pip install 'mpdd[quantize]'` brings it.")
    from transformers import BitsAndBytesConfig

    options: dict[str, Any] = (
        {"load_in_8bit": True}
        if how == "int8"
        else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    )
    return {"quantization_config": BitsAndBytesConfig(**options), "device_map": {"": device}}  # type: ignore[no-untyped-call]


def _load_model(name: str, folder: str, dtype: torch.dtype, options: Mapping[str, Any]) -> tuple[Any, Any]:
    def load() -> tuple[Any, Any]:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return text_part.load(folder, dtype=dtype, **options), tokenizer

    return pretrained(name, folder, load)


@torch.no_grad()  # weights made in inference mode could not be trained behind
def _require_own_logits(backbone: Backbone) -> None:
    """Check once that the logits behind the embeddings of tokens are those that the model gives for the tokens themselves."""
    size = backbone.model.config.get_text_config().vocab_size
    ids = torch.tensor([[backbone.end, 5, 7]], device=backbone.device) % size
    whole = backbone.model(input_ids=ids, use_cache=False).logits.float()[0]
    ones, positions = torch.ones_like(ids, dtype=torch.bool), torch.arange(3, device=backbone.device)[None]
    ours = backbone.logits(backbone.states(backbone.embed(ids), ones, positions, ones, ids=ids))
    exact = backbone.table.dtype in (torch.float32, torch.float64)
    difference = float((whole - ours).norm() / whole.norm())
    if not difference <= (1e-3 if exact else 5e-2):
        raise MpddError(
            f"The backbone {backbone.name!r} gives other logits for the embeddings of tokens than for the tokens themselves "
            f"(they differ by {difference:.1%}), so that prompts cannot stand before its inputs. Please report the architecture."
        )
