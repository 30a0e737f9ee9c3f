"""What `mpdd task check` finds out about a task's data before anything is trained on it, as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import sqrt
from typing import Any

from transformers import PreTrainedTokenizerBase

from mpdd.data import leaks, passages
from mpdd.data.batch import encode_answer, encode_input
from mpdd.data.cards import losses
from mpdd.data.readers.base import NOT_ON_CARD
from mpdd.data.task import PROMPT_LENGTH, SPLITS, Entity, Example, Relation, Splits, Task, TaskCard
from mpdd.data.types import parse, render_input, render_target
from mpdd.data.types.choice import letter
from mpdd.data.types.extract import locate
from mpdd.data.types.spans import is_none
from mpdd.errors import InputError, counted

Item = Entity | Relation | str
EXAMPLES_SHOWN = 3
_ENOUGH_DOCUMENTS = 50  # of a test split: fewer give intervals of more than 14 points to either side
_LEFT_OUT = {
    "same_document": "examples of a document that a later split holds",
    "same_input": "examples whose input a later split holds",
}


@dataclass(frozen=True)
class Fit:
    """One example against the context: its tokens, how much of its text is cut, and what becomes of its gold items.

    `read` are the labels of the items that can be read and answered, `lost` the label and the reason of each other one.
    """

    input_tokens: int
    answer_tokens: int
    cut: int
    read: tuple[str, ...]
    lost: tuple[tuple[str, str], ...]
    reads_back: bool


def facts(task: Task, splits: Splits, tokenizer: PreTrainedTokenizerBase, context: int) -> dict[str, Any]:
    """Return counts by split, the balance of labels, lengths in tokens, gold kept, duplicates, leaks and what was skipped.

    `context` is the backbone's, in tokens; `PROMPT_LENGTH` and the longest answer are taken from it.
    """
    card = task.card
    room = context - PROMPT_LENGTH - min(card.max_answer_tokens, context // 2)
    fits = {split: [_fit(card, example, tokenizer, room) for example in splits[split]] for split in SPLITS}
    everything = list(chain.from_iterable(fits.values()))
    balance = {split: _balance(card, splits[split], fits[split]) for split in SPLITS}
    gold = _gold(card, splits, everything)
    return {
        "task": card.name,
        "type": f"{card.type} {card.form}".strip(),
        "examples": {split: len(splits[split]) for split in SPLITS},
        "documents": {split: len({example.document for example in splits[split]}) for split in SPLITS},
        "duplicates": {split: duplicates(splits[split]) for split in SPLITS},
        "labels": balance,
        "labels_that_never_occur": _never(card, balance, gold),
        "weak_test": _weak_test(card, splits.test, balance["test"]),
        "tokens": {
            "context": context,
            "input_room": room,
            "window": card.window,
            "input": percentiles([fit.input_tokens for fit in everything]),
            "answer": percentiles([fit.answer_tokens for fit in everything]),
            "inputs_cut": sum(fit.cut > 0 for fit in everything),
            "max_answer_tokens": card.max_answer_tokens,
            "answers_too_long": sum(fit.answer_tokens > card.max_answer_tokens for fit in everything),
        },
        "gold": gold,
        "warning": losses.warning(card, splits),
        "leaks": _leaks(splits),
        "notes": dict(splits.notes),
        "first_skipped": dict(splits.places),
    }


def shown(task: Task, splits: Splits) -> list[dict[str, str]]:
    """Return a few training examples as the model gets them, those with something to find first; they hold note text."""
    rendered = [(example, render_target(task.card, example)) for example in splits.train]
    first = sorted(rendered, key=lambda pair: is_none(pair[1]))[:EXAMPLES_SHOWN]
    return [{"id": example.id, "input": render_input(task.card, example), "target": target} for example, target in first]


def percentiles(lengths: Sequence[int]) -> dict[str, int]:
    """Return the 50th, 90th and 99th percentile by nearest rank, and the maximum."""
    ordered = sorted(lengths)
    ranks = {str(share): -(-len(ordered) * share // 100) for share in (50, 90, 99)}
    return {**{share: ordered[rank - 1] for share, rank in ranks.items()}, "max": ordered[-1]} if ordered else {}


def duplicates(examples: Sequence[Example]) -> int:
    """Return how many examples have the input of an earlier one."""
    return len(examples) - len({(example.text, example.fields, example.choices) for example in examples})


def _fit(card: TaskCard, example: Example, tokenizer: PreTrainedTokenizerBase, room: int) -> Fit:
    target = render_target(card, example)
    tokens = len(tokenizer(render_input(card, example), add_special_tokens=False, verbose=False)["input_ids"])
    answer = encode_answer(tokenizer, target)
    fitting = len(example.text) if tokens <= room else _fitting_characters(card, example, tokenizer, room)
    written = _written(card, example, tokenizer, answer)
    fates = [(label, _fate(item, is_read, written)) for item, label, is_read in _items(card, example, fitting)]
    return Fit(
        input_tokens=tokens,
        answer_tokens=len(answer),
        cut=len(example.text) - fitting,
        read=tuple(label for label, reason in fates if not reason),
        lost=tuple((label, reason) for label, reason in fates if reason),
        reads_back=parse(card, example, target).answer == example.gold,
    )


def _fate(item: Item, is_read: bool, written: Collection[Item] | None) -> str:
    """Return why a gold item is lost, "" where it is not; `written` are those that the longest answer has, None for all."""
    if not is_read:
        return losses.PAST_CONTEXT
    return losses.PAST_ANSWER if written is not None and item not in written else ""


def _written(card: TaskCard, example: Example, tokenizer: PreTrainedTokenizerBase, answer: Sequence[int]) -> set[Item] | None:
    """Return the entities and relations that an answer cut to its longest still names; None where nothing is cut."""
    if card.type not in losses.KINDS or len(answer) <= card.max_answer_tokens:
        return None
    parsed = parse(card, example, str(tokenizer.decode(list(answer[: card.max_answer_tokens])))).answer
    return {*parsed.entities, *parsed.relations}


def _fitting_characters(card: TaskCard, example: Example, tokenizer: PreTrainedTokenizerBase, room: int) -> int:
    """Return how many characters of the text fit; none where the question alone is too long."""
    try:
        return len(example.text) - encode_input(tokenizer, card, example, room).cut
    except InputError:
        return 0


def _items(card: TaskCard, example: Example, fitting: int) -> Iterator[tuple[Item, str, bool]]:
    """Yield each gold item that points into the text, its label, and whether it lies in the first `fitting` characters."""
    read, is_whole = example.text[:fitting], fitting == len(example.text)
    yield from ((entity, entity.label, entity.end <= fitting) for entity in example.gold.entities)
    for relation in example.gold.relations:
        ends = (example.arguments[relation.head], example.arguments[relation.tail])
        yield relation, relation.label, is_whole or all(any(form in read for form in forms) for forms in ends)
    if card.form == "extractive":
        yield example.gold.text, "", is_whole or locate(read, example.gold.text) is not None


def _gold(card: TaskCard, splits: Splits, fits: Sequence[Fit]) -> dict[str, Any]:
    """Return how many gold answers do not read back as they are, and what became of the gold items in the files.

    For each label, the items that are read and those that are lost, by reason, add up to those in the files.
    """
    gold_facts: dict[str, Any] = {"not_read_back": sum(not fit.reads_back for fit in fits)}
    if card.type not in losses.KINDS and card.form != "extractive":
        return gold_facts
    lost: dict[str, Counter[str]] = {label: Counter(reasons) for label, reasons in splits.losses.items()}
    for (label, reason), number in Counter(pair for fit in fits for pair in fit.lost).items():
        lost.setdefault(label, Counter())[reason] += number
    if number := splits.notes.get(passages.EDGE, 0):
        lost.setdefault("", Counter())[passages.EDGE] += number
    read = Counter(label for fit in fits for label in fit.read)
    labels = {label: _of_label(read[label], lost.get(label, {})) for label in dict.fromkeys((*card.labels, *read, *lost))}
    in_files = sum(of_label["in_files"] for of_label in labels.values())
    of_card = in_files - losses.by_reason(lost).get(NOT_ON_CARD, 0)
    gold_facts |= {
        "in_files": in_files,
        "read": read.total(),
        "kept_percent": round(100 * read.total() / of_card, 1) if of_card else 100.0,
        "lost": losses.by_reason(lost),
    }
    if card.type in losses.KINDS:
        gold_facts["labels"] = labels
        gold_facts["labels_not_on_card"] = [label for label in labels if NOT_ON_CARD in lost.get(label, {})]
    return gold_facts


def _of_label(read: int, lost: Mapping[str, int]) -> dict[str, Any]:
    return {"in_files": read + sum(lost.values()), "read": read, "lost": dict(lost)}


def _never(card: TaskCard, balance: Mapping[str, Mapping[str, int]], gold: Mapping[str, Any]) -> list[str]:
    """Return the card's labels that no example and no annotation in the files has."""
    there = {label for counts in balance.values() for label, number in counts.items() if number}
    there |= {label for label, of_label in gold.get("labels", {}).items() if of_label["in_files"]}
    return [label for label in card.labels if label not in there] if any(balance.values()) else []


def _weak_test(card: TaskCard, examples: Sequence[Example], balance: Mapping[str, int]) -> list[str]:
    """Return why a score on these test examples will say little, in sentences."""
    documents = len({example.document for example in examples})
    problems = []
    if 0 < documents < _ENOUGH_DOCUMENTS:
        half_width = 100 * sqrt(0.25 / documents) * 1.96  # of a share of one half (Wald, 1943)
        problems.append(
            f"The test split has {counted(documents, 'document')}: a score of 50 may be off by {half_width:.0f} points."
        )
    there = [label for label, number in balance.items() if number]
    if card.type not in losses.KINDS and card.form != "multiple" and len(there) == 1:
        problems.append(f"All test examples have the answer {there[0]}, so that always saying so scores best.")
    return problems


def _balance(card: TaskCard, examples: Sequence[Example], fits: Sequence[Fit]) -> dict[str, int]:
    """Return how often each label is an answer, or each option's letter where examples bring their own options.

    Of entities and relations, those in the text that is read.
    """
    if card.form in ("extractive", "free") or card.type == "summarization":
        return {}
    labels = (fit.read or [""] for fit in fits) if card.type in losses.KINDS else (_labels(card, e) for e in examples)
    counts = Counter(chain.from_iterable(labels))
    names = card.labels or tuple(map(letter, range(max((len(e.choices) for e in examples), default=0))))
    balance = {name: counts[name] for name in names}
    return balance | {"(none)": counts[""]} if counts[""] else balance


def _labels(card: TaskCard, example: Example) -> Iterator[str]:
    """Yield the label of each gold answer, or an empty one where there is none."""
    gold = example.gold
    if gold.choice is not None:
        yield card.labels[gold.choice] if card.labels else letter(gold.choice)
        return
    yield from [card.labels[index] for index in gold.labels] or [""]


def _leaks(splits: Splits) -> dict[str, dict[str, int]]:
    """Return what each split shares with those after it: left out of it for its document or input, or kept with shared runs."""
    runs = {split: [leaks.example_runs(example) for example in splits[split]] for split in SPLITS}
    shared = {}
    for split, later in (("train", ("dev", "test")), ("dev", ("test",))):
        held = set(chain.from_iterable(runs[split]))
        shared[split] = {f"{name}_left_out": splits.notes.get(f"{split}: {note}", 0) for name, note in _LEFT_OUT.items()}
        shared[split] |= {f"{other}_examples_sharing_runs": sum(not held.isdisjoint(r) for r in runs[other]) for other in later}
    return shared
