"""A federation of two sites in one process: what it averages, what travels, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

pytest.importorskip("flwr")

from mpdd import config, pipeline
from mpdd.errors import MpddError
from mpdd.federated import site
from mpdd.federated.federation import Federation
from mpdd.federated.here import federate_here
from mpdd.progress import Silent
from mpdd.prompts.store import load
from tests.data.refusals import SECRET


def federation(world, **changes):
    return Federation(**{**world.federation, **changes})


def metaprompt(folder):
    return load(folder / "prompts" / "metaprompt.safetensors")


@pytest.fixture(autouse=True)
def fresh():
    site.opened.cache_clear()


def replies(grid, kind):
    """In the order of the sites, which are asked in any order."""
    found = [message for message in grid.passed if message.metadata.message_type == kind]
    return sorted(found, key=lambda message: message.metadata.src_node_id)


def test_the_average_is_that_by_hand(world, tmp_path):
    sites = [world.site("a", 20), world.site("b", 40)]
    grid = federate_here(federation(world, rounds=1), sites, tmp_path / "out")
    first, second = replies(grid, "train")
    weights = [m.content.metric_records["metrics"]["num-examples"] for m in (first, second)]
    assert weights[0] < weights[1] and weights[0] == site.opened(str(sites[0]), str(tmp_path / "out/site-1")).examples
    found = [m.content.array_records["arrays"]["shared"].numpy() for m in (first, second)]
    assert not np.allclose(*found)
    by_hand = (weights[0] * found[0] + weights[1] * found[1]) / sum(weights)
    joint = metaprompt(tmp_path / "out")
    np.testing.assert_allclose(joint.tensors["shared"].numpy(), by_hand, rtol=1e-6, atol=1e-7)
    for number in (1, 2):
        own = metaprompt(tmp_path / f"out/site-{number}")
        assert torch.equal(own.tensors["shared"], joint.tensors["shared"])
        assert not torch.equal(own.tensors["v"], torch.ones_like(own.tensors["v"]))  # its factors were trained, and stayed


def test_the_shared_prompt_alone_travels(world, tmp_path):
    grid = federate_here(federation(world), [world.site("a"), world.site("b")], tmp_path / "out")
    held = {(m.metadata.message_type, name, key) for m in grid.passed for name, record in m.content.items() for key in record}
    assert held == {
        ("train", "arrays", "shared"),
        ("train", "metrics", "num-examples"),
        ("evaluate", "metrics", "num-examples"),
        ("evaluate", "metrics", "dev-loss"),
    }
    assert {m.content.array_records["arrays"]["shared"].numpy().shape for m in replies(grid, "train")} == {(4, 32)}
    for file in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        assert SECRET.encode() not in file.read_bytes()
    assert metaprompt(tmp_path / "out").header.tasks == ("federated",)
    rounds = json.loads((tmp_path / "out/rounds.json").read_text())
    assert [row["round"] for row in rounds] == [1, 2]


def test_a_message_with_more_is_stopped(world, tmp_path, monkeypatch, capsys):
    from flwr.app import Array

    from mpdd.federated import travelling

    honest = travelling.trained

    def leaking(shared, *args, **kwargs):
        content = honest(shared, *args, **kwargs)
        content.array_records["arrays"]["notes"] = Array(np.zeros(3))
        return content

    monkeypatch.setattr(travelling, "trained", leaking)
    with pytest.raises(MpddError, match="A site could not do its part; its own log says why"):
        federate_here(federation(world), [world.site("a"), world.site("b")], tmp_path / "out")
    assert "held more than prompts, and was stopped: train, arrays" in capsys.readouterr().err


def test_the_words_of_an_unforeseen_error_stay_at_the_site(world, tmp_path, monkeypatch):
    def failing(*_):
        raise ValueError(f"could not read {SECRET}")

    monkeypatch.setattr("mpdd.federated.site.Site.train", failing)
    with pytest.raises(MpddError, match="^A site could not do its part; its own log says why.$"):
        federate_here(federation(world), [world.site("a"), world.site("b")], tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "backbone",
            r"This site does not fit .*; found backbone \w{12}, width 64; wanted backbone \w{12}, width 32\.",
        ),
        ("length", r"This site does not fit the federation; found prompt.length 5; wanted prompt.length 4\."),
        ("steps", r"This site has fewer steps than the federation has rounds; found distil.steps 1; wanted 2 or more\."),
    ],
)
def test_a_site_that_does_not_fit_is_refused_in_one_sentence(world, tmp_path, change, said):
    from tests.conftest import make_model

    other = {
        "backbone": lambda: {"backbone": str(make_model(tmp_path / "other", seed=1, width=64))},
        "length": lambda: {"prompt": {"length": 5}},
        "steps": lambda: {"distil": {"steps": 1}},
    }[change]()
    with pytest.raises(MpddError, match=f"^{said}$"):
        federate_here(federation(world), [world.site("a"), world.site("b", **other)], tmp_path / "out")


def test_one_site_with_itself_in_one_round_is_plain_training(world, tmp_path, tiny):
    """Also with teachers: the shared prompt starts where fresh rows of the same seed do, and nothing is averaged with it."""
    path = world.site("a", distil={"kl": 0.5, "hidden": 0.5, "start": "fresh"}, teach={"steps": 2, "batch_size": 2, "every": 2})
    federate_here(federation(world, rounds=1, sites=1), [path], tmp_path / "out")
    run = pipeline.Run.open(config.read(path), tmp_path / "plain", Silent(), "")
    plain = pipeline.distil_sources(run, pipeline.teach_sources(run))
    ours = metaprompt(tmp_path / "out/site-1")
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(ours.tensors[name], tensor, rtol=0, atol=0)


def test_rounds_draw_other_examples_and_go_on_with_their_factors(world, tmp_path):
    path = world.site("a")
    federate_here(federation(world, rounds=1, sites=1), [path], tmp_path / "one")
    site.opened.cache_clear()
    grid = federate_here(federation(world, rounds=4, sites=1), [path], tmp_path / "four")
    first, *_, last = (m.content.metric_records["metrics"]["dev-loss"] for m in replies(grid, "evaluate"))
    assert last <= first  # alone, each round ends at its best state
    again = metaprompt(tmp_path / "four/site-1").tensors
    site.opened.cache_clear()
    start = str(tmp_path / "four/prompts/metaprompt.safetensors")
    grid = federate_here(federation(world, rounds=1, sites=1, start=start), [path], tmp_path / "more")
    assert torch.equal(load(tmp_path / "four/prompts/metaprompt.safetensors").tensors["shared"], again["shared"])


def test_sites_that_agree_share_their_factors(world, tmp_path):
    sites = [world.site("a"), world.site("b")]
    federate_here(federation(world), sites, tmp_path / "out", [{"share-factors": True}, {}])
    joint, own = metaprompt(tmp_path / "out"), metaprompt(tmp_path / "out/site-1")
    assert joint.header.tasks == own.header.tasks == ("a-first", "a-second") and len(joint.header.kinds) == 2
    for name in ("shared", "u", "v"):
        assert torch.equal(joint.tensors[name], own.tensors[name])


def test_secure_aggregation_gives_the_same_average_and_shows_no_site_alone(world, tmp_path):
    sites = [world.site("a", 20), world.site("b", 40)]
    plain = federate_here(federation(world), sites, tmp_path / "plain")
    site.opened.cache_clear()
    grid = federate_here(federation(world, secure=True, most_examples=1000), sites, tmp_path / "secure", [{"secure": True}] * 2)
    ours, theirs = metaprompt(tmp_path / "secure").tensors["shared"], metaprompt(tmp_path / "plain").tensors["shared"]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-3)
    sent = replies(grid, "train")
    assert len(sent) == 2 * 2 * 4  # rounds, sites, stages of the protocol
    assert not any(array for m in sent for array in m.content.array_records.values())
    masked = [m.content.config_records["secaggplus_configs"] for m in sent]
    assert sum("masked_params" in record for record in masked) == 4
    assert len(replies(plain, "train")) == 4


def test_a_site_may_insist_on_secure_aggregation(world, tmp_path):
    with pytest.raises(MpddError, match="^This site takes part with secure aggregation alone; found a federation without it.$"):
        federate_here(federation(world), [world.site("a"), world.site("b")], tmp_path / "out", [{"secure": True}, {}])


def test_a_folder_with_another_metaprompt_is_left_alone(world, tmp_path, capsys):
    path = world.site("a")
    run = pipeline.Run.open(config.read(path), tmp_path / "out/site-1", Silent(), "")
    before = pipeline.distil_sources(run, {}).path.read_bytes()
    with pytest.raises(MpddError, match="A site could not do its part"):
        federate_here(federation(world), [path, world.site("b")], tmp_path / "out")
    assert "holds a metaprompt that was not made in a federation" in capsys.readouterr().err
    assert (tmp_path / "out/site-1/prompts/metaprompt.safetensors").read_bytes() == before
