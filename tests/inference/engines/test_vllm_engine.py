"""The vLLM engine answers as the backbone in this process does, and is honest when its server is not there."""

from __future__ import annotations

import importlib.util
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from mpdd.backbone import vocabulary
from mpdd.data.task import Answer, Example, TaskCard
from mpdd.errors import InputError, MpddError
from mpdd.inference.decoding.priors import Priors
from mpdd.inference.engines import EngineDownError
from mpdd.inference.engines.local import Local
from mpdd.inference.engines.placeholders import placeholder_ids
from mpdd.inference.engines.vllm import Vllm
from mpdd.inference.predict import Request
from mpdd.prompts.store import Header, save_prompt

_spec = importlib.util.spec_from_file_location("fake_vllm", Path(__file__).with_name("fake_vllm.py"))
fake_vllm = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake_vllm)

CARDS = (
    TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=12),
    TaskCard("says", "nli", "Does the text say so?", labels=("yes", "no", "not said"), fields=("Hypothesis",)),
    TaskCard("picks", "qa", "Choose.", fields=("Question",)),
)


@pytest.fixture
def server(tiny_folder, tiny):
    made = fake_vllm.FakeVllm(AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval(), tiny.end)
    yield made
    made.close()


@pytest.fixture
def engine(server, tiny_folder):
    made = Vllm(server.url, vocabulary.load(str(tiny_folder)), rows=4, patience=0.0)
    yield made
    made.close()


def requests(tiny, count=12):
    found = []
    for number in range(count):
        card = CARDS[number % len(CARDS)]
        fields = tuple((name, f"fever {number}") for name in card.fields)
        choices = ("aspirin", "none of them", f"{number} two") if card.name == "picks" else ()
        example = Example(str(number), str(number), "aspirin and cough. " * (1 + number % 5), Answer(), fields, choices)
        prompt = torch.randn(1 + number % 4, tiny.width, generator=torch.Generator().manual_seed(number)) if number % 5 else None
        found.append(Request(card, example, prompt))
    return found


def test_the_same_answers_as_in_this_process(tiny, engine):
    asked, ticks = requests(tiny), []
    ours, theirs = Local(tiny).predict(asked), engine.predict(asked, tick=ticks.append)
    assert [p.output for p in theirs] == [p.output for p in ours]
    assert [p.parsed for p in theirs] == [p.parsed for p in ours]
    assert [p.confidence for p in theirs] == pytest.approx([p.confidence for p in ours], rel=1e-4)
    assert sum(ticks) == len(asked)


def test_each_prompt_has_its_own_salt(tiny, engine, server):
    engine.predict(requests(tiny, 3))
    salts = {body["prompt_embeds"]: body["cache_salt"] for body in server.seen}
    assert len(set(salts.values())) == 3
    assert all(body["temperature"] == 0 for body in server.seen)


def test_a_server_on_the_same_model_passes_the_check(engine):
    assert engine.ready()
    engine.check()


def test_another_model_is_found_out(server, tmp_path, tiny_folder):
    other = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    torch.manual_seed(1)
    with torch.no_grad():
        other.get_input_embeddings().weight.normal_()
    other.save_pretrained(tmp_path)
    for path in tiny_folder.glob("token*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="runs another model than the backbone; found served; wanted"):
        Vllm(server.url, vocabulary.load(str(tmp_path))).check()


def test_a_server_that_takes_no_rows_is_told_how_to_start(engine, server):
    server.takes_rows = False
    with pytest.raises(InputError, match="takes no soft prompts; found status 400; wanted a server started with --enable-pro"):
        engine.check()


def test_what_a_server_says_of_a_refused_request_is_not_repeated(tiny, engine, server):
    server.takes_rows = False
    with pytest.raises(MpddError) as caught:
        engine.predict(requests(tiny, 1))
    assert str(caught.value) == "The vLLM server refuses a request with status 400."


def test_no_server(tiny_folder, tiny):
    engine = Vllm("http://127.0.0.1:9", vocabulary.load(str(tiny_folder)))
    assert not engine.ready()
    with pytest.raises(EngineDownError) as caught:
        engine.check()
    assert str(caught.value) == "There is no vLLM server at http://127.0.0.1:9: nothing can be reached there."
    with pytest.raises(EngineDownError):
        engine.predict(requests(tiny, 1))


def test_a_server_that_is_down_is_waited_for(tiny, tiny_folder, server):
    patient = Vllm(server.url, vocabulary.load(str(tiny_folder)), patience=20.0)
    asked = requests(tiny, 3)
    wanted = patient.predict(asked)
    server.down = True
    assert not patient.ready()
    threading.Thread(target=lambda: (time.sleep(0.5), setattr(server, "down", False))).start()
    assert patient.predict(asked) == wanted


def test_one_without_patience_says_so(tiny, engine, server):
    engine.predict(requests(tiny, 1))
    server.down = True
    with pytest.raises(EngineDownError, match="does not answer"):
        engine.predict(requests(tiny, 1))


@pytest.mark.parametrize(("none", "stop"), [(50.0, 0.0), (-50.0, 3.0), (0.5, -2.0)])
def test_priors_of_answers_are_applied_as_in_this_process(tiny, engine, none, stop):
    priors = {"drugs": Priors(none, stop), "says": Priors(classes=(0.0, 3.0, -1.0)), "picks": None}
    asked = [replace(request, priors=priors[request.card.name]) for request in requests(tiny, 6)]
    ours, theirs = Local(tiny).predict(asked), engine.predict(asked)
    assert [p.output for p in theirs] == [p.output for p in ours]
    assert all(p.output.startswith("none") for p in ours if p.tokens) is (none == 50.0)


# Deep prompts, whose keys and values the server has


def deep_requests(tiny):
    rows = torch.randn(5, tiny.depth * tiny.width, generator=torch.Generator().manual_seed(1))
    return [replace(request, prompt=rows, digest="d" * 64) for request in requests(tiny, 6)], rows


def test_deep_prompts_that_the_server_has_answer_as_in_this_process(tiny, engine, server):
    asked, rows = deep_requests(tiny)
    ids = placeholder_ids(tiny, "d" * 64, len(rows))
    server.prompts[tuple(ids)] = rows, "d" * 64
    mixed = [request for pair in zip(asked, requests(tiny, 6), strict=True) for request in pair]
    ours, theirs = Local(tiny).predict(mixed), engine.predict(mixed)
    assert [p.output for p in theirs] == [p.output for p in ours]
    assert [p.confidence for p in theirs] == pytest.approx([p.confidence for p in ours], rel=1e-4)
    by_ids = [body for body in server.seen if "prompt" in body]
    assert all(body["prompt"][:5] == ids and body["cache_salt"] == "d" * 64 for body in by_ids)
    assert 0 < len(by_ids) < len(server.seen)


def test_a_deep_prompt_that_the_server_does_not_have_is_never_answered_without(tiny, engine, server, tmp_path):
    asked, rows = deep_requests(tiny)
    missing = "does not have the deep prompt; found none with the digest dddddddddddd; .*`mpdd export --to vllm-kv`"
    with pytest.raises(InputError, match=missing):
        engine.predict(asked[:1])
    server.prompts[tuple(placeholder_ids(tiny, "d" * 64, len(rows)))] = rows, "e" * 64
    with pytest.raises(InputError, match=missing):
        engine.predict(asked[:1])
    header = Header("soft", tiny.name, tiny.fingerprint, *rows.shape, card=CARDS[0], depth="all")
    prompt = save_prompt(tmp_path / "deep.safetensors", {"rows": rows}, header)
    with pytest.raises(InputError, match="does not have the deep prompt deep.safetensors; found none with the digest"):
        engine.require_prompt(prompt)
    with pytest.raises(InputError, match="does not have the deep prompt"):
        engine.predict([replace(asked[0], digest="")])
    server.prompts[tuple(placeholder_ids(tiny, prompt.header.digest, len(rows)))] = rows, prompt.header.digest
    engine.require_prompt(prompt)
    Local(tiny).require_prompt(prompt)
