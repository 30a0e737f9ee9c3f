"""Traps of the public corpora, each checked against a second, plain reading of the real files."""

import ast
import csv
import json
import os
import re
import tarfile
import zipfile
from collections import Counter
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


# Questions, inference and summaries.


def upstream(name, file=0):
    return (MIRROR / catalogue.get(name).files[file]).read_text(encoding="utf-8")


def test_mmlu_has_each_subjects_published_number_of_test_questions_and_ten_more():
    # MIRAGE, which took the published archive, has 272 on professional medicine, and the same numbers elsewhere.
    found = Counter(example.id.split("/")[1] for example in catalogue.load("mmlu_medical").test)
    assert [found[name] for name in ("anatomy", "clinical_knowledge", "college_medicine", "medical_genetics")] == [
        135,
        265,
        173,
        100,
    ]
    assert (found["professional_medicine"], found["college_biology"], len(found)) == (282, 144, 9)


def test_medmcqa_takes_no_question_of_another_part_of_mirage():
    parts = json.loads(upstream("medmcqa"))
    found = [example.id.removeprefix("mirage-medmcqa:") for example in all_examples("medmcqa")]
    assert sorted(found) == sorted(parts["medmcqa"])
    assert not set(found) & {key for part in ("medqa", "pubmedqa", "mmlu", "bioasq") for key in parts[part]}


def test_covidqas_answers_and_windows_stand_in_their_articles():
    paragraphs = [p for article in json.loads(upstream("covidqa"))["data"] for p in article["paragraphs"]]
    contexts = {f"covidqa:{p['document_id']}": p["context"] for p in paragraphs}
    answers = {
        f"covidqa:{p['document_id']}/{number}": asked["answers"][0]
        for p in paragraphs
        for number, asked in enumerate(p["qas"], 1)
    }
    notes, found = catalogue.load("covidqa").notes, all_examples("covidqa")
    wrong = [a for name, a in answers.items() if not contexts[name.split("/")[0]].startswith(a["text"], a["answer_start"])]
    assert len(wrong) == notes["answers that stand elsewhere than at their offset"] == 234
    assert len(answers) == len(found) + notes["questions asked again"] + notes["answers across a window's edge"]
    for example in found:
        assert contexts[example.document].startswith(example.text, example.offset)
        assert example.gold.text == answers[example.id]["text"].strip()


def test_covidqas_answers_with_a_right_offset_stand_there_in_their_window():
    paragraphs = [p for article in json.loads(upstream("covidqa"))["data"] for p in article["paragraphs"]]
    asked = {
        f"covidqa:{p['document_id']}/{n}": (p["context"], q["answers"][0]) for p in paragraphs for n, q in enumerate(p["qas"], 1)
    }
    for example in all_examples("covidqa"):
        context, answer = asked[example.id]
        if context.startswith(answer["text"], answer["answer_start"]):
            assert example.offset <= answer["answer_start"] + len(answer["text"]) - len(answer["text"].lstrip())
            assert answer["answer_start"] + len(answer["text"].rstrip()) <= example.offset + len(example.text)


def test_evidence_inferences_answers_are_those_of_its_annotators():
    rows = csv.DictReader(upstream("evidence_inference", 1).splitlines(keepends=True))
    words = {(r["PromptID"], " ".join(r["Annotations"].split())): r["Label"] for r in rows if r["Valid Label"] == "True"}
    labels = catalogue.get("evidence_inference").card.labels
    for example in all_examples("evidence_inference"):
        prompt = example.id.partition(":")[2].partition("/")[0]
        assert labels[example.gold.choice].startswith(words[prompt, " ".join(example.text.split())])  # or "increase"


def test_nli4cts_splits_share_no_trial_and_its_test_set_is_the_official_one():
    with zipfile.ZipFile(MIRROR / catalogue.get("nli4ct").files[0]) as archive:
        parts = [json.loads(archive.read(f"Complete_dataset/{name}.json")) for name in ("train", "dev", "Gold_test")]
    statements = {key: value for part in parts for key, value in part.items()}
    loaded, trials = catalogue.load("nli4ct"), {}
    for split in SPLITS:
        asked = [statements[example.id.removeprefix("nli4ct:")] for example in loaded[split]]
        trials[split] = {value[key] for value in asked for key in ("Primary_id", "Secondary_id") if key in value}
        for example, value in zip(loaded[split], asked, strict=True):
            assert ("Secondary trial, " in example.text) == (value["Type"] == "Comparison")
            assert catalogue.get("nli4ct").card.labels[example.gold.choice] == value["Label"].lower()
    assert not (trials["train"] & trials["dev"]) | (trials["train"] & trials["test"]) | (trials["dev"] & trials["test"])
    assert len(loaded.test) == len(parts[2]) == 500


def test_indianas_reports_are_all_different_and_no_impression_has_a_gap():
    found = all_examples("indiana_radiology")
    assert not any(re.search("XXX|__", example.gold.text) or "__" in example.text for example in found)
    plain = Counter(" ".join(re.findall("[a-z0-9]+", example.text.lower().replace("xxxx", " "))) for example in found)
    assert max(plain.values()) == 1
    assert any("XXXX" in example.text for example in found)


def test_primocks_dialogues_hold_every_word_of_both_transcripts():
    for example in all_examples("primock57"):
        said = Counter()
        for speaker in ("doctor", "patient"):
            path = MIRROR / "primock57" / "transcripts" / f"{example.id.partition(':')[2]}_{speaker}.TextGrid"
            texts = re.findall(r'text = "(.*)"', path.read_text(encoding="utf-8"))
            said += Counter(re.findall(r"\w+", re.sub("<[^>]*>", " ", " ".join(texts))))
        turns = [line.partition(": ") for line in example.text.split("\n")]
        assert {speaker for speaker, _, _ in turns} == {"Doctor", "Patient"}
        assert all(one[0] != next_one[0] for one, next_one in zip(turns, turns[1:], strict=False))
        assert Counter(re.findall(r"\w+", " ".join(text for _, _, text in turns))) == said
