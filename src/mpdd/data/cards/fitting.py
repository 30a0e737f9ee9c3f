"""How long the windows of a user's entity or relation task are, where its card does not say: as context and answer allow."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from mpdd.backbone.template import PLAIN, Template
from mpdd.data.batch import around, encode_answer
from mpdd.data.task import Answer, Example, Task, TaskCard
from mpdd.data.types import render_input, render_target
from mpdd.data.windows import NER_CHARS
from mpdd.errors import InputError

CHARS_PER_TOKEN = 3  # of a text; English notes have four and more, so that few inputs are cut
CHARS_PER_ANSWER_TOKEN = 2.5  # for entities, which the answer writes out: 400 characters for 160 tokens
SHORTEST = 100
SAMPLE = 300  # training examples whose answers are measured
AS_GOOD = 0.995  # a longer window is taken if it keeps this share of the gold that a shorter one keeps


def fitted(task: Task, tokenizer: PreTrainedTokenizerBase, context: int, prompt_length: int, template: Template = PLAIN) -> Task:
    """Return the task with windows for this backbone; tasks whose card sets the window, or that have none, as they are.

    For entities, which hardly ever reach over an edge: as many characters as the answer has room for. For relations, of
    several sizes up to what the context has room for, the longest that keeps the most gold: a pair is lost where it stands
    in two windows, or where the answer to its window is longer than the card allows. Raise `InputError` as the task's
    `load` does.
    """
    if task.in_windows is None:
        return task
    longest = longest_window(task.card, tokenizer, context, prompt_length, template)
    if task.card.type == "ner":
        return task.in_windows(min(longest, max(NER_CHARS, int(CHARS_PER_ANSWER_TOKEN * task.card.max_answer_tokens))))
    return _best(task, tokenizer, longest)


def longest_window(
    card: TaskCard, tokenizer: PreTrainedTokenizerBase, context: int, prompt_length: int, template: Template = PLAIN
) -> int:
    """Return how many characters the context has room for: `CHARS_PER_TOKEN` for each token that nothing else needs.

    The prompt, the rest of the input and the longest answer need theirs.
    """
    empty = render_input(card, Example("", "", "", Answer()))
    asked = len(tokenizer(empty, add_special_tokens=False)["input_ids"]) + sum(map(len, around(tokenizer, template)))
    room = context - prompt_length - min(card.max_answer_tokens, context // 2) - asked
    return max(SHORTEST, CHARS_PER_TOKEN * room)


def _best(task: Task, tokenizer: PreTrainedTokenizerBase, longest: int) -> Task:
    """Return the task in windows of the size, of 400 characters, twice that and so on, that keeps the most gold."""
    best, most, size = task, -1.0, min(NER_CHARS, longest)
    while task.in_windows is not None:
        tried = task.in_windows(size)
        answerable, are_whole = _answerable(tried, tokenizer)
        if answerable >= AS_GOOD * most:  # where each text is in one window, longer windows make no difference but for new notes
            best, most = task.in_windows(longest) if are_whole else tried, max(most, answerable)
        if are_whole or size == longest:
            break
        size = min(2 * size, longest)
    return best


def _answerable(task: Task, tokenizer: PreTrainedTokenizerBase) -> tuple[float, bool]:
    """Return about how many gold relations of the training data can be answered, and whether each text is in one window."""
    try:
        train = task.load(Path()).train
    except InputError:  # not one pair within a window of this size, say; longer ones may do better
        return 0.0, False
    sample = train[:: -(-len(train) // SAMPLE)]
    answerable = 0.0
    for example in sample:
        tokens = len(encode_answer(tokenizer, render_target(task.card, example)))
        answerable += len(example.gold.relations) * min(1.0, task.card.max_answer_tokens / tokens)
    are_whole = len({example.document for example in train}) == len(train)
    return answerable * len(train) / len(sample), are_whole
