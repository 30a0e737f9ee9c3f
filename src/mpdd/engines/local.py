"""The reference engine: the backbone in this process, through transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from mpdd.backbone import Backbone
from mpdd.predict import Prediction, Request, predict
from mpdd.prompts.memory import PromptMemory
from mpdd.vocabulary import Vocabulary


@dataclass(frozen=True)
class Local:
    """Answers in this process; one call at a time uses all cores. Each prompt's keys and values are computed once, and kept for
    as long as somebody holds the prompt."""

    backbone: Backbone
    parallel: int = 1

    @property
    def vocabulary(self) -> Vocabulary:
        """That of the backbone."""
        return self.backbone.vocabulary

    def ready(self) -> bool:
        """Always: it was loaded."""
        return True

    def predict(self, requests: Sequence[Request], *, tick: Callable[[int], object] = lambda _: None) -> list[Prediction]:
        """See `mpdd.predict`."""
        return predict(self.backbone, requests, memory=self._memory, tick=tick)

    @cached_property
    def _memory(self) -> PromptMemory:
        return PromptMemory(self.backbone)
