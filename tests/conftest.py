"""A tiny random Llama with its own tokenizer, in fp32, for tests that need a backbone but no skill."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    import mpdd.backbone.model

# Shapes in their signatures are checked at every call.
CHECKED = [
    "mpdd.prompts",
    "mpdd.training",
    "mpdd.backbone.model",
    "mpdd.backbone.packed",
    "mpdd.inference.padded",
    "mpdd.data.batch",
]
MIRROR = Path(__file__).resolve().parents[2] / "shared" / "data"  # a local mirror of the public data, where there is one
if MIRROR.is_dir():
    os.environ.setdefault("MPDD_MIRROR", str(MIRROR))
NO_DATA = "no real data"  # what every reason to leave out a test of the public data begins with
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share what this process, which started them, has made
    CACHE = TemporaryDirectory(prefix="mpdd-test-cache-")  # splits are read once for all tests, and never from an older run
    os.environ["MPDD_CACHE"] = CACHE.name
RATES = ("prompt_tuning", "deep_prompt_tuning", "mpdd", "lora", "ia3", "full_finetuning")
ONE_RATE = dict.fromkeys(RATES, (0.01,))  # of [adapt], for runs that try out something else
settings.register_profile("thorough", max_examples=1000)  # pytest --hypothesis-profile=thorough


def tries(count: int) -> int:
    """How many examples of a property to try: `count`, or ten times as many with the profile "thorough"."""
    return count * settings.default.max_examples // 100


def pytest_configure(config: pytest.Config) -> None:
    """Import what tests share, with checks of shapes; not in a process that only starts workers, which runs no test."""
    if getattr(config.option, "numprocesses", None):
        return
    gc.disable()  # to look for garbage among modules takes a fifth of the time of importing them
    import beartype  # noqa: F401  # what is first imported below the hook is compiled anew, with all that it imports
    import torch  # noqa: F401
    from jaxtyping import install_import_hook

    with patch("torch.compile", lambda function, **_: function):  # else peft's bitsandbytes loads all of torch's compiler
        import peft  # noqa: F401
    import transformers  # noqa: F401

    with install_import_hook(CHECKED, "beartype.beartype"):
        import mpdd.backbone.model
        import mpdd.data.batch
        import mpdd.inference.padded
        import mpdd.prompts.attach
        import mpdd.prompts.meta
        import mpdd.prompts.soft
        import mpdd.training.distil
        import mpdd.training.losses  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End-to-end tests, which take longest, begin first, so that no process waits for another at the end. From here on only
    young objects are searched for garbage: corpora that tests read are large."""
    items.sort(key=lambda item: item.path.parent.name != "e2e")
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
    gc.enable()


def group_of(nodeid: str) -> str:
    """The tests that run in one process, by the id of one of them: those of a file, which make what they share once; of the
    files of a whole corpus those of one task, which read its data once; two files about one run; and all in a browser."""
    file = nodeid.split("::")[0]
    if file in ("tests/data/test_contract.py", "tests/evaluation/test_gold_in.py") and nodeid.endswith("]"):
        return nodeid[nodeid.rindex("[") :]
    if file in ("tests/e2e/test_resume.py", "tests/e2e/test_run.py"):
        return "unbroken run"
    return "browser" if file.startswith("tests/serving/test_page") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand tests out by `group_of`. The marks of `--dist loadgroup` do nothing under pytest 9.2 with pytest-xdist 3.8."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return ByGroup(config, log)


_workers: dict[str, str] = {}  # the process that runs each group


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(error: object) -> None:
    """After a crash other processes run the rest."""
    if error:
        _workers.clear()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Stop where the tests of a group run in two processes, as no test would notice: they only take longer."""
    if worker := getattr(report, "worker_id", ""):
        group = group_of(report.nodeid)
        if _workers.setdefault(group, worker) != worker:
            pytest.exit(f"Tests of {group} run in {_workers[group]} and in {worker}.", returncode=3)


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


def make_tokenizer(end: str = "<end>") -> PreTrainedTokenizerFast:
    """A tokenizer of some 400 tokens, which reads any text; `end` is the one at which an answer ends."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(TEXT * 3, trainers.BpeTrainer(vocab_size=400, special_tokens=[end], initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=end)


def make_model(folder: Path, seed: int, width: int = 32, context: int = 256, layers: int = 2) -> Path:
    """Write a random Llama with a tokenizer of its own into a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
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
    import torch

    import mpdd.backbone.model

    return mpdd.backbone.model.load(str(tiny_folder), dtype=torch.float32, device="cpu")
