"""Relations as text: one line for each label, pairs `head -> tail` that name arguments by their surface forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from mpdd.data.task import Answer, Entity, Example, Parsed, Relation, TaskCard
from mpdd.data.types.grounding import Grounding, plain
from mpdd.data.types.spans import escape, fold, item_places, pick, read_lines, read_mention, split, write_lines
from mpdd.errors import InputError

ARROW = "->"


def target(card: TaskCard, example: Example, answer: Answer) -> str:
    """Return the lines that name these relations, in the order of `example.arguments`.

    Raise `InputError` for a relation whose head or tail has no surface form.
    """
    order = {key: place for place, key in enumerate(example.arguments)}
    owners = _owners(example.arguments)
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for relation in sorted(set(answer.relations), key=lambda pair: _place(order, pair)):
        head, tail = (_name(card, example, owners, key) for key in (relation.head, relation.tail))
        lines[relation.label].append(f"{head} {ARROW} {tail}")
    return write_lines(card, example, lines)


def _place(order: Mapping[str, int], relation: Relation) -> tuple[int, int]:
    return order.get(relation.head, -1), order.get(relation.tail, -1)


def _owners(arguments: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Return the keys that each surface form may stand for, in the order of the arguments."""
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for key, forms in arguments.items():
        for form in dict.fromkeys(forms):
            owners[form].append(key)
    return dict(owners)


def _name(card: TaskCard, example: Example, owners: Mapping[str, list[str]], key: str) -> str:
    """Return the first form that only this key has, else its canonical form and its rank among the form's keys."""
    forms = [form for form in example.arguments.get(key, ()) if form]
    if not forms:
        raise InputError(
            f"Example {example.id} of task {card.name} has a relation between arguments without a surface form",
            found=f"argument key {key!r}",
            wanted="a key of its arguments with at least one non-empty form",
        )
    for form in forms:
        if owners[form] == [key]:
            return escape(form, ";", ARROW)
    return f"{escape(forms[0], ';', ARROW)} @{owners[forms[0]].index(key) + 1}"


def parse(card: TaskCard, example: Example, output: str) -> Parsed:
    """Read relations back, sorted; one whose head or tail is nowhere is counted as ungrounded and dropped."""
    items, says_none = read_lines(card.labels, output)
    owners, grounding = _owners(example.arguments), Grounding(example.text)
    written: dict[Entity | Relation, tuple[int, int]] = {}
    readable = ungrounded = 0
    for (label, raw), at in zip(items, item_places(card.labels, output), strict=True):
        pair = split(raw, ARROW, 1)
        if len(pair) != 2 or not all(pair):
            continue
        readable += 1
        head, tail = (_key(grounding, owners, name) for name in pair)
        if head is None or tail is None:
            ungrounded += 1
        else:
            written.setdefault(Relation(label, head, tail), at)
    relations = tuple(sorted(relation for relation in written if isinstance(relation, Relation)))
    return Parsed(Answer(relations=relations), not (readable or says_none), ungrounded, written)


def _key(grounding: Grounding, owners: Mapping[str, list[str]], raw: str) -> str | None:
    """Return the argument that a mention names, or `start:end` of a mention that is only in the text, or None."""
    mention, rank = read_mention(raw)
    keys = owners.get(mention) or _alike(owners, mention, fold) or _alike(owners, mention, plain)
    if keys:
        return pick(keys, rank)
    whole = next((uncut for spans in grounding.places(mention) if (uncut := grounding.placeholders.without_cuts(spans))), [])
    return "{}:{}".format(*pick(whole, rank)) if whole else None


def _alike(owners: Mapping[str, list[str]], mention: str, reduced: Callable[[str], str]) -> list[str]:
    """Return the keys of the forms that are the mention once both are reduced to what matters, if anything is left of it."""
    wanted = reduced(mention)
    same = [key for form, keys in owners.items() if wanted and reduced(form) == wanted for key in keys]
    return list(dict.fromkeys(same))
