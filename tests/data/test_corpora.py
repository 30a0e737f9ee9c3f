"""Traps of the brat, CoNLL, XML and marked-up corpora, each checked against a second, plain reading of the real files."""

import ast
import json
import os
import re
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mpdd.data import catalogue
from mpdd.data.task import SPLITS, Parsed
from mpdd.data.tasks import maccrobat_ner
from mpdd.evaluation.metrics import score

MIRROR = Path(os.environ.get("MPDD_MIRROR") or Path(__file__).resolve().parents[3] / "shared" / "data")
SPAN = re.compile(r"T\d+\t\S+ (\d+) (\d+)\t(.*)")

NO_DATA = "no real data: ../shared/data is absent and MPDD_MIRROR is not set"
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not MIRROR.is_dir(), reason=NO_DATA)]


@pytest.fixture(autouse=True)
def mirror(monkeypatch):
    monkeypatch.setenv("MPDD_MIRROR", str(MIRROR))


def all_examples(name):
    loaded = catalogue.load(name)
    return [example for split in SPLITS for example in loaded[split]]


def annotations(name):
    """Return each annotation file's text by its stem, read without our reader."""
    path = MIRROR / catalogue.get(name).files[0]
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        contents = {file: archive.read(file) for file in archive.namelist() if file.endswith(".ann")}
    elif path.suffix == ".tar":
        archive = tarfile.open(path)  # noqa: SIM115
        contents = {member.name: archive.extractfile(member).read() for member in archive if member.name.endswith(".ann")}
    else:
        contents = {file: (MIRROR / file).read_bytes() for file in catalogue.get(name).files if file.endswith(".ann")}
    return {Path(file).stem: content.decode() for file, content in contents.items()}


@pytest.mark.parametrize("name", ["anatem", "chia_ner", "maccrobat_ner"])
def test_each_entity_has_the_wording_that_its_annotation_file_gives(name):
    given = {stem: set(map(re.Match.groups, SPAN.finditer(text))) for stem, text in annotations(name).items()}
    wordings = {stem: {(int(s), int(e)): " ".join(w.split()) for s, e, w in spans} for stem, spans in given.items()}
    compared = 0
    for example in all_examples(name):
        stem = example.id.partition(":")[2].rpartition("@")[0]
        for entity in example.gold.entities:
            wording = wordings[stem].get((entity.start + example.offset, entity.end + example.offset))
            if wording is not None:  # not trimmed, not joined from neighbouring fragments
                assert " ".join(example.text[entity.start : entity.end].split()) == wording
                compared += 1
    assert compared > 0.99 * sum(len(example.gold.entities) for example in all_examples(name))


@pytest.mark.parametrize(
    ("name", "documents", "mentions", "relations"),
    [("anatem", 1_212, 13_701, 0), ("maccrobat_ner", 200, 25_189, 16_307), ("pgxcorpus", 945, 6_761, 2_871)],
)
def test_brat_corpora_have_the_lines_of_their_kind(name, documents, mentions, relations):
    lines = [line for text in annotations(name).values() for line in text.splitlines()]
    assert len(annotations(name)) == documents
    assert [sum(line.startswith(kind) for line in lines) for kind in "TR"] == [mentions, relations]


def test_both_chia_tasks_cut_the_same_windows_in_the_same_way():
    first, second = catalogue.load("chia_ner"), catalogue.load("chia_re")
    for split in SPLITS:
        assert [(e.id, e.text) for e in first[split]] == [(e.id, e.text) for e in second[split]]
    assert len({example.document for example in all_examples("chia_ner")}) < 1_000  # a few have no text of their own


def test_pgxcorpus_arguments_may_be_discontinuous_and_nested():
    examples = all_examples("pgxcorpus")
    forms = [(example, key, form) for example in examples for key, (form, *_) in example.arguments.items()]
    assert sum(form not in example.text for example, _, form in forms) > 100
    places = [[tuple(map(int, key.partition("#")[0].split(":"))) for key in example.arguments] for example in examples]
    assert sum(a != b and a[0] <= b[0] and b[1] <= a[1] for keys in places for a in keys for b in keys) > 100


def test_neurotrialners_spans_say_the_same_as_its_python_lists_of_tags():
    for file in catalogue.get("neurotrialner").files:
        for record in json.loads((MIRROR / file).read_text(encoding="utf-8")):
            tags, tokens = ast.literal_eval(record["token_bio_labels"]), ast.literal_eval(record["tokens"])
            tagged = "\n".join(f"{tag[0]}{token}" for token, tag in zip(tokens, tags, strict=True))
            spans = re.findall(r"^B.*(?:\nI.*)*", tagged, re.MULTILINE)
            wordings = ["".join(re.sub(r"^[BI]", "", span, flags=re.MULTILINE).split()) for span in spans]
            assert wordings == ["".join(entity["text"].split()) for entity in record["entities"]]


def test_bionlp13cg_entities_are_the_tagged_tokens():
    for split, file in zip(SPLITS, catalogue.get("bionlp13cg").files, strict=True):
        tagged = re.findall(r"^(\S+)\t[BI]-", (MIRROR / file).read_text(encoding="utf-8"), re.MULTILINE)
        examples = catalogue.load("bionlp13cg")[split]
        assert [w for e in examples for x in e.gold.entities for w in e.text[x.start : x.end].split()] == tagged


def test_ddi_counts_are_the_published_ones():
    archive = zipfile.ZipFile(MIRROR / catalogue.get("ddi").files[0])
    for folder, documents, pairs, untyped in (("Train/", 714, 27_792, 1), ("Test for DDI Extraction task/", 191, 5_716, 0)):
        files = [file for file in archive.namelist() if folder in file and file.endswith(".xml")]
        text = "".join(archive.read(file).decode() for file in files)
        assert (len(files), text.count("<pair ")) == (documents, pairs)
        assert text.count('ddi="true"') - len(re.findall(r'type="(?:effect|mechanism|advise|int)"', text)) == untyped


def test_chemprot_keeps_every_pair_and_no_mark():
    rows = {}
    for split, file in zip(SPLITS, catalogue.get("chemprot").files, strict=True):
        lines = (MIRROR / file).read_text(encoding="utf-8").splitlines()
        rows[split] = [re.sub(r"<< | >>|\[\[ | \]\]", "", json.loads(line)["text"]) for line in lines]
    examples, notes = all_examples("chemprot"), catalogue.load("chemprot").notes
    repeated = [text for text in rows["train"] if text in set(rows["test"])]
    gold = sum(len(example.gold.relations) for example in examples)
    assert len(repeated) == 4
    assert gold + notes["repeated relations"] + len(repeated) == sum(map(len, rows.values())) == 10_065
    assert not any("[[ " in example.text or "<< " in example.text for example in examples)
    for example in examples:
        for key, forms in example.arguments.items():
            start, end = map(int, key.split(":"))
            assert example.text[start:end] == forms[0]


def test_maccrobats_coarse_labels_group_all_others_and_score_like_them():
    card = maccrobat_ner.TASK.card
    assert len(card.labels) == 41
    assert set(maccrobat_ner.COARSE) == set(card.labels)
    assert set(maccrobat_ner.COARSE.values()) == set(maccrobat_ner.GROUPS)
    examples = [replace(e, gold=maccrobat_ner.coarse(e.gold)) for e in catalogue.load("maccrobat_ner").test]
    scored = score(card, examples, [Parsed(example.gold) for example in examples])
    lost = sum(example.lost for example in examples)
    entities = sum(len(example.gold.entities) for example in examples)
    assert scored.values["strict_f1"] == pytest.approx(200 * entities / (2 * entities + lost))
