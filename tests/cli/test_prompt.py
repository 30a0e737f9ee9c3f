"""`mpdd prompt` as typed, prompt files with something odd in them, and interrupts."""

from __future__ import annotations

import copy
import json
import signal
import time

import pytest
import torch
from safetensors.torch import save_file

from mpdd.cli import insistent
from mpdd.cli.show import print_results
from mpdd.prompts.store import Header, save_prompt
from tests.prompts.test_header import ODD, good, rows, seal


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "drugs.safetensors"
    save_prompt(path, {"rows": torch.ones(3, 8)}, Header("soft", "any", "0" * 64, 3, 8, provenance={"seed": 7}))
    return path


def test_the_commands_sign_verify_and_strip(file, tmp_path, monkeypatch, mpdd):
    monkeypatch.chdir(tmp_path)
    assert mpdd("prompt", "new-key", "clinic").code == 0
    assert "is not signed" in mpdd("prompt", "verify", file, "--key", "clinic.pub").err
    assert mpdd("prompt", "sign", file, "--key", "clinic.key").code == 0
    assert mpdd("prompt", "verify", file, "--key", "clinic.pub").out == "drugs.safetensors is signed by clinic.pub\n"
    assert mpdd("prompt", "strip", file, "--out", "plain.safetensors").code == 0
    assert "plain.safetensors is there already" in mpdd("prompt", "strip", file, "--out", "plain.safetensors").err
    assert "wanted a name that ends in .safetensors" in mpdd("prompt", "strip", file, "--out", "plain").err
    assert not (tmp_path / "plain").exists()
    assert "There is no such prompt file" in mpdd("prompt", "verify", "none.safetensors", "--key", "clinic.pub").err
    (tmp_path / "folder").mkdir()
    assert "folder is no prompt file; found a folder; wanted one .safetensors" in mpdd("inspect", "folder").err


# Answers on a terminal: each kind on lines of its own, with what is wrong about it.

FINE = {"id": "n", "task": "t", "unparseable": False, "ungrounded": 0, "cut_characters": 0}
PLACED = {"start": 6, "end": 13, "text": "aspirin"}


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        ({"answer": "yes"}, ["yes"]),
        ({"answer": None, "unparseable": True}, ["None", "(the model's output could not be read in full)"]),
        ({"answer": PLACED}, ["6     13  aspirin"]),
        ({"labels": ["I10", "J45"]}, ["I10; J45"]),
        ({"labels": [], "ungrounded": 2}, ["none", "(2 named labels are not the task's and were left out)"]),
        ({"answer": PLACED | {"start": None, "end": None}, "ungrounded": 1}, ["aspirin", "(these words are not in the text)"]),
        (
            {"summary": "Well.", "cut_characters": 3},
            ["Well.", "(3 characters at the end did not fit the context and were not read)"],
        ),
        (
            {"entities": [PLACED | {"label": "Drug"}], "ungrounded": 2},
            ["6     13  Drug             aspirin", "(2 named items are not in the text and were left out)"],
        ),
    ],
)
def test_answers_are_printed(result, lines, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    print_results([FINE | result], as_json=False)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == ["n  t", *lines]


# Well-sealed prompt files with something odd in them: `inspect` and `predict` say the same one sentence.

CASES = ["null calibration", "a name that is a list", "half a surrogate pair in a label", "no labels", "a length below 0"]


@pytest.mark.parametrize("case", [*CASES, "a 0-dimensional tensor", "NaN"])
def test_inspect_and_predict_give_one_sentence(mpdd, place, tiny, case):
    values, tensor = copy.deepcopy(good(tiny)), rows(tiny)
    if case in ODD:
        (*outer, last), value = ODD[case]
        part = values
        for key in outer:
            part = part[key]
        part[last] = value
    elif case == "NaN":
        tensor[0, 0] = float("nan")
    else:
        tensor = torch.tensor(1.0)
    path = place / "odd.safetensors"
    if tensor.dim():
        seal(path, values, {"rows": tensor})
    else:  # its digest cannot be taken, and is not asked for
        save_file({"rows": tensor}, path, metadata={"mpdd": json.dumps({**values, "digest": "0"})})
    inspected, predicted = mpdd("inspect", path.name), mpdd("predict", path.name, "note.txt")
    for ran in (inspected, predicted):
        assert (ran.code, ran.out) == (2, "")
        assert len(ran.err.splitlines()) == 1 and "odd.safetensors" in ran.err and "Traceback" not in ran.err
    assert inspected.err == predicted.err


# An interrupt


class Swallows:
    """Python only prints what a destructor raises."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_a_destructor_swallows_comes_again():
    before = signal.getsignal(signal.SIGINT)
    passed_the_destructor = False
    with pytest.raises(KeyboardInterrupt), insistent():
        Swallows()
        passed_the_destructor = True
        time.sleep(20)
    assert passed_the_destructor
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_without_an_interrupt_nothing_changes():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    with insistent():
        pass
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == before
