"""Relation arguments: which surface forms may name each, and examples whose relations are between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from mpdd.data.readers.base import RELATION, REPEATED, UNMENTIONED, Notes
from mpdd.data.task import Answer, Example, Relation
from mpdd.data.types.spans import fold

Span = tuple[int, int, str]


def surface_forms(named: Sequence[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return each argument's distinct forms from (key, form) pairs in document order, the canonical one first.

    Canonical is the first form that names no other argument of the document, else the first form. Forms that differ
    only in case or spacing count as one. Keys come in the order of their first form.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    forms: dict[str, dict[str, str]] = defaultdict(dict)
    for key, form in named:
        if form:
            owners[fold(form)].add(key)
            forms[key].setdefault(fold(form), form)
    ordered = {}
    for key, wordings in forms.items():
        first = next((folded for folded in wordings if len(owners[folded]) == 1), next(iter(wordings)))
        ordered[key] = (wordings[first], *(form for folded, form in wordings.items() if folded != first))
    return ordered


def relation_example(
    name: str,
    document: str,
    text: str,
    relations: Iterable[tuple[str, str, str]],
    arguments: Mapping[str, tuple[str, ...]],
    notes: Notes,
    *,
    directed: bool = True,
) -> Example:
    """Return an example of (label, head key, tail key) `relations`; `arguments` come in the order of first mentions.

    A relation with an argument that has no form in the text is not gold but `lost`; repeated ones count once.
    Where `directed` is false, the argument mentioned first becomes the head.
    """
    place = {key: number for number, key in enumerate(arguments)}
    gold, lost, repeated = set(), 0, 0
    for label, head, tail in relations:
        if head not in place or tail not in place:
            notes.lose((RELATION, label), UNMENTIONED)
            lost += 1
            continue
        relation = Relation(label, head, tail) if directed or place[head] <= place[tail] else Relation(label, tail, head)
        if relation in gold:
            notes.lose((RELATION, label), REPEATED)
            repeated += 1
        gold.add(relation)
    notes.count("relations with an argument that the text does not mention", lost)
    notes.count("repeated relations", repeated)
    answer = Answer(relations=tuple(sorted(gold)))
    return Example(name, document, text, answer, arguments=dict(arguments), lost=lost)


def wording_example(
    name: str,
    document: str,
    text: str,
    pairs: Sequence[tuple[str, Span, Span]],
    notes: Notes,
    *,
    directed: bool = True,
) -> Example:
    """Return an example of (label, head, tail) `pairs`, whose ends are (start, end, wording).

    Ends with the same wording are one argument; its key is the place `start:end` of the first of them (with a number
    if discontinuous ends of another wording reach from and to the same characters).
    """
    spans = sorted(span for _, *both in pairs for span in both)
    keys: dict[str, str] = {}
    for start, end, wording in spans:
        place = f"{start}:{end}"
        keys.setdefault(fold(wording), f"{place}#{len(keys)}" if place in keys.values() else place)
    forms = surface_forms([(keys[fold(wording)], wording) for _, _, wording in spans])
    relations = [(label, keys[fold(head[2])], keys[fold(tail[2])]) for label, head, tail in pairs]
    return relation_example(name, document, text, relations, forms, notes, directed=directed)
