"""Tokens that the server takes, and refusals before anything is served."""

import re
import sys
import tomllib
from importlib import import_module

import pytest

from mpdd.serving.access import Tokens


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
    ],
)
def test_what_cannot_be_served_is_one_sentence(mpdd, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    ran = mpdd("serve", *arguments)
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
