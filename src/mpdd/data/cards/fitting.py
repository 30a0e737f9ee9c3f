"""How long the windows of a user's entity or relation task are, where its card does not say: as the context has room for."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from mpdd.data.batch import around
from mpdd.data.task import Answer, Example, Task, TaskCard
from mpdd.data.types import render_input
from mpdd.data.windows import NER_CHARS
from mpdd.template import PLAIN, Template

CHARS_PER_TOKEN = 3  # of a text; English notes have four and more, so that few inputs are cut
CHARS_PER_ANSWER_TOKEN = 2.5  # for entities, which the answer writes out: 400 characters for 160 tokens
SHORTEST = 100


def fitted(task: Task, tokenizer: PreTrainedTokenizerBase, context: int, prompt_length: int, template: Template = PLAIN) -> Task:
    """Return the task with windows for this backbone; tasks whose card sets the window, or that have none, as they are."""
    if task.in_windows is None:
        return task
    return task.in_windows(window_for(task.card, tokenizer, context, prompt_length, template))


def window_for(
    card: TaskCard, tokenizer: PreTrainedTokenizerBase, context: int, prompt_length: int, template: Template = PLAIN
) -> int:
    """Return how many characters a window has.

    The rule: `CHARS_PER_TOKEN` for each token of the context that the prompt, the rest of the input and the longest answer
    leave free. For entities no more than the answer has room for, but up to 400 characters. It looks at no data, so that
    sites which train together have the same windows.
    """
    empty = render_input(card, Example("", "", "", Answer()))
    asked = len(tokenizer(empty, add_special_tokens=False)["input_ids"]) + sum(map(len, around(tokenizer, template)))
    room = context - prompt_length - min(card.max_answer_tokens, context // 2) - asked
    chars = max(SHORTEST, CHARS_PER_TOKEN * room)
    if card.type == "ner":
        return min(chars, max(NER_CHARS, int(CHARS_PER_ANSWER_TOKEN * card.max_answer_tokens)))
    return chars
