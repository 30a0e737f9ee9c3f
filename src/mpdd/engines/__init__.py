"""What answers requests: the backbone in this process (`local`, the reference), or a vLLM server (`vllm`). The same answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mpdd.backbone.vocabulary import Vocabulary
from mpdd.errors import MpddError
from mpdd.predict import Prediction, Request


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

    def predict(self, requests: Sequence[Request], *, tick: Callable[[int], object] = lambda _: None) -> list[Prediction]:
        """Answer every request, in order; calls `tick(n)` after each n. Raises `EngineDownError` where it cannot be reached."""
        ...
