"""The reference engine: the backbone in this process, through transformers."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mpdd.backbone.model import Backbone
from mpdd.backbone.vocabulary import Vocabulary
from mpdd.inference.predict import Prediction, Request, predict
from mpdd.inference.prompt_cache import PromptCache
from mpdd.prompts.store import PromptFile


@dataclass(frozen=True)
class Local:
    """Answers in this process; one call at a time uses all cores. Each prompt's keys and values are computed once, and kept for
    as long as somebody holds the prompt. With `grounded` all answers name only labels and the text (`decoding`)."""

    backbone: Backbone
    parallel: int = 1
    grounded: bool = False

    @property
    def vocabulary(self) -> Vocabulary:
        """That of the backbone."""
        return self.backbone.vocabulary

    def ready(self) -> bool:
        """Always: it was loaded."""
        return True

    def require_prompt(self, prompt: PromptFile) -> None:
        """Every prompt of this backbone will do."""

    def predict(self, requests: Sequence[Request], *, tick: Callable[[int], object] = lambda _: None) -> list[Prediction]:
        """See `mpdd.inference.predict`."""
        asked = [replace(request, grounded=True) for request in requests] if self.grounded else requests
        answers = predict(self.backbone, asked, cache=self._cache, tick=tick)
        self._thrift()
        return answers

    @cached_property
    def _cache(self) -> PromptCache:
        return PromptCache(self.backbone)

    @cached_property
    def _thrift(self) -> Thrift:
        return Thrift()


class Thrift:
    """Gives freed memory back to the system, at most once in `every` seconds, where the C library can (glibc).

    Batches of ever other sizes leave holes in the heap, which glibc keeps: a server grew by a fifth in ten minutes.
    """

    def __init__(self, every: float = 10.0) -> None:
        self._every, self._last = every, time.monotonic()
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None

    def __call__(self) -> None:
        """Do so now, unless it was done a short time ago. It takes some ten milliseconds."""
        if self._trim is not None and time.monotonic() - self._last >= self._every:
            self._trim(0)
            self._last = time.monotonic()
