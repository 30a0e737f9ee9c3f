"""The export for vLLM, and its connector over a small cache in blocks; tests/e2e/test_vllm.py runs it in vLLM itself."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.export import kv_cache
from mpdd.export.record import RECORD
from mpdd.inference.engines.placeholders import FEWEST, placeholder_ids
from mpdd.prompts.soft import deepened, from_vocabulary
from tests.export.conftest import prompt_file

SHORT = TaskCard("short", "summarization", "Say it in one line.")
LENGTHS = {"short": 5, "long": 11}
BLOCK, BLOCKS = 4, 30  # tokens of a block, blocks of the cache


class Base:
    """What the connector needs of its base class in vLLM."""

    def __init__(self, vllm_config, role, kv_cache_config):
        self._vllm_config, self.metadata = vllm_config, None

    def _get_connector_metadata(self):
        return self.metadata


class Layer:
    """An attention layer whose backend keeps keys and values of a block side by side."""

    def __init__(self, heads, size):
        self.num_kv_heads, self.head_size, self.head_size_v, self.impl = heads, size, size, self
        self.kv_cache = torch.zeros(BLOCKS, heads, BLOCK, 2 * size)

    def do_kv_cache_update(self, layer, key, value, cache, slots):
        assert layer is self and len(key) == len(value) == len(slots)
        cache[slots // BLOCK, :, slots % BLOCK] = torch.cat([key, value], -1)


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """The export of two deep prompts."""
    folder = tmp_path_factory.mktemp("prompts")
    prompts = []
    for seed, (name, length) in enumerate(LENGTHS.items()):
        rows = deepened(tiny, from_vocabulary(tiny, length, seed))
        prompts.append(prompt_file(folder, tiny, replace(SHORT, name=name), rows + 0.1 * torch.randn_like(rows)))
    kv_cache.write_for_vllm(tiny, prompts, folder / "made")
    return folder / "made"


@pytest.fixture
def module(made, monkeypatch):
    """The connector as vLLM loads it: from its copy in the export."""
    for name in ("vllm", "vllm.distributed", "vllm.model_executor", "vllm.model_executor.layers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["vllm.distributed"].get_tensor_model_parallel_rank = lambda: 1
    base = SimpleNamespace(KVConnectorBase_V1=Base, KVConnectorMetadata=object, KVConnectorRole=object)
    monkeypatch.setitem(sys.modules, "vllm.distributed.kv_transfer.kv_connector.v1.base", base)
    monkeypatch.setitem(sys.modules, "vllm.model_executor.layers.attention", SimpleNamespace(Attention=Layer))
    spec = importlib.util.spec_from_file_location("mpdd_vllm_connector", made / kv_cache.CONNECTOR)
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mpdd_vllm_connector", loaded)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def connect(module):
    """A connector, scheduler and worker at once, over layers of a model."""

    def of(layers, parallel=1, **options):
        config = SimpleNamespace(
            kv_transfer_config=SimpleNamespace(kv_connector_extra_config=options),
            compilation_config=SimpleNamespace(static_forward_context=layers),
            parallel_config=SimpleNamespace(tensor_parallel_size=parallel),
            model_config=SimpleNamespace(dtype=torch.float32),
        )
        groups = [SimpleNamespace(kv_cache_spec=SimpleNamespace(block_size=BLOCK))]
        connector = module.PromptConnector(config, None, SimpleNamespace(kv_cache_groups=groups))
        connector.register_kv_caches({name: layer.kv_cache for name, layer in layers.items()})
        return connector

    return of


def layers_of(tiny, heads=2, size=8):
    return {f"model.layers.{number}.self_attn.attn": Layer(heads, size) for number in range(tiny.depth)}


def request(made, name, text=(1, 2, 3), **values):
    ids = json.loads((made / RECORD).read_text(encoding="utf-8"))["tasks"][name]["ids"]
    return SimpleNamespace(**{"prompt_token_ids": [*ids, *text], "skip_reading_prefix_cache": False, **values})


def begin(connector, asked, blocks, cached=0):
    """Schedule a request on these blocks, `cached` of its tokens being in vLLM's own cache; how many more it need not
    read."""
    count, later = connector.get_num_new_matched_tokens(asked, cached)
    assert later is False
    connector.update_state_after_alloc(asked, SimpleNamespace(get_block_ids=lambda: (blocks,)), count)
    return count


def run(connector):
    """The next pass: what was scheduled is written, once."""
    connector.metadata = connector.build_connector_meta(None)
    connector.start_load_kv(None)


def cached(layer, blocks, tokens):
    """The keys and values [heads, tokens, size] of some tokens of a request."""
    rows = torch.stack([layer.kv_cache[blocks[token // BLOCK], :, token % BLOCK] for token in tokens], 1)
    return rows.chunk(2, -1)


def test_requests_of_several_tasks_begin_with_their_prompts(made, tiny, connect):
    layers = layers_of(tiny)
    connector = connect(layers)
    placed = {"long": [7, 3, 19, 4], "short": [28, 0]}
    for name, blocks in placed.items():
        assert begin(connector, request(made, name), blocks) == LENGTHS[name]
    assert begin(connector, SimpleNamespace(prompt_token_ids=list(range(20)), skip_reading_prefix_cache=False), [9] * 5) == 0
    run(connector)
    for name, blocks in placed.items():
        kept = load_file(made / f"{name}.safetensors")
        for number, layer in enumerate(layers.values()):
            keys, values = cached(layer, blocks, range(LENGTHS[name]))
            assert torch.equal(keys, kept[f"layers.{number}.key"]) and torch.equal(values, kept[f"layers.{number}.value"])
    touched = {
        slot for layer in layers.values() for slot in layer.kv_cache.abs().sum((1, 3)).flatten().nonzero().flatten().tolist()
    }
    wanted = {blocks[t // BLOCK] * BLOCK + t % BLOCK for name, blocks in placed.items() for t in range(LENGTHS[name])}
    assert touched == wanted  # and nothing else
    for layer in layers.values():
        layer.kv_cache.zero_()
    run(connector)
    assert not any(layer.kv_cache.any() for layer in layers.values())  # nothing is written twice


def test_what_vllm_has_in_its_own_cache_is_left_as_it_is(made, tiny, connect):
    layers, blocks = layers_of(tiny), [2, 5, 6, 8]
    connector = connect(layers)
    assert begin(connector, request(made, "long"), blocks, cached=2 * BLOCK) == LENGTHS["long"] - 2 * BLOCK
    assert begin(connector, request(made, "long"), blocks, cached=3 * BLOCK) == 0
    run(connector)
    layer, kept = next(iter(layers.values())), load_file(made / "long.safetensors")
    keys, _ = cached(layer, blocks, range(LENGTHS["long"]))
    assert not keys[:, : 2 * BLOCK].any() and torch.equal(keys[:, 2 * BLOCK :], kept["layers.0.key"][:, 2 * BLOCK :])


def test_a_response_says_under_which_prompt_it_was_written(made, tiny, connect):
    connector = connect(layers_of(tiny))
    record = json.loads((made / RECORD).read_text(encoding="utf-8"))["tasks"]
    for name in LENGTHS:
        assert connector.request_finished(request(made, name), []) == (False, {"mpdd_prompt": record[name]["prompt"]["digest"]})
    changed = request(made, "short")
    changed.prompt_token_ids[2] += 1
    without_text = request(made, "short", text=())
    own_probabilities = request(made, "short", skip_reading_prefix_cache=True)
    embeddings = SimpleNamespace(prompt_token_ids=None, skip_reading_prefix_cache=False)
    for other in (changed, without_text, own_probabilities, embeddings):
        assert connector.get_num_new_matched_tokens(other, 0) == (0, False)
        assert connector.request_finished(other, []) == (False, None)


def test_a_worker_of_two_has_its_half_of_the_heads(made, tiny, connect):
    layers = layers_of(tiny, heads=1)
    connector = connect(layers, parallel=2)  # as worker 1
    begin(connector, request(made, "short"), [1, 2])
    run(connector)
    keys, _ = cached(next(iter(layers.values())), [1, 2], range(LENGTHS["short"]))
    assert torch.equal(keys, load_file(made / "short.safetensors")["layers.0.key"][1:])


def test_more_workers_than_heads_share_them(module):
    part = torch.arange(2.0)[:, None, None]
    assert [int(module.heads_of(part, rank, 4)) for rank in range(4)] == [0, 0, 1, 1]


@pytest.mark.parametrize("heads, size, names", [(4, 8, {}), (2, 16, {}), (2, 8, {"model.layers.9.self_attn.attn": 1})])
def test_prompts_of_another_model_stop_the_start(tiny, connect, heads, size, names):
    layers = layers_of(tiny, heads, size) | {name: Layer(heads, size) for name in names}
    with pytest.raises(ValueError, match="is a prompt of another model"):
        connect(layers)


def test_a_cache_that_cannot_be_written_stops_the_start(tiny, connect):
    with pytest.raises(ValueError, match="cannot be written from outside"):
        connect({"model.layers.0.mixer": SimpleNamespace(kv_cache=torch.zeros(1))})


def test_folders_without_prompts_are_named(made, tmp_path, connect, tiny):
    with pytest.raises(ValueError, match=r"There are no prompts in .*vllm-kv"):
        connect(layers_of(tiny), folder=str(tmp_path))
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes((made / "short.safetensors").read_bytes())
    with pytest.raises(ValueError, match="hold the same prompt"):
        connect(layers_of(tiny), folder=str(tmp_path))
    save_file({"rows": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.safetensors holds no prompt with placeholder ids"):
        connect(layers_of(tiny), folder=str(tmp_path))


# Placeholder ids


@given(
    digests=st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), min_size=2, max_size=2, unique=True),
    length=st.integers(8, 99),
)
def test_placeholders_are_pieces_of_text_and_tell_prompts_apart(tiny, digests, length):
    first, second = (placeholder_ids(tiny, digest, length) for digest in digests)
    assert first == placeholder_ids(tiny.vocabulary, digests[0], length) and len(first) == length
    assert first != second
    assert not {tiny.end, *tiny.tokenizer.added_tokens_decoder} & {*first, *second}
    assert max(first + second) < len(tiny.table)


def test_the_vocabulary_is_listed_once_for_all_prompts(tiny, monkeypatch):
    listed, kind = [], type(tiny.tokenizer)
    whole = kind.get_vocab
    monkeypatch.setattr(kind, "get_vocab", lambda self: listed.append(1) or whole(self))
    assert len({tuple(placeholder_ids(tiny, digest * 64, 8)) for digest in "0123456789abcdef"}) == 16
    assert len(listed) <= 1  # none where another test has asked before


def test_a_prompt_of_few_rows_is_refused(tiny, tmp_path):
    rows = deepened(tiny, from_vocabulary(tiny, FEWEST - 1, 0))
    with pytest.raises(InputError, match="too short for placeholder ids; found 3 rows; wanted 4 or more"):
        kv_cache.write_for_vllm(tiny, [prompt_file(tmp_path, tiny, SHORT, rows)], tmp_path / "made")
