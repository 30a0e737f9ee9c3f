"""A tiny random Llama with its own tokenizer, in fp32, for tests that need a backbone but no skill."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import beartype  # noqa: F401  # what is first imported below the hook is compiled anew, with all that it imports
import peft  # noqa: F401
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# Shapes in their signatures are checked at every call.
CHECKED = [
    "mpdd.prompts",
    "mpdd.training",
    "mpdd.backbone.model",
    "mpdd.backbone.packed",
    "mpdd.inference.padded",
    "mpdd.data.batch",
]
with install_import_hook(CHECKED, "beartype.beartype"):
    import mpdd.backbone.model
    import mpdd.data.batch
    import mpdd.inference.padded
    import mpdd.prompts.attach
    import mpdd.prompts.meta
    import mpdd.prompts.soft
    import mpdd.training.distil
    import mpdd.training.losses

MIRROR = Path(__file__).resolve().parents[2] / "shared" / "data"  # a local mirror of the public data, where there is one
if MIRROR.is_dir():
    os.environ.setdefault("MPDD_MIRROR", str(MIRROR))
NO_DATA = "no real data"  # what every reason to leave out a test of the public data begins with
CACHE = TemporaryDirectory(prefix="mpdd-test-cache-")  # splits are read once for all tests, and never from an older run
os.environ["MPDD_CACHE"] = CACHE.name
settings.register_profile("thorough", max_examples=1000)  # pytest --hypothesis-profile=thorough
gc.freeze()  # modules stay, and the corpora that tests read are large: to look for garbage among them again and again takes long
gc.set_threshold(200_000, 50, 100)

TEXT = [
    "List the drugs named in the text. Text: aspirin and ibuprofen were given. Answer: Drug: aspirin; ibuprofen",
    "Does the text say so, yes or no? Premise: fever and cough. Hypothesis: fever. Options: A. one B. two none -> ;",
]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where no end-to-end test is wanted, what they import is not, either."""
    return (collection_path.name == "e2e" and config.option.markexpr == "not e2e") or None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where MPDD_REQUIRE_DATA is set, as in continuous integration, a test that has no data fails and is not left out."""
    report = yield
    reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
    if os.environ.get("MPDD_REQUIRE_DATA") and NO_DATA in reason:
        report.outcome, report.longrepr = "failed", f"{item.nodeid}: {reason}, and MPDD_REQUIRE_DATA is set"
    return report


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"), seed=0)


def make_model(folder: Path, seed: int, width: int = 32, context: int = 256, layers: int = 2) -> Path:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(TEXT * 3, trainers.BpeTrainer(vocab_size=400, special_tokens=["<end>"], initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width // 2,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> mpdd.backbone.model.Backbone:
    return mpdd.backbone.model.load(str(tiny_folder), dtype=torch.float32, device="cpu")
