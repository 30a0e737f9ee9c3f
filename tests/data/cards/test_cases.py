"""Exports of annotation tools load as they are: by a card that names neither a format nor columns."""

import pytest

from mpdd.data.task import SPLITS
from tests.cases import CASES
from tests.data import brat_cases
from tests.data.cards.conftest import load, refusal

DRUGS = {"type": "ner", "labels": ["Drug", "Problem"]}


@pytest.fixture
def read(write):
    """All examples of a case, and the notes: by a card that says nothing but where the file lies."""

    def read(case, **values):
        found = load(write("ner", {}, {"format": "", "train": str(CASES / case)}, **values), strict=True)
        return [example for split in SPLITS for example in found[split]], found.notes

    return read


def mentions(examples):
    return [(entity.label, example.text[entity.start : entity.end]) for example in examples for entity in example.gold.entities]


@pytest.mark.parametrize("name", ["ls.json", "ls.csv", "ls.tsv"])
def test_label_studio_with_emoji(name, read):
    examples, notes = read(f"label_studio/{name}", **DRUGS)
    assert len(examples) == 14
    assert sorted(mentions(examples)) == [("Drug", "lisinopril")] * 14 + [("Problem", "hypertension")] * 14
    assert notes == {"records recognised as Label Studio": 14, "mentions with offsets in UTF-16 units": 14}


@pytest.mark.parametrize("name", ["seq.jsonl", "rel.jsonl"])
def test_doccano_entities(name, read):
    examples, notes = read(f"doccano/{name}", **DRUGS)
    assert len(examples) == 14
    assert sorted(mentions(examples)) == [("Drug", "amoxicillin")] * 14 + [("Problem", "Rash")] * 14
    assert notes == {"records recognised as doccano": 14}


def test_doccano_relations_run_from_the_drug(read):
    examples, _ = read("doccano/rel.jsonl", type="re", labels=["causes"])
    ends = [(r.label, e.arguments[r.head], e.arguments[r.tail]) for e in examples for r in e.gold.relations]
    assert ends == [("causes", ("amoxicillin",), ("Rash",))] * 14


def test_prodigy_spans_that_are_not_accepted_are_no_gold(read):
    examples, notes = read("prodigy/prodigy.jsonl", **DRUGS)
    assert mentions(examples) == [("Drug", "ibuprofen")] * 6 and len(examples) == 6
    assert notes["examples marked reject in Prodigy left out"] == 6
    assert notes["examples marked ignore in Prodigy left out"] == 6


def test_prodigy_labels_that_are_not_accepted_are_no_gold(read):
    examples, notes = read("prodigy/textcat.jsonl", type="classification", labels=["urgent", "routine"])
    assert [example.gold.choice for example in examples] == [0] * 6
    assert notes["examples marked reject in Prodigy left out"] == notes["examples marked ignore in Prodigy left out"] == 6


def test_parquet_tokens_with_class_names(read):
    examples, _ = read("parquet/ner.parquet", labels=["Disease"])
    assert mentions(examples) == [("Disease", "cystic fibrosis")] * 14 and len(examples) == 14
    assert {example.text for example in examples} == {f"Case {n} has cystic fibrosis ." for n in range(14)}


def test_parquet_classes_as_numbers(read):
    """Of 14 rows three have the class -1, which stands for no label in Hugging Face datasets."""
    labels = ["entailment", "neutral", "contradiction"]
    examples, notes = read("parquet/nli.parquet", type="nli", labels=labels, fields=["Hypothesis"])
    wanted = {f"Patient {n} has a fever.": labels[n % 4] for n in range(14) if n % 4 < 3}
    assert {example.text: labels[example.gold.choice] for example in examples} == wanted
    meaning = "0 = entailment, 1 = neutral, 2 = contradiction"
    assert notes[f"answers that are numbers, read in the order of the card's labels: {meaning}"] == 11
    assert notes["records without a label (-1) left out"] == 3
    assert {example.fields for example in examples} == {(("Hypothesis", "He is ill."),)}


def test_parquet_squad_rows(read):
    examples, _ = read("parquet/squad.parquet", type="qa", form="extractive", labels=None, fields=["Question"])
    assert [example.gold.text for example in examples] == ["5 mg"] * 14
    assert {example.fields for example in examples} == {(("Question", "Which dose?"),)}


def test_parquet_medqa_options_as_objects(read):
    examples, _ = read("parquet/medqa.parquet", type="qa", form="choice", labels=None)
    assert [example.choices for example in examples] == [("aspirin", "heparin")] * 14
    assert [example.gold.choice for example in examples] == [1] * 14
    assert {example.text for example in examples} == {f"Case {n}: drug of choice?" for n in range(14)}


def test_parquet_bigbio_kb(read):
    examples, _ = read("parquet/kb.parquet", labels=["Disease"])
    assert mentions(examples) == [("Disease", "asthma")] * 14 and len(examples) == 14


@pytest.mark.parametrize(
    ("name", "label", "words"),
    [
        ("corona.json", "Medicine", "ibuprofen"),
        ("corona.jsonl", "Medicine", "ibuprofen"),
        ("docs.pubtator", "Chemical", "Ibuprofen"),
        ("iob.conll", "Drug", "ibuprofen"),
    ],
)
def test_the_entities_of_other_files(name, label, words, read):
    examples, notes = read(f"other/{name}", labels=[label])
    assert mentions(examples) == [(label, words)] * 14 and len(examples) == 14
    assert any("recognised as" in note for note in notes)


@pytest.mark.parametrize("half", ["text", "original"])
def test_half_of_a_brat_corpus_says_where_the_other_half_lies(half, write):
    files = brat_cases.apart()
    path = write("ner", files, {"format": "", "train": half}, **DRUGS)
    other = {"text": "annotation files: those of the same names lie in", "original": "texts: those of the same names lie in"}
    assert f"{half} has no {other[half]}" in refusal(path)
    assert len(load(write("ner", {}, {"format": "", "train": ["text", "original"]}, **DRUGS)).train) == 9
