"""Traps of the question, inference and summary sources, each checked against a second, plain reading of the real files."""

import csv
import json
import os
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from mpdd.data import catalogue
from mpdd.data.task import SPLITS

MIRROR = Path(os.environ.get("MPDD_MIRROR") or Path(__file__).resolve().parents[3] / "shared" / "data")

NO_DATA = "no real data: ../shared/data is absent and MPDD_MIRROR is not set"
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not MIRROR.is_dir(), reason=NO_DATA)]


@pytest.fixture(autouse=True)
def mirror(monkeypatch):
    monkeypatch.setenv("MPDD_MIRROR", str(MIRROR))


def all_examples(name):
    loaded = catalogue.load(name)
    return [example for split in SPLITS for example in loaded[split]]


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
