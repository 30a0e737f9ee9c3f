"""Gold that no example has: every annotation in the files is read or lost for a named reason, and much loss is not silent."""

import re
import tempfile
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.backbone.vocabulary import load_tokenizer
from mpdd.data.cards import card_file
from mpdd.data.cards.check import facts
from mpdd.data.cards.losses import labels_of, warning
from mpdd.data.task import SPLITS
from tests.conftest import tries
from tests.data import brat_cases
from tests.data.cards.conftest import CARDS, lines, load, record, refusal

LABELS = ("Drug", "Sign", "Other")  # the last is none of the card
TYPES = ("Causes", "Treats", "Likes")


def lost_of(splits):
    return {reason: number for reasons in splits.losses.values() for reason, number in reasons.items()}


def everything(splits):
    return [example for split in SPLITS for example in splits[split]]


# The counts add up


@st.composite
def documents(draw, number):
    """A brat document whose lines are right, wrong in every way, repeated or beyond a window: (text, lines)."""
    gap = st.sampled_from([" ", "\n", ". Then ", "\r\n", " \U0001f622 "])
    words = [f"word{n}" + draw(gap) for n in range(draw(st.integers(2, 90)))]
    text = f"Document {number}. " + "".join(words)
    spans = [match.span() for match in re.finditer(r"word\d+", text)]
    found, ids = [], []
    for n in range(draw(st.integers(0, 8))):
        first, last = sorted((draw(st.integers(0, len(spans) - 1)), draw(st.integers(0, len(spans) - 1))))
        (start, _), (_, end) = spans[first], spans[last]
        place, quoted = f"{start} {end}", " ".join(text[start:end].split())
        kind = draw(st.sampled_from(["right", "right", "pieces", "wrong", "malformed", "same id"]))
        if kind == "pieces":
            place = ";".join(f"{a} {b}" for a, b in (spans[first], spans[last]))
            quoted = " ".join(text[a:b] for a, b in (spans[first], spans[last]))
        key = ids[-1] if kind == "same id" and ids else f"T{n + 1}"
        ids.append(key)
        place = "1;2" if kind == "malformed" else place
        found.append(f"{key}\t{draw(st.sampled_from(LABELS))} {place}\t{'nowhere' if kind == 'wrong' else quoted}")
    keys = st.sampled_from([*ids, "T99"])
    for n in range(draw(st.integers(0, 5))):
        kind, a, b, c = draw(st.tuples(st.sampled_from(TYPES), keys, keys, keys))
        found.append(
            draw(
                st.sampled_from(
                    [
                        f"R{n}\t{kind} Arg1:{a} Arg2:{b}",
                        f"R{n}\t{kind} Arg2:{a} Arg1:{b}\t",
                        f"R{n}\t{kind} Arg1:{a}",
                        f"E{n}\t{kind}:{a} Causes:{b} Treats2:{c}",
                        f"*\t{kind} {a} {b} {c}",
                    ]
                )
            )
        )
    return text, [*found, "A1\tNegated T1", "#1\tAnnotatorNotes T1\tx", "N1\tReference T1 X:1\tx"]


def in_files(kind, found):
    """How many gold items the lines of a document have: entities; or pairs of relations, of events and of groups."""
    if kind == "ner":
        return sum(line.startswith("T") for line in found)
    pairs = sum(line.startswith("R") for line in found)
    pairs += sum(len(line.split()) - 2 for line in found if line.startswith("E"))
    return pairs + sum(max(0, len(line.split()) - 3) for line in found if line.startswith("*"))


@settings(max_examples=tries(40), deadline=None)
@given(
    st.lists(st.integers(0, 999).flatmap(documents), min_size=1, max_size=4),
    st.sampled_from(["ner", "re"]),
    st.sampled_from([None, "no text", "no UTF-8"]),
)
def test_what_is_read_and_each_loss_add_up_to_the_gold_in_the_files(read, kind, damage):
    with tempfile.TemporaryDirectory() as folder:
        for split in SPLITS:
            (Path(folder) / split).mkdir()
        plain = "Plain word.", ["T1\tDrug 0 5\tPlain", "T2\tDrug 6 10\tword", "R1\tCauses Arg1:T1 Arg2:T2"]
        for n, (text, found) in enumerate([*read, plain]):
            path = Path(folder) / "train" / f"{n}.txt"
            path.write_bytes(b"\xff" if damage == "no UTF-8" and n == 0 else text.encode())
            path.with_suffix(".ann").write_bytes("".join(line + "\n" for line in found).encode())
            if damage == "no text" and n == 0:
                path.unlink()
        for split in ("dev", "test"):
            (Path(folder) / split / "a.txt").write_text(f"Held for {split}.")
            (Path(folder) / split / "a.ann").write_text("")
        card = {"name": "own", "instruction": "Do it.", **CARDS[kind], "labels": list((LABELS if kind == "ner" else TYPES)[:2])}
        card["data"] = {"format": "brat", **{split: split for split in SPLITS}}
        path = Path(folder) / "own.toml"
        path.write_text(tomli_w.dumps(card))
        splits = card_file.read(path).load(path.parent)
    wanted = sum(in_files(kind, found) for _, found in [*read, plain])
    lost = sum(number for reasons in splits.losses.values() for number in reasons.values())
    assert sum(1 for _ in labels_of(everything(splits))) + lost == wanted


# Reasons


LONG = " ".join(f"Line {n} of the note says little." for n in range(30))
MIXED = "T1\tSign 0 5\tFever\nT2\tDrug 12 19\taspirin\nT3\tSign 0 5;12 19\tFever aspirin\nT4\tPlace 20 24\twhen\n"
RELATED = "R1\tCauses Arg1:T2 Arg2:T1\nR2\tCauses Arg1:T2 Arg2:T3\nR3\tLikes Arg1:T1 Arg2:T2\nR4\tCauses Arg1:T2 Arg2:T9\n"


@pytest.fixture
def mixed():
    """Ten documents with one annotation of each kind of loss."""
    return {
        f"c/{n}.{end}": text
        for n in range(10)
        for end, text in (("txt", f"Fever after aspirin when {n}."), ("ann", MIXED + RELATED))
    }


def test_each_loss_has_its_own_reason_beside_its_label(mixed, write, tiny_folder):
    path = write("ner", mixed, {"format": "brat", "train": "c"}, labels=["Sign", "Drug", "Dose"])
    task = card_file.read(path)
    found = facts(task, task.load(path.parent), *load_tokenizer(str(tiny_folder)))
    assert found["gold"]["labels"] == {
        "Sign": {"in_files": 20, "read": 10, "lost": {"discontinuous": 10}},
        "Drug": {"in_files": 10, "read": 10, "lost": {}},
        "Dose": {"in_files": 0, "read": 0, "lost": {}},
        "Place": {"in_files": 10, "read": 0, "lost": {"label not on the card": 10}},
    }
    assert (found["gold"]["in_files"], found["gold"]["read"], found["gold"]["kept_percent"]) == (40, 20, 66.7)
    assert found["labels_that_never_occur"] == ["Dose"]
    assert found["gold"]["labels_not_on_card"] == ["Place"]


def test_an_entity_card_passes_over_relations_without_calling_them_bad(mixed, write):
    path = write("ner", mixed, {"format": "brat", "train": "c"}, labels=["Sign", "Drug", "Place"])
    assert load(path, strict=True).notes == {"discontinuous mentions": 10}
    path = write("re", mixed, {"format": "brat", "train": "c"}, labels=["Causes"])
    assert "relation without two known arguments" in refusal(path, strict=True)


def test_relations_lost_for_their_arguments_are_named(mixed, write, tiny_folder):
    path = write("re", mixed, {"format": "brat", "train": "c"}, labels=["Causes"])
    task = card_file.read(path)
    splits = task.load(path.parent)
    found = facts(task, splits, *load_tokenizer(str(tiny_folder)))["gold"]
    assert found["labels"] == {
        "Causes": {
            "in_files": 30,
            "read": 10,
            "lost": {"discontinuous": 10, "relation without two known arguments": 10},
        },
        "Likes": {"in_files": 10, "read": 0, "lost": {"label not on the card": 10}},
    }
    assert sum(example.lost for example in everything(splits)) == 10  # counted as missed when scored


def test_gold_past_the_context_is_no_label_that_is_present(write, tiny_folder):
    rows = [record("ner", n) for n in range(10)]
    text = rows[0]["text"]
    rows[0] = {"text": "é " * 150 + text, "entities": [[300 + text.index("glioma"), 306 + text.index("glioma"), "Tumour"]]}
    path = write(files={"train.jsonl": lines(rows)})
    task = card_file.read(path)
    found = facts(task, task.load(path.parent), *load_tokenizer(str(tiny_folder)))
    assert found["gold"]["labels"]["Tumour"] == {"in_files": 10, "read": 9, "lost": {"past the context": 1}}
    assert sum(found["labels"][split]["Tumour"] for split in SPLITS) == 9


def test_items_left_out_with_their_document_are_lost_for_that(write):
    rows = [record("ner", n) for n in range(10)]
    held = [rows[0] | {"text": rows[0]["text"]}, record("ner", 20)]
    path = write(files={"train.jsonl": lines(rows), "test.jsonl": lines(held)}, data={"test": "test.jsonl"})
    assert load(path).losses == {"Treatment": {"in a later split too": 1}, "Tumour": {"in a later split too": 1}}


def test_what_may_be_text_of_a_note_is_shown_as_no_label(write):
    rows = [record("ner", n) for n in range(10)]
    rows[0]["entities"].append([0, 4, "zebra " * 20])
    assert load(write(files={"train.jsonl": lines(rows)})).losses == {"(not readable)": {"label not on the card": 1}}


# Silent loss


def brat_without_gold(change):
    return {f"c/{name}": change(name, content) for name, content in brat_cases.crlf().items()}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda name, text: text if name.endswith("txt") else re.sub(rb"\t[^\t\n]+\n", b"\tnowhere\n", text),
         "found 42 mention that its offsets do not give; wanted at least one with a label of the card (Drug, Problem, Sign)"),
        (lambda name, text: text.replace(b"Drug", b"Med").replace(b"Problem", b"Dx").replace(b"Sign", b"Sx"),
         "found 42 label not on the card (in the files: Dx, Med, Sx); wanted"),
        (lambda name, text: b"" if name.endswith("ann") else text, "found none in the files; wanted"),
    ],
)  # fmt: skip
def test_entity_data_without_one_gold_item_is_one_sentence(change, found, write):
    path = write("ner", brat_without_gold(change), {"format": "brat", "train": "c"}, labels=["Drug", "Problem", "Sign"])
    message = refusal(path)
    assert message.startswith("own.toml: the train data has no gold entity; ")
    assert found in message


def test_relation_data_and_test_data_without_one_gold_item_are_refused_too(write, mixed):
    path = write("re", mixed, {"format": "brat", "train": "c"}, labels=["Cures"])
    found = "30 label not on the card, 10 relation without two known arguments (in the files: Causes, Likes)"
    assert f"the train data has no gold relation; found {found}; wanted at least one" in refusal(path)
    lost = [{"text": "Nothing.", "entities": [[0, 900, "Tumour"]]}]
    files = {"train.jsonl": lines([record("ner", n) for n in range(10)]), "test.jsonl": lines(lost)}
    assert "the test data has no gold entity; found 1 entity with offsets outside" in refusal(
        write(files=files, data={"test": "test.jsonl"})
    )
    empty = [{"text": "Nothing.", "entities": []}]
    path = write(files=files | {"test.jsonl": lines(empty)}, data={"test": "test.jsonl"})
    assert load(path).test[0].gold.entities == ()


def test_much_lost_gold_is_a_warning_and_little_is_none(write):
    rows = [record("ner", n) for n in range(20)]
    rows[0]["entities"].append([0, 999, "Tumour"])
    path = write(files={"train.jsonl": lines(rows)})
    card = card_file.read(path).card
    assert warning(card, load(path)) == ""
    for row in rows[1:6]:
        row["entities"].append([0, 999, "Tumour"])
    path = write(files={"train.jsonl": lines(rows)})
    assert warning(card, load(path)) == (
        "6 of the 46 entities in the files of own (13 %) are not in its examples: 6 entity with offsets outside its text. "
        "Where the text of such an example is read, the model learns that nothing is there."
    )
    few = write(files={"train.jsonl": lines(rows)}, labels=["Treatment"])
    assert "entity with offsets" in warning(card_file.read(few).card, load(few))
    assert "label not on the card" not in warning(card_file.read(few).card, load(few))
