"""A KV connector for vLLM: requests that begin with a task's prompt, also a deep one, from files of keys and values.

vLLM itself loads this file, which an export holds a copy of, so it imports nothing of mpdd. A request begins with
the placeholder token ids of its prompt. In the scheduler's process the connector reports these tokens as computed
elsewhere; in each worker it writes the prompt's keys and values to their slots in the cache, layer by layer, before
the pass that reads them. It writes through the attention backend's own method, as each backend arranges its cache in
its own way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from vllm.distributed import get_tensor_model_parallel_rank
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorBase_V1, KVConnectorMetadata, KVConnectorRole
from vllm.model_executor.layers.attention import Attention

ABOUT = "mpdd_keys_values"  # the entry of a file's metadata that says what it holds
ANSWERED_UNDER = "mpdd_prompt"  # the entry of a response's kv_transfer_params with the digest of the prompt


@dataclass(frozen=True)
class StoredPrompt:
    """A prompt in a file: its digest, and the placeholder ids with which a request for it begins."""

    path: Path
    digest: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Load:
    """Rows of a prompt, from row `first` to its last, and the slot of the cache for each."""

    digest: str
    first: int
    slots: tuple[int, ...]


@dataclass
class Loads(KVConnectorMetadata):
    """What the scheduler tells the workers to write before the next pass."""

    loads: list[Load] = field(default_factory=list)


class PromptConnector(KVConnectorBase_V1):
    """Begins requests with stored prompts. All files are read when vLLM starts.

    `folder` in the connector's extra configuration says where they lie, if not where this file lies.
    """

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any) -> None:
        super().__init__(vllm_config=vllm_config, role=role, kv_cache_config=kv_cache_config)
        options = vllm_config.kv_transfer_config.kv_connector_extra_config
        prompts = read_prompts(Path(options.get("folder", Path(__file__).parent)))
        self._prompts = {prompt.ids: prompt for prompt in prompts}
        self._lengths = sorted({len(prompt.ids) for prompt in prompts}, reverse=True)
        self._block = kv_cache_config.kv_cache_groups[0].kv_cache_spec.block_size
        self._waiting: list[Load] = []
        self._layers: dict[str, Any] = {}
        self._rows: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}

    # In the scheduler's process

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int, bool]:
        """How many tokens of the request, behind those in vLLM's own cache, are rows of a prompt; they are written at
        once."""
        prompt = self._prompt_of(request)
        return (max(0, len(prompt.ids) - num_computed_tokens) if prompt else 0), False

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """Note which slots the rows go to that were announced for this request."""
        prompt = self._prompt_of(request)
        if prompt and num_external_tokens:
            first = len(prompt.ids) - num_external_tokens
            slots = slots_of(blocks.get_block_ids()[0], self._block, range(first, len(prompt.ids)))
            self._waiting.append(Load(prompt.digest, first, slots))

    def build_connector_meta(self, scheduler_output: Any) -> Loads:
        """What the workers are to write before the next pass."""
        loads, self._waiting = self._waiting, []
        return Loads(loads)

    def request_finished(self, request: Any, block_ids: Any) -> tuple[bool, dict[str, Any] | None]:
        """Say in the response under which prompt it was answered, so that a client notices a prompt that is not here."""
        prompt = self._prompt_of(request)
        return False, ({ANSWERED_UNDER: prompt.digest} if prompt else None)

    def _prompt_of(self, request: Any) -> StoredPrompt | None:
        """The prompt that a request begins with. vLLM reads no stored keys for a request that asks for the
        probabilities of its own tokens (`prompt_logprobs`), so such a request has none."""
        ids: Sequence[int] = request.prompt_token_ids or ()
        if request.skip_reading_prefix_cache:
            return None
        beginnings = (tuple(ids[:length]) for length in self._lengths if length < len(ids))
        return next((self._prompts[ids] for ids in beginnings if ids in self._prompts), None)

    # In a worker's process

    def register_kv_caches(self, kv_caches: Mapping[str, Any]) -> None:
        """Read all prompts for the layers of this worker. Raise `ValueError` for prompts of another model."""
        found = self._vllm_config.compilation_config.static_forward_context
        self._layers = {name: found[name] for name in kv_caches}
        for name, layer in self._layers.items():
            if not isinstance(layer, Attention) or not hasattr(layer.impl, "do_kv_cache_update"):
                raise ValueError(f"The cache of {name} cannot be written from outside ({type(layer).__name__}).")
        parallel = self._vllm_config.parallel_config.tensor_parallel_size
        rank = get_tensor_model_parallel_rank() if parallel > 1 else 0
        dtype = self._vllm_config.model_config.dtype
        for prompt in self._prompts.values():
            self._rows[prompt.digest] = read_rows(prompt, self._layers, dtype, rank, parallel)

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """Write the rows of all requests that begin in the next pass."""
        metadata = self._get_connector_metadata()
        loads = metadata.loads if isinstance(metadata, Loads) else []
        if not loads:
            return
        slots = torch.tensor([slot for load in loads for slot in load.slots], dtype=torch.int64)
        for name, layer in self._layers.items():
            keys, values = (torch.cat([self._rows[load.digest][name][part][load.first :] for load in loads]) for part in (0, 1))
            layer.impl.do_kv_cache_update(layer, keys, values, layer.kv_cache, slots.to(keys.device))

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Nothing is under way: rows are written when `start_load_kv` returns."""

    def save_kv_layer(self, layer_name: str, kv_layer: Any, attn_metadata: Any, **kwargs: Any) -> None:
        """Nothing is saved."""

    def wait_for_save(self) -> None:
        """Nothing is saved."""


def read_prompts(folder: Path) -> list[StoredPrompt]:
    """The prompts of a folder. Raise `ValueError` where there are none, or two would begin a request in the same way."""
    prompts = [_about(path) for path in sorted(folder.glob("*.safetensors"))]
    if not prompts:
        raise ValueError(f"There are no prompts in {folder}; `mpdd export --to vllm-kv` writes some.")
    if len({prompt.ids for prompt in prompts}) < len(prompts):
        raise ValueError(f"Two of the files in {folder} hold the same prompt; keep one of them.")
    return prompts


def _about(path: Path) -> StoredPrompt:
    with safe_open(path, framework="pt") as file:
        about = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
    if not about.get("ids"):
        raise ValueError(f"{path.name} holds no prompt with placeholder ids; `mpdd export --to vllm-kv` writes them.")
    return StoredPrompt(path, about["digest"], tuple(about["ids"]))


def read_rows(
    prompt: StoredPrompt, layers: Mapping[str, Any], dtype: torch.dtype, rank: int, parallel: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """The keys and values [length, heads, size] of a prompt for some layers, with the heads of worker `rank` of
    `parallel`.

    Raise `ValueError` where they do not fit the layers.
    """
    rows = {}
    with safe_open(prompt.path, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # a file is no mapping
    for name, layer in layers.items():
        number = layer_number(name)
        keys, values = (
            heads_of(stored.get(f"layers.{number}.{part}"), rank, parallel).transpose(0, 1).to(layer.kv_cache.device, dtype)
            for part in ("key", "value")
        )
        wanted = [(len(prompt.ids), layer.num_kv_heads, size) for size in (layer.head_size, layer.head_size_v)]
        if [tuple(keys.shape), tuple(values.shape)] != wanted:
            raise ValueError(
                f"{prompt.path.name} is a prompt of another model: keys {tuple(keys.shape)} for {wanted[0]} of {name}"
            )
        rows[name] = keys.contiguous(), values.contiguous()
    return rows


def heads_of(part: Tensor | None, rank: int, parallel: int) -> Tensor:
    """The heads, of all [heads, length, size], that worker `rank` of `parallel` holds: where heads are fewer, not its
    alone."""
    if part is None:
        return torch.empty(0, 0, 0)
    heads = len(part)
    first = rank * heads // parallel
    return part[first : first + max(1, heads // parallel)]


def slots_of(blocks: Sequence[int], size: int, tokens: Iterable[int]) -> tuple[int, ...]:
    """The slots of a request's tokens in the cache, which is cut into blocks of `size` tokens."""
    return tuple(blocks[token // size] * size + token % size for token in tokens)


def layer_number(name: str) -> int:
    """The number of a layer in the name of its attention, as `model.layers.3.self_attn.attn`."""
    return next(int(part) for part in name.split(".") if part.isdigit())
