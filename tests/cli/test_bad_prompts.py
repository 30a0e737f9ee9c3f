"""`inspect` and `predict` say the same one sentence about a well-sealed prompt file with something odd in it."""

from __future__ import annotations

import copy
import json
import signal
import time

import pytest
import torch
from safetensors.torch import save_file

from mpdd.cli import insistent
from tests.prompts.test_header import ODD, good, rows, seal

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
