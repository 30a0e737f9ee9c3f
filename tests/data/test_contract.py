"""What every task of the catalogue promises, checked on the real upstream files (MPDD_MIRROR, else ../shared/data)."""

import hashlib
import os
from pathlib import Path

import pytest

from mpdd.data import cache, catalogue, counts, leaks
from mpdd.data.readers import json_files, pubtator
from mpdd.data.readers.base import Notes
from mpdd.data.store import fetch
from mpdd.data.task import SPLITS
from mpdd.data.types import candidates, parse, render_target

HERE = Path(__file__).resolve()
MIRROR = os.environ.get("MPDD_MIRROR") or HERE.parents[3] / "shared" / "data"
COUNTS = counts.table()
TARGETS = [name for name in catalogue.names() if catalogue.get(name).role == "target"]
HEADLINES = {  # by type and form
    ("ner", ""): "strict_f1",
    ("re", ""): "strict_f1",
    ("qa", "choice"): "accuracy",
    ("qa", "extractive"): "token_f1",
    ("nli", ""): "macro_f1",
    ("summarization", ""): "rougeL",
}

NO_DATA = "no real data: ../shared/data is absent and MPDD_MIRROR is not set"
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not Path(MIRROR).is_dir(), reason=NO_DATA)]


@pytest.fixture(autouse=True)
def mirror(monkeypatch):
    monkeypatch.setenv("MPDD_MIRROR", str(MIRROR))


@pytest.fixture(params=catalogue.names())
def name(request):
    """A task; its tests run in one process, which then reads its data once."""
    return request.param


def all_examples(name):
    loaded = catalogue.load(name)
    return [example for split in SPLITS for example in loaded[split]]


def gold_items(example):
    gold = example.gold
    items = len(gold.entities) + len(gold.relations) + example.lost
    return items + (gold.choice is not None) + bool(gold.text)


def test_the_table_has_a_row_for_each_task():
    assert set(COUNTS) == set(catalogue.names())


def test_counts_and_notes_are_those_of_the_table(name):
    loaded, row = catalogue.load(name), COUNTS[name]
    assert [len({e.document for e in loaded[split]}) for split in SPLITS] == row["documents"]
    assert [len(loaded[split]) for split in SPLITS] == row["examples"]
    assert [sum(map(gold_items, loaded[split])) for split in SPLITS] == row["gold"]
    assert loaded.notes == row.get("notes", {})
    assert row["source"]


def test_splits_are_pinned_and_the_same_when_read_again_and_when_read_from_the_cache(name, monkeypatch):
    task, first = catalogue.get(name), catalogue.load(name)
    again = task.load(fetch(task.files))
    assert again == first
    lines = "".join(f"{split}\t{example.id}\n" for split in SPLITS for example in again[split])
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == COUNTS[name]["ids"]
    monkeypatch.setattr(cache, "_BEGAN", 2**63)  # whatever else changes while the tests run
    if (kept := cache.cached(task)) is None:  # `load` keeps what it reads, unless the source has changed meanwhile
        cache.keep(task, again)
        kept = cache.cached(task)
    assert kept == again
    assert repr(kept) == repr(again)  # the order of mappings, too


def test_ids_are_unique_and_documents_say_where_they_come_from(name):
    examples = all_examples(name)
    assert len({example.id for example in examples}) == len(examples)
    assert all(example.document.count(":") >= 1 for example in examples)


def test_no_document_and_no_input_is_in_two_splits(name):
    loaded = catalogue.load(name)
    for early, late in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not {e.document for e in loaded[early]} & {e.document for e in loaded[late]}
        assert not {(e.text, e.fields) for e in loaded[early]} & {(e.text, e.fields) for e in loaded[late]}


def test_gold_is_sorted_valid_and_not_blank(name):
    card = catalogue.get(name).card
    for example in all_examples(name):
        assert example.text.strip()
        assert all(value.strip() for _, value in example.fields)
        assert list(example.gold.entities) == sorted(set(example.gold.entities))
        assert list(example.gold.relations) == sorted(set(example.gold.relations))
        for entity in example.gold.entities:
            surface = example.text[entity.start : entity.end]
            assert surface
            assert surface == surface.strip()
            assert entity.label in card.labels
        for relation in example.gold.relations:
            assert relation.label in card.labels
            assert example.arguments[relation.head]
            assert example.arguments[relation.tail]
        if card.form == "extractive":
            assert example.gold.text in example.text
            assert example.gold.text == example.gold.text.strip() != ""
        elif card.form == "choice" or card.type == "nli":
            assert 0 <= example.gold.choice < len(example.choices or card.labels)


def test_gold_written_as_text_reads_back_as_gold_and_nearly_always_fits_the_answer_limit(name):
    card, words = catalogue.get(name).card, []
    for example in all_examples(name):
        target = render_target(card, example)
        read = parse(card, example, target)
        assert (read.answer, read.unparseable, read.ungrounded) == (example.gold, False, 0)
        words.append(len(target.split()))
    words.sort()
    assert 1.5 * words[len(words) * 99 // 100] <= card.max_answer_tokens


def test_each_label_occurs_and_choices_can_be_told_apart(name):
    card = catalogue.get(name).card
    examples = all_examples(name)
    used = {item.label for e in examples for item in (*e.gold.entities, *e.gold.relations)}
    if card.type == "nli" or (card.form == "choice" and card.labels):
        used = {card.labels[e.gold.choice] for e in examples}
    assert used == set(card.labels)
    if card.form == "extractive":
        assert candidates(card, examples[0]) is None
    elif card.form == "choice":
        assert all(len(candidates(card, e)) == len(e.choices or card.labels) for e in examples)


def test_the_headline_is_the_one_of_the_tasks_type(name):
    task = catalogue.get(name)
    assert task.headline == HEADLINES[task.card.type, task.card.form]


# Traps of single tasks, and whole corpora before anything is dropped or windowed.


def test_windows_give_their_document_back():
    for name in ("bc5cdr_ner", "biored_ner", "ncbi_disease"):
        task, loaded = catalogue.get(name), catalogue.load(name)
        for split, file in zip(SPLITS, task.files, strict=True):
            texts = {f"pmid:{d.id}": d.text for d in pubtator.read(Path(MIRROR) / file, Notes())}
            for example in loaded[split]:
                end = example.offset + len(example.text)
                assert texts[example.document][example.offset : end] == example.text
            words = {document: [] for document in texts}
            for example in loaded[split]:
                words[example.document] += example.text.split()
            assert words == {document: text.split() for document, text in texts.items()}


@pytest.mark.parametrize(
    ("task", "wanted"),
    [  # BioRED's are measured here
        ("bc5cdr_ner", {"Chemical": 15_935, "Disease": 12_850}),
        ("biored_ner", {"GeneOrGeneProduct": 6_697, "DiseaseOrPhenotypicFeature": 5_545, "ChemicalEntity": 4_429}),
    ],
)
def test_corpora_have_their_mentions_of_each_type(task, wanted):
    files = [Path(MIRROR) / file for file in catalogue.get(task).files]
    found = [mention.label for file in files for d in pubtator.read(file, Notes()) for mention in d.mentions]
    assert {label: found.count(label) for label in wanted} == wanted


def test_ncbi_has_6892_mentions_counting_the_repeated_abstract():
    task = catalogue.get("ncbi_disease")
    train = (Path(MIRROR) / task.files[0]).read_text(encoding="utf-8")
    repeated = train.split("8528200|a|")[2].split("\n\n")[0].count("8528200\t")
    assert sum(COUNTS["ncbi_disease"]["gold"]) + repeated == 6_892


def test_bc5cdr_has_3116_interactions():
    assert sum(COUNTS["bc5cdr_cid"]["gold"]) == 3_116


def test_phee_has_5019_events():
    fields = {"annotations": list}
    files = [Path(MIRROR) / file for file in catalogue.get("phee").files]
    records = [record for file in files for record in json_files.read_jsonl(file, fields, Notes())]
    assert sum(len(a["events"]) for record in records for a in record["annotations"]) == 5_019


def test_phee_argument_keys_give_their_form_unless_it_is_discontinuous():
    differing = 0
    for example in all_examples("phee"):
        for key, forms in example.arguments.items():
            start, end = map(int, key.partition("#")[0].split(":"))
            differing += example.text[start:end] != forms[0]
    assert 0 < differing < 501


def test_headqa_has_five_options_in_train_and_four_elsewhere():
    loaded = catalogue.load("headqa")
    found = [{len(example.choices) for example in loaded[split]} for split in SPLITS]
    assert found == [{5}, {4}, {4}]


def test_pubmedqas_official_test_set_has_its_published_answers():
    answers = [example.gold.choice for example in catalogue.load("pubmedqa").test]
    assert [answers.count(choice) for choice in range(3)] == [276, 169, 55]


def test_check_covid_never_gives_one_input_two_labels():
    inputs = {}
    for example in all_examples("check_covid"):
        inputs.setdefault((example.text, example.fields), set()).add(example.gold.choice)
    assert max(map(len, inputs.values())) == 1


def test_documents_that_sources_share_with_targets_are_known():
    """The mixture drops these from the sources (`leaks.without`)."""
    held = {example.document for name in TARGETS for example in catalogue.load(name).test}
    shared = {}
    for name in set(catalogue.names()) - set(TARGETS):
        loaded = catalogue.load(name)
        overlap = {e.document for split in ("train", "dev") for e in loaded[split]} & held
        if overlap:
            shared[name] = len(overlap)
        apart = leaks.without(loaded, leaks.Held(documents=held))
        assert not {e.document for e in (*apart.train, *apart.dev)} & held
    assert shared == {"bc5cdr_cid": 1, "bc5cdr_ner": 1, "biored_ner": 1, "biored_re": 1, "ddi": 1}
