"""Random tables: every entity and extracted answer is what its offsets give, and every gold answer reads back."""

import tempfile
from pathlib import Path

import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.data.cards import card_file
from mpdd.data.task import SPLITS
from mpdd.data.types import parse, render_target
from tests.data.cards.conftest import CARDS, lines, table

KNOWN = ["fever", "a", "Ä", "💊", "\u2028", "no. Rash", ",", '"', "|;", "\r\n", "[", "x" * 90]
WORDS = st.sampled_from(KNOWN) | st.text(max_size=9)
TEXT = st.lists(WORDS, min_size=1, max_size=90).map(" ".join)


def spans(text):
    places = st.integers(0, len(text))
    return st.lists(st.tuples(places, places, st.sampled_from(CARDS["ner"]["labels"])).map(list), max_size=6)


ENTITIES = TEXT.flatmap(lambda text: st.fixed_dictionaries({"text": st.just(text), "entities": spans(text)}))


def splits(kind, records, file_format):
    """The splits of a card over these records as train, and one plain record as dev and as test."""
    with tempfile.TemporaryDirectory() as folder:
        path, held = Path(folder) / "own.toml", {"train": records}
        for split in ("dev", "test"):
            held[split] = [{**records[0], "text": f"Held out for {split}.", **({"entities": []} if kind == "ner" else {})}]
            held[split][0] |= {"answer": "Held"} if kind == "extractive" else {}
        for split, rows in held.items():
            content = {"jsonl": lines, "csv": table, "tsv": lambda r: table(r, "\t")}[file_format](rows)
            (path.parent / split).write_bytes(content.encode())
        card = {"name": "own", "instruction": "Do it.", **CARDS[kind]}
        path.write_text(tomli_w.dumps({**card, "data": {"format": file_format, **{split: split for split in SPLITS}}}))
        task = card_file.read(path)
        return task.card, task.load(path.parent)


@settings(deadline=None)
@given(st.lists(ENTITIES, min_size=1, max_size=4), st.sampled_from(["jsonl", "csv", "tsv"]))
def test_entities_are_what_their_offsets_give(records, file_format):
    records.append({"text": "Plain.", "entities": [[0, 5, "Tumour"]]})
    card, found = splits("ner", records, file_format)
    texts = [record["text"] for record in records]
    given = {(r["text"][a:b].strip(), label) for r in records for a, b, label in r["entities"] if a < b}
    kept = 0
    for example in found.train:
        assert any(example.text in text for text in texts)
        assert len(example.text) <= 400 or " " not in example.text
        for entity in example.gold.entities:
            assert (example.text[entity.start : entity.end], entity.label) in given
        assert parse(card, example, render_target(card, example)).answer == example.gold
        kept += len(example.gold.entities)
    lost = sum(number for reasons in found.losses.values() for number in reasons.values())
    assert kept + lost == sum(len(r["entities"]) for r in records)


@settings(deadline=None)
@given(TEXT.filter(str.strip), st.data(), st.sampled_from(["jsonl", "csv"]))
def test_extracted_answers_are_pieces_of_their_text(text, data, file_format):
    answer = data.draw(st.sampled_from([text, *text.split()]))
    rows = [{"text": text, "answer": answer}, {"text": "Plain it is.", "answer": "plain"}]
    rows = [{**row, "Question": "What?"} for row in rows]
    card, found = splits("extractive", rows, file_format)
    for example in found.train:
        assert example.gold.text and example.gold.text in example.text
        assert parse(card, example, render_target(card, example)).answer == example.gold
    assert len(found.train) + sum(found.notes.values()) == 2
