"""A federation of two sites in one process: what it averages, what travels, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("flwr")  # in the extra mpdd[federated]; see docs/scaling.md for how to run these

from mpdd.errors import InputError, MpddError
from mpdd.experiment import config, pipeline
from mpdd.experiment.setup import Run
from mpdd.experiment.sources import distil_sources, teach_sources
from mpdd.federated import private_rounds, site, travelling
from mpdd.federated.federation import Federation
from mpdd.federated.here import federate_here
from mpdd.federated.site import Turn
from mpdd.methods.options import Privacy
from mpdd.progress import Silent
from mpdd.prompts.store import load_prompt
from mpdd.training.private import spent
from tests.data.refusals import SECRET


def federation(world, **changes):
    return Federation(**{**world.federation, **changes})


def metaprompt(folder):
    return load_prompt(folder / "prompts" / "metaprompt.safetensors")


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
    run = Run.open(config.read(path), tmp_path / "plain", Silent(), "")
    plain = distil_sources(run, teach_sources(run))
    ours = metaprompt(tmp_path / "out/site-1")
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(ours.tensors[name], tensor, rtol=0, atol=0)


def test_rounds_draw_other_examples_and_alone_never_get_worse(world, tmp_path, monkeypatch):
    seeds, honest = [], site.distil

    def watched(*args, **options):
        seeds.append((options["seed"], args[4].steps, round(options["lr_shared"], 6)))
        return honest(*args, **options)

    monkeypatch.setattr(site, "distil", watched)
    path = world.site("a", distil={"steps": 7, "lr_shared": 0.02})
    grid = federate_here(federation(world, rounds=2, sites=1), [path], tmp_path / "out")
    assert seeds == [(0, 3, 0.02), (site.SEEDS_APART, 4, 0.01)]
    first, last = (m.content.metric_records["metrics"]["dev-loss"] for m in replies(grid, "evaluate"))
    assert last <= first


def test_factors_go_on_beside_the_prompt_that_they_were_fitted_to(world, tmp_path):
    """In the same run whatever the average, and in a later run that starts from this very one; else they start anew."""
    here = site.Site.open(world.site("a"), tmp_path / "a", Silent())
    shared = here.train(torch.randn(4, 32, generator=torch.Generator().manual_seed(0)), Turn("1", 1, 2))
    fitted = here._metaprompt(shared, Turn("1", 1, 2)).v
    assert not torch.equal(fitted, torch.ones_like(fitted))
    here.settle(average := shared + 0.1, Turn("1", 1, 2))
    assert torch.equal(here._metaprompt(average + 1, Turn("1", 2, 2)).v, fitted)
    assert torch.equal(here._metaprompt(average, Turn("2", 1, 2)).v, fitted)
    assert torch.equal(here._metaprompt(average + 1, Turn("2", 1, 2)).v, torch.ones_like(fitted))


def test_a_federation_starts_from_the_metaprompt_of_another(world, tmp_path):
    """Without the backbone's weights at the server: the one that its file names is not there."""
    sites = [world.site("a"), world.site("b")]
    federate_here(federation(world, rounds=1), sites, tmp_path / "one")
    start, site_free = tmp_path / "one/prompts/metaprompt.safetensors", {"backbone": "nowhere", "rounds": 1}
    site.opened.cache_clear()
    federate_here(federation(world, **site_free, start=str(start)), sites, tmp_path / "two")
    assert metaprompt(tmp_path / "two").header.fingerprint == load_prompt(start).header.fingerprint
    with pytest.raises(
        InputError, match="another shape than the federation.*found length 4, rank 1, depth input; wanted prompt.length 5"
    ):
        federate_here(federation(world, **site_free, start=str(start), prompt={"length": 5}), sites, tmp_path / "three")


def test_sites_that_agree_share_their_factors(world, tmp_path):
    sites = [world.site("a"), world.site("b")]
    federate_here(federation(world), sites, tmp_path / "out", [{"share-factors": True}, {}])
    joint, own = metaprompt(tmp_path / "out"), metaprompt(tmp_path / "out/site-1")
    assert joint.header.tasks == own.header.tasks == ("a-first", "a-second") and len(joint.header.kinds) == 2
    for name in ("shared", "u", "v"):
        assert torch.equal(joint.tensors[name], own.tensors[name])


@pytest.mark.parametrize("count", [2, 3])
def test_secure_aggregation_gives_the_same_average_and_shows_no_site_alone(world, tmp_path, count):
    sites = [world.site(name, examples) for name, examples in (("a", 20), ("b", 40), ("c", 30))[:count]]
    rounds = {"rounds": 1, "sites": count}
    plain = federate_here(federation(world, **rounds), sites, tmp_path / "plain")
    site.opened.cache_clear()
    secure = federation(world, **rounds, secure=True, most_examples=1000)
    grid = federate_here(secure, sites, tmp_path / "secure", [{"secure": True}] * count)
    ours, theirs = metaprompt(tmp_path / "secure").tensors["shared"], metaprompt(tmp_path / "plain").tensors["shared"]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-4)  # 16 / 2**22 for every step of the scale, over the weights' sum
    sent = replies(grid, "train")
    assert len(sent) == count * 4  # stages of the protocol
    assert not any(array for m in sent for array in m.content.array_records.values())
    masked = [m.content.config_records["secaggplus_configs"] for m in sent]
    assert sum("masked_params" in record for record in masked) == count
    assert len(replies(plain, "train")) == count


def test_a_site_may_insist_on_secure_aggregation(world, tmp_path):
    with pytest.raises(MpddError, match="^This site takes part with secure aggregation alone; found a federation without it.$"):
        federate_here(federation(world), [world.site("a"), world.site("b")], tmp_path / "out", [{"secure": True}, {}])


def test_a_folder_with_another_metaprompt_is_left_alone(world, tmp_path, capsys):
    path = world.site("a")
    run = Run.open(config.read(path), tmp_path / "out/site-1", Silent(), "")
    before = distil_sources(run, {}).path.read_bytes()
    with pytest.raises(MpddError, match="A site could not do its part"):
        federate_here(federation(world), [path, world.site("b")], tmp_path / "out")
    assert "holds a metaprompt that was not made in a federation" in capsys.readouterr().err
    assert (tmp_path / "out/site-1/prompts/metaprompt.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("numbers", "examples", "said"),
    [
        (1.0, 11, "more examples than secure aggregation can weigh; found 11; wanted at most 10"),
        (9.0, 10, "would cut; found 9.0"),
    ],
)
def test_what_secure_aggregation_would_cut_is_refused(numbers, examples, said):
    from mpdd.federated.federation import DisagreementError
    from mpdd.federated.travelling import trained

    with pytest.raises(DisagreementError, match=said):
        trained(torch.full((2, 3), numbers), examples, secure=True, most_examples=10)
    assert trained(torch.full((2, 3), numbers), examples, secure=False, most_examples=10)


def test_a_run_goes_on_from_the_metaprompt_of_a_site(world, tmp_path):
    """Stage 3 on the site's own targets, from what the federation made."""
    path = world.site("a", adapt={"steps": 1, "batch_size": 2, "every": 1, "mpdd": [0.01]}, limits={"test": 2})
    federate_here(federation(world, rounds=1), [path, world.site("b")], tmp_path / "out")
    (row,) = pipeline.run(config.read(path), tmp_path / "out/site-1", Silent())
    assert (row.method, row.target) == ("mpdd", "a-target")
    adapted = load_prompt(tmp_path / "out/site-1/prompts/a-target-mpdd-all-s0.safetensors")
    assert adapted.header.fingerprint == metaprompt(tmp_path / "out").header.fingerprint


def test_rows_before_every_layer_travel_as_well(world, tmp_path, tiny):
    deep = {"prompt": {"length": 4, "depth": "all"}}
    sites = [world.site(name, **deep) for name in ("a", "b")]
    federate_here(federation(world, rounds=1, **deep), sites, tmp_path / "out")
    joint = metaprompt(tmp_path / "out")
    assert joint.header.depth == "all" and joint.header.width > tiny.width
    assert joint.tensors["shared"].shape == (4, joint.header.width)


PRIVACY = {"epsilon": 8.0, "delta": 1e-3, "unit": "example"}


def guarantees(grid):
    return [json.loads(m.content.config_records["privacy"]["guarantee"]) for m in replies(grid, "evaluate")]


@pytest.mark.parametrize("secure", [False, True])
def test_what_each_site_spends_is_told_and_the_worst_stands_in_the_joint_header(world, tmp_path, secure):
    sites = [world.site("a", 20), world.site("b", 40)]
    grid = federate_here(federation(world, privacy=PRIVACY, secure=secure, most_examples=1000), sites, tmp_path / "out")
    by_round = guarantees(grid)
    assert len(by_round) == 4 and all(kept["unit"] == "example" for kept in by_round)
    for number, path in enumerate(sites, start=1):
        own = metaprompt(tmp_path / f"out/site-{number}").header.privacy
        part = site.opened(str(path), str(tmp_path / f"out/site-{number}"))
        assert own in by_round and own["units"] == part.examples and own["steps"] == 4
        assert own["epsilon"] == pytest.approx(spent(own["noise_multiplier"], 1e-3, own["sampling_rate"], 4))
        assert 7 < own["epsilon"] <= 8
        rounds = sorted(kept["epsilon"] for kept in by_round if kept["units"] == own["units"])
        assert rounds[0] < rounds[1] == own["epsilon"]  # epsilons grow from round to round
    joint = metaprompt(tmp_path / "out").header.privacy
    assert joint["epsilon"] == max(kept["epsilon"] for kept in by_round)
    assert joint["covers"].endswith("the largest epsilon of 2 sites") and "each example" in joint["covers"]


def test_patients_of_several_sources_are_one_unit(world, tmp_path):
    here = site.Site.open(world.site("a"), tmp_path / "a", Silent())
    privacy = Privacy(epsilon=8.0, delta=1e-3, unit="document")
    tasks = {name: here.run.tasks[name] for name in here.run.sources}
    shared = tuple(replace(example, document="one patient") for example in tasks["a-first"].train[:3])
    first = replace(tasks["a-first"], train=(*shared, *tasks["a-first"].train[3:]))
    moved = tuple(replace(example, document="one patient") for example in tasks["a-second"].train)
    run = replace(here.run, tasks={**here.run.tasks, "a-first": first, "a-second": replace(tasks["a-second"], train=moved)})
    private = private_rounds.units_of(run, privacy)
    largest = max(private.units, key=len)
    assert {row.task for row in largest} == {"a-first", "a-second"} and len(largest) == 3 + len(moved)
    assert private.guarantee.units == len(private.units)


def test_rounds_with_privacy_are_noisy_and_look_at_no_dev_example(world, tmp_path, monkeypatch):
    """Two runs of one seed differ, and the factors of a run without privacy are not gone on with."""
    path = world.site("a")
    here = site.Site.open(path, tmp_path / "a", Silent())
    start, privacy = torch.randn(4, 32, generator=torch.Generator().manual_seed(0)), Privacy(**PRIVACY)
    first = here.train(start, Turn("1", 1, 2), privacy)
    factors = metaprompt(tmp_path / "a").tensors["v"]
    again = here.train(start, Turn("1", 1, 2), privacy)
    assert not torch.equal(first, again) and not torch.equal(factors, metaprompt(tmp_path / "a").tensors["v"])
    here.train(start, Turn("1", 1, 2))
    assert not metaprompt(tmp_path / "a").header.privacy
    seen = []
    monkeypatch.setattr(site, "train_privately", lambda _run, _private, meta, *_, **__: seen.append(meta.v.detach().clone()))
    here.train(start, Turn("1", 2, 2), privacy)
    assert torch.equal(seen[0], torch.ones_like(seen[0]))


@pytest.mark.parametrize(
    ("asked", "options", "node", "message"),
    [
        (None, {}, {"epsilon": 3.0}, r"privacy alone; found a federation without it; wanted epsilon 3 or less\."),
        (PRIVACY, {}, {"epsilon": 3.0}, r"privacy alone; found epsilon 8; wanted epsilon 3 or less\."),
        (PRIVACY, {"hidden": 0.5}, {}, r"differential privacy as it is set; found distil.hidden 0.5; wanted 0\."),
    ],
)
def test_a_site_takes_part_with_the_privacy_that_it_wants(world, tmp_path, asked, options, node, message):
    sites = [world.site("a", distil=options), world.site("b")]
    with pytest.raises(MpddError, match=message):
        federate_here(federation(world, privacy=asked), sites, tmp_path / "out", [node, {}])


def test_a_site_that_keeps_less_ends_the_run(world, tmp_path, monkeypatch):
    honest = site.spent_after
    monkeypatch.setattr(site, "spent_after", lambda *given: {**honest(*given), "epsilon": 50.0})
    with pytest.raises(MpddError, match="A site kept less privacy than the federation asks; found epsilon 50"):
        federate_here(federation(world, privacy=PRIVACY), [world.site("a"), world.site("b")], tmp_path / "out")
    monkeypatch.undo()
    settled = travelling.settled
    monkeypatch.setattr(travelling, "settled", lambda loss, examples, _: settled(loss, examples, {}))
    site.opened.cache_clear()
    with pytest.raises(MpddError, match="0 of 2 sites say which privacy they kept"):
        federate_here(federation(world, privacy=PRIVACY), [world.site("a"), world.site("b")], tmp_path / "other")
