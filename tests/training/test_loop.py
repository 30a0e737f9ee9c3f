"""The loop: it minimises, keeps the best state, and resumes exactly."""

from __future__ import annotations

import pytest
import torch

from mpdd.errors import MpddError
from mpdd.training.loop import Group, Plan, fit


def problem():
    """A small regression with its own data for every step."""
    weight = torch.nn.Parameter(torch.zeros(4))
    goal = torch.tensor([1.0, -2.0, 0.5, 3.0])

    def losses(step):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        return {"loss": (x @ (weight - goal)).square().mean()}

    return weight, losses, lambda: (weight - goal).square().sum().item()


def test_minimises_and_logs():
    weight, losses, validate = problem()
    lines = []
    fitted = fit([Group({"w": weight}, 0.1)], losses, Plan(60, 16, 20), validate=validate, log=lines.append)
    assert fitted.best_dev < 0.1
    assert validate() == pytest.approx(fitted.best_dev)
    assert [line["step"] for line in lines] == [0, 20, 40, 60]
    assert fitted.examples == 960


def test_never_ends_worse_than_it_began():
    weight, losses, validate = problem()
    with torch.no_grad():
        weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    fitted = fit([Group({"w": weight}, 5.0)], lambda s: {"loss": -losses(s)["loss"]}, Plan(10, 1, 5), validate=validate)
    assert fitted.best_step == 0
    assert validate() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("stop_after", [1, 4, 5, 9, 11])
def test_a_stopped_run_ends_where_an_unbroken_one_does(tmp_path, stop_after):
    whole, losses, validate = problem()
    expected = fit([Group({"w": whole}, 0.1)], losses, Plan(12, 1, 4), validate=validate)

    class StopError(Exception):
        pass

    broken, losses, validate = problem()
    done = 0

    def stopping(step):
        nonlocal done
        done += 1
        if done > stop_after:
            raise StopError
        return losses(step)

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(StopError):
        fit([Group({"w": broken}, 0.1)], stopping, Plan(12, 1, 4), validate=validate, checkpoint=path)
    fresh, losses, validate = problem()
    steps = []
    resumed = fit(
        [Group({"w": fresh}, 0.1)],
        lambda s: steps.append(s) or losses(s),
        Plan(12, 1, 4),
        validate=validate,
        checkpoint=path,
    )
    assert torch.equal(fresh, whole)
    assert resumed.best_dev == expected.best_dev
    assert resumed.best_step == expected.best_step
    assert steps[0] == stop_after // 4 * 4
    assert not path.exists()


def test_a_damaged_checkpoint_is_started_over(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"half a checkpoint")
    weight, losses, validate = problem()
    fit([Group({"w": weight}, 0.1)], losses, Plan(8, 1, 4), validate=validate, checkpoint=path)
    other, losses, validate = problem()
    fit([Group({"w": other}, 0.1)], losses, Plan(8, 1, 4), validate=validate)
    assert torch.equal(weight, other)


def test_a_loss_that_is_not_finite_is_said_so():
    weight, losses, validate = problem()
    with pytest.raises(MpddError, match="not finite at step 0"):
        fit([Group({"w": weight}, 0.1)], lambda s: {"loss": losses(s)["loss"] * float("nan")}, Plan(2, 1, 1), validate=validate)
