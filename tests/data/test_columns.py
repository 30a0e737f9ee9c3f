"""Any splits become one Arrow array and come back the same, as do the other types that hints may name."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.columns import pack, unpack
from mpdd.data.task import Answer, Entity, Example, Relation, Splits

NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)


def tuples(items):
    return st.lists(items, max_size=3).map(tuple)


ANSWERS = st.builds(
    Answer,
    tuples(st.builds(Entity, NUMBERS, NUMBERS, TEXTS)),
    tuples(st.builds(Relation, TEXTS, TEXTS, TEXTS)),
    st.none() | NUMBERS,
    TEXTS,
    tuples(NUMBERS),
)
ARGUMENTS = st.dictionaries(TEXTS, tuples(TEXTS), max_size=3)
EXAMPLES = tuples(
    st.builds(
        Example,
        id=TEXTS,
        document=TEXTS,
        text=TEXTS,
        gold=ANSWERS,
        fields=tuples(st.tuples(TEXTS, TEXTS)),
        choices=tuples(TEXTS),
        arguments=ARGUMENTS,
        offset=NUMBERS,
        lost=NUMBERS,
    )
)
SPLITS = st.builds(Splits, EXAMPLES, EXAMPLES, EXAMPLES, st.dictionaries(TEXTS, NUMBERS, max_size=3))


@settings(deadline=None)
@given(SPLITS)
def test_splits_come_back_the_same_with_their_types_and_their_order(splits):
    (back,) = unpack(pack([splits], Splits), Splits)
    assert back == splits
    assert repr(back) == repr(splits)  # what == does not tell: the order of mappings, 1 or True


@dataclass(frozen=True)
class Reading:
    value: float
    sure: bool | None
    by_place: Mapping[str, tuple[int, str]]


def test_a_dataclass_of_other_types_needs_nothing_more():
    readings = [Reading(0.5, True, {"b": (1, "x"), "a": (2, "")}), Reading(-1.0, None, {})]
    assert unpack(pack(readings, Reading), Reading) == readings
    assert unpack(pack([], Reading), Reading) == []


@pytest.mark.parametrize("hint", [list[str], bytes, int | str, set[int]])
def test_a_type_without_a_column_is_refused(hint):
    with pytest.raises(TypeError, match="no column for values of the type"):
        pack([], hint)
