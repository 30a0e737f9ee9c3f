"""Gold annotations of a user's files that no example has: why, by label, and whether so many are lost that it matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from mpdd.data.cards.layout import Layout
from mpdd.data.readers.base import ENTITY, NOT_ON_CARD, RELATION, REPEATED, Notes
from mpdd.data.task import SPLITS, Example, Splits, TaskCard
from mpdd.errors import InputError

Losses = Mapping[str, Mapping[str, int]]  # by label, then by reason
KINDS = {"ner": ENTITY, "re": RELATION}  # what the gold items of a type of task are
NAMES = {ENTITY: "entities", RELATION: "relations"}
IN_LATER_SPLIT = "in a later split too"
PAST_CONTEXT, PAST_ANSWER = "past the context", "past the longest answer"
MANY = 5  # per cent of the gold items: so many lost ones are worth a warning
_HARMLESS = (NOT_ON_CARD, REPEATED, IN_LATER_SPLIT)  # the card's choice, or no loss of text that is read
_LONGEST_LABEL = 60  # characters: what is longer is hardly a label, and may be text of a note


def labels_of(examples: Iterable[Example]) -> Iterator[str]:
    """Yield the label of each gold entity and relation."""
    for example in examples:
        yield from (entity.label for entity in example.gold.entities)
        yield from (relation.label for relation in example.gold.relations)


def by_label(layout: Layout, notes: Notes, read: Iterable[Example], kept: Iterable[Example]) -> dict[str, dict[str, int]]:
    """Return how many gold items were lost, by our label and by reason; those `read` but not `kept` are in a later split too.

    Empty for a task without entities and relations.
    """
    kind = KINDS.get(layout.card.type)
    counts: Counter[tuple[str, str]] = Counter()
    for (lost_kind, label, reason), number in notes.lost.items():
        if lost_kind == kind:
            counts[shown(layout.label(label)), reason] += number
    if kind:
        left_out = Counter(labels_of(read)) - Counter(labels_of(kept))
        counts.update({(label, IN_LATER_SPLIT): number for label, number in left_out.items()})
    found: dict[str, dict[str, int]] = {}
    for (label, reason), number in sorted(counts.items()):
        found.setdefault(label, {})[reason] = number
    return found


def shown(label: str) -> str:
    """Return a file's label as it may be shown: what is no plain short name could be text of a note."""
    return label if label and label.isprintable() and len(label) <= _LONGEST_LABEL else "(not readable)"


def by_reason(losses: Losses) -> dict[str, int]:
    """Return how many gold items were lost for each reason, the commonest first."""
    counts: Counter[str] = Counter()
    for reasons in losses.values():
        counts.update(reasons)
    return dict(counts.most_common())


def require_gold(what: str, layout: Layout, examples: Iterable[Example], lost: Counter[tuple[str, str, str]], split: str) -> None:
    """Raise `InputError` for entity or relation data without one gold item, with the reasons.

    Data for dev or test may have none, as long as none was lost there.
    """
    kind = KINDS.get(layout.card.type)
    if kind is None or any(labels_of(examples)):
        return
    own = Counter({(label, reason): n for (lost_kind, label, reason), n in lost.items() if lost_kind == kind})
    if split != "train" and not own:
        return
    reasons: Counter[str] = Counter()
    for (_, reason), number in own.items():
        reasons[reason] += number
    others = sorted({shown(layout.label(label)) for label, reason in own if reason == NOT_ON_CARD})
    found = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common()) or "none in the files"
    found += f" (in the files: {', '.join(others[:8])})" if others else ""
    next_step = "`mpdd task check --strict` says where the first of them stands." if own else ""
    if others:
        next_step = "Name the labels of the files in the card, or say which is which under [data.labels]."
        if any(layout.in_another_case(label) for label in others):
            next_step = "With ignore_case = true under [data], or --ignore-case, labels may be in any case."
    wanted = f"at least one with a label of the card ({', '.join(layout.card.labels)})"
    raise InputError(f"{what} has no gold {kind}", found=found, wanted=wanted, next_step=next_step)


def warning(card: TaskCard, splits: Splits) -> str:
    """Return a sentence for data of which many gold items were lost, "" where few were.

    What the card leaves out, repeats, and examples left out of a split as a whole do not count.
    """
    reasons = {reason: n for reason, n in by_reason(splits.losses).items() if reason not in _HARMLESS}
    lost = sum(reasons.values())
    read = sum(1 for split in SPLITS for _ in labels_of(splits[split]))
    if card.type not in KINDS or not lost or 100 * lost < MANY * (lost + read):
        return ""
    reasons_given = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
    return (
        f"{lost} of the {lost + read} {NAMES[KINDS[card.type]]} in the files of {card.name} "
        f"({100 * lost / (lost + read):.0f} %) are not in its examples: {reasons_given}. "
        "Where the text of such an example is read, the model learns that nothing is there."
    )
