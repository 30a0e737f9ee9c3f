"""The file of a federation, its command, and the app that Flower is given."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
import tomli_w

from mpdd.errors import InputError
from mpdd.federated.federation import Federation


@pytest.fixture
def mpdd(tmp_path):
    def mpdd(*arguments):
        command = [sys.executable, "-m", "mpdd", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return mpdd


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "name: missing"),
        ({"name": "x", "secure": True, "sites": 1}, "secure: a sum hides nothing with fewer than 2 sites"),
        (
            {"name": "x", "prompt": {"start": "text"}},
            "prompt: a federation has no text to start from, wanted start =",
        ),
        ({"name": "x", "round": 3}, "round: no such key, perhaps rounds"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, values, said):
    path = tmp_path / "federation.toml"
    path.write_text(tomli_w.dumps(values))
    with pytest.raises(InputError, match="federation.toml has 1 problem: ") as raised:
        Federation.read(path)
    assert said in str(raised.value)


def test_the_app_holds_the_federation_and_no_code(tmp_path):
    from mpdd.federated.federation import write_app

    federation = Federation(name="x", start="meta.safetensors", rounds=3)
    app = write_app(tmp_path, federation, tmp_path / "out")
    assert [path.name for path in app.iterdir()] == ["pyproject.toml"]
    settings = tomllib.loads((app / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert Federation.from_toml(settings["federation"]) == federation


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Who takes part is not clear; wanted the name of a SuperLink, or --here SITE.toml for every site."),
        (("link", "--here", "a.toml"), "Who takes part is not clear"),
        (("--here", "a.toml"), "Not all sites are here; found 1; wanted 2 (sites of federation.toml)."),
    ],
)
def test_a_wrong_command_is_one_sentence(mpdd, tmp_path, arguments, said):
    if "link" not in arguments and arguments:
        pytest.importorskip("flwr")
    (tmp_path / "federation.toml").write_text('name = "x"')
    ran = mpdd("federate", "federation.toml", *arguments)
    assert ran.returncode == 2 and said in ran.stderr and len(ran.stderr.splitlines()) == 1


def test_without_flower_one_sentence_says_what_to_install(tmp_path):
    (tmp_path / "federation.toml").write_text('name = "x"')
    code = (
        "import sys; sys.modules['flwr'] = None; sys.argv = ['mpdd', 'federate', 'federation.toml', 'link'];"
        "from mpdd.cli import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.strip() == "mpdd: A federation needs Flower; `pip install 'mpdd[federated]'` brings it."


def test_nothing_runs_while_flower_phones_home(monkeypatch):
    from mpdd.federated.federation import SILENCE, require_silence

    for name, value in SILENCE.items():
        monkeypatch.setenv(name, value)
    require_silence()
    monkeypatch.delenv("FLWR_TELEMETRY_ENABLED")
    with pytest.raises(InputError, match="phones home as it was started here; wanted the environment FLWR_TELEMETRY_ENABLED=0"):
        require_silence()
