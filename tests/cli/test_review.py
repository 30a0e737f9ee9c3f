"""`mpdd review`, and `--sort uncertain` of `predict` and `convert`."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import SECRET

NOTE = "aspirin and ibuprofen"


def answer(name, confidence, **more):
    entity = {"label": "Drug", "start": 0, "end": 7, "text": "aspirin", "confidence": confidence}
    plain = {"unparseable": False, "ungrounded": 0, "cut_characters": 0}
    return {"id": name, "task": "drugs", "entities": [entity], "confidence": confidence, **plain, **more}


@pytest.fixture
def answers(place):
    rows = [answer("n1", 0.9), answer("n2", 0.25), answer("n3", 0.5, unparseable=True, ungrounded=1)]
    (place / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "n.jsonl").write_text("".join(json.dumps({"id": row["id"], "text": NOTE}) + "\n" for row in rows))


def test_the_report_on_screen_and_as_json(mpdd, place, answers, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    ran = mpdd("review", "a.jsonl")
    assert ran.code == 0 and "aspirin" not in ran.out
    lines = [" ".join(line.split()) for line in ran.out.splitlines() if line.strip()]
    assert lines[0] == "3 answers to 3 notes"
    assert "drugs 3 0 55 % 1 (33.3 %) 1 (33.3 %) 0 (0.0 %)" in lines
    assert "drugs Drug 3 3 55 %" in lines
    assert lines[-3:] == ["n3 drugs not readable", "n2 drugs 25 %", "n1 drugs 90 %"]
    shown = mpdd("review", "a.jsonl", "--show-text", "--first", "1").out
    assert "n3" in shown and "n2" not in shown and "aspirin" in shown
    values = json.loads(mpdd("review", "a.jsonl", "--json").out)
    assert values["tasks"][0]["labels"] == {"Drug": {"items": 3, "answers": 3, "confidence": 0.55}}
    assert [doubt["id"] for doubt in values["least_certain"]] == ["n3", "n2", "n1"]


def test_convert_writes_the_least_certain_notes_first(mpdd, place, answers):
    ran = mpdd("convert", "a.jsonl", "n.jsonl", "--to", "label-studio", "--output", "ls", "--sort", "uncertain")
    assert ran.code == 0, ran.err
    tasks = json.loads((place / "ls" / "tasks.json").read_text())
    assert [task["data"]["note_id"] for task in tasks] == ["n3", "n2", "n1"]


def test_predict_shows_the_least_certain_notes_first(mpdd, place):
    texts = {"a": f"{SECRET} took aspirin.", "b": "Fever and cough.", "c": "No change in the dose of insulin."}
    (place / "three.jsonl").write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    files = ("short.safetensors", "drugs.safetensors", "three.jsonl", "--json")
    plain, ordered = (json.loads(mpdd("predict", *files, *options).out) for options in ((), ("--sort", "uncertain")))
    assert sorted(map(repr, plain)) == sorted(map(repr, ordered)) and len(plain) == 6
    least = {r["id"]: min(0.0 if o["unparseable"] else o["confidence"] for o in plain if o["id"] == r["id"]) for r in plain}
    assert [result["id"] for result in ordered][::2] == sorted(texts, key=least.__getitem__)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("review", "none.jsonl"), "There is no such file of answers; found none.jsonl"),
        (("predict", "drugs.safetensors", "note.txt", "--sort", "size"), "--sort; found size; wanted one of notes, uncertain."),
        (
            ("predict", "drugs.safetensors", "note.txt", "--sort", "uncertain", "--output", "o"),
            "--sort orders answers on the screen",
        ),
        (("convert", "a.jsonl", "n.jsonl", "--to", "html", "--output", "o", "--sort", "x"), "--sort; found x"),
    ],
)
def test_what_does_not_fit_is_one_sentence(mpdd, place, answers, arguments, message):
    ran = mpdd(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err and ran.err.count("\n") == 1 and not (place / "o").exists()
