"""Tokens that the server takes, and refusals before anything is served."""

from __future__ import annotations

import json
import re
import socket
import sys
import tomllib
from importlib import import_module

import pytest

from mpdd.serving.access import Tokens
from tests.cli.conftest import SECRET


def test_a_made_token_is_one_that_the_server_knows(mpdd, tmp_path):
    ran = mpdd("token", "ward-3", "--tasks", "drugs, doses")
    assert ran.code == 0
    (entry,) = tomllib.loads(ran.out)["token"]
    assert (entry["name"], entry["tasks"]) == ("ward-3", ["drugs", "doses"])
    path = tmp_path / "tokens.toml"
    path.write_text(ran.out)
    path.chmod(0o600)
    made = re.search(r"shown only here: (\S+)", ran.err).group(1)
    assert Tokens.read(path).caller(made).may_use("doses") and made not in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prompts", "nowhere"), "There is no such folder of prompt files; found nowhere"),
        (("--prompts", ".", "--host", "0.0.0.0"), "Without a file of tokens only this machine is served; found --host 0.0.0.0"),
        (("--prompts", ".", "--tokens", "none.toml"), "There is no such file of tokens"),
        (("--prompts", ".", "--port", "TAKEN"), "found Address already in use; wanted a free port of this machine."),
        (("--prompts", ".", "--engine", "nonsense", "--port", "0"), "--engine is no address of a server; found nonsense"),
        (("--prompts", ".", "--signed-by", "bad.pub"), "bad.pub is not a public key"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(mpdd, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mpdd.backbone.model.load", lambda *_: pytest.fail("the backbone was loaded"))
    (tmp_path / "bad.pub").write_text("-----BEGIN PUBLIC KEY-----")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = mpdd("serve", *(port if argument == "TAKEN" else argument for argument in arguments))
    assert ran.code == 2 and said in ran.err and "Traceback" not in ran.err and len(ran.err.splitlines()) == 1


def test_grounded_answers_are_refused_where_a_server_writes_them(mpdd):
    ran = mpdd("serve", "--prompts", ".", "--grounded", "--engine", "http://127.0.0.1:9")
    assert ran.code == 2 and "A vLLM server writes freely; found --grounded with --engine" in ran.err


@pytest.mark.parametrize("library", ["uvicorn", "fastapi", "prometheus_client"])
def test_a_library_that_serving_lacks_is_named_before_the_backbone_is_loaded(mpdd, tmp_path, monkeypatch, library):
    monkeypatch.setattr("mpdd.serving", import_module("mpdd.serving"))  # put back at the end, as the modules below are
    for name in [name for name in sys.modules if name.split(".")[0] == library or name.startswith("mpdd.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)  # as where it is not installed
    monkeypatch.setattr("mpdd.inference.engines.open_engine", lambda *_, **__: pytest.fail("the backbone was loaded"))
    ran = mpdd("serve", "--prompts", tmp_path)
    assert (ran.code, ran.out) == (1, "") and len(ran.err.splitlines()) == 1
    assert "Serving needs more libraries; `pip install 'mpdd[serve]'` brings them." in ran.err


# `mpdd review`, and `--sort uncertain` of `predict` and `convert`.

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
