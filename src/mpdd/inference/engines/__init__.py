"""What answers requests: the backbone in this process (`local`, the reference), or a vLLM server (`vllm`). The same answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mpdd.backbone.vocabulary import Vocabulary
from mpdd.errors import InputError, MpddError
from mpdd.inference.decoding import GROUNDED
from mpdd.inference.predict import Prediction, Request
from mpdd.prompts.store import PromptFile


class EngineDownError(MpddError):
    """The engine cannot be reached, or is starting; its answer may come later. The message says nothing of the text."""


class Engine(Protocol):
    """Answers requests of any tasks under any prompts; safe to ask from several threads if `parallel` is above 1."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer, embedding matrix and fingerprint of the backbone behind it."""
        ...

    @property
    def parallel(self) -> int:
        """How many calls of `predict` at a time make it faster."""
        ...

    @property
    def grounded(self) -> bool:
        """Whether its answers can name only the card's labels and the text."""
        ...

    def ready(self) -> bool:
        """Whether it would answer now."""
        ...

    def require_prompt(self, prompt: PromptFile) -> None:
        """Raise `InputError` for a prompt that the engine cannot answer under."""
        ...

    def predict(self, requests: Sequence[Request], *, tick: Callable[[int], object] = lambda _: None) -> list[Prediction]:
        """Answer every request, in order; calls `tick(n)` after each n. Raises `EngineDownError` where it cannot be reached."""
        ...


def open_engine(backbone: str, url: str, *, patience: float, grounded: bool | None = None) -> Engine:
    """The backbone in this process; or, with a `url`, the vLLM server there, which is waited for `patience` seconds at most.

    `grounded` says whether answers can name only the card's labels and the text; None: as experiments do by default, but never
    with a server.
    Raises `InputError` for a server that takes no soft prompts or runs another model, and for `grounded` answers of a server.
    """
    if not url:
        from mpdd.backbone import model as backbones
        from mpdd.inference.engines.local import Local

        return Local(backbones.load(backbone), grounded=GROUNDED if grounded is None else grounded)
    if not url.startswith(("http://", "https://")):
        raise InputError("--engine is no address of a server", found=url, wanted="as http://127.0.0.1:8001")
    if grounded:
        raise InputError("A vLLM server writes freely", found="--grounded with --engine", wanted="one of the two")
    try:
        from mpdd.inference.engines.vllm import Vllm
    except ImportError as error:
        raise MpddError("A vLLM server needs one more library; `pip install 'mpdd[serve]'` brings it.") from error
    from mpdd.backbone import vocabulary

    engine = Vllm(url, vocabulary.load(backbone), patience=patience)
    engine.check()
    return engine
