"""The experiment files of Open-31 ask their questions under one set of conditions, and the documented variants can be read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mpdd.backbone.checkpoints import registry
from mpdd.backbone.vocabulary import EMBEDDED_METAPROMPT
from mpdd.data import catalogue
from mpdd.experiment import config, own_task
from mpdd.experiment.check import require_tasks
from mpdd.prompts.store import load_prompt

ROOT = Path(__file__).parents[2]
OPEN31 = config.read(ROOT / "experiments" / "open31.toml")
SMOLLM2 = config.read(ROOT / "experiments" / "open31-smollm2.toml")
METAPROMPT = config.read(ROOT / "experiments" / "open31-metaprompt.toml")
ABLATIONS = config.read(ROOT / "experiments" / "ablations.toml")
VARIANTS = re.findall(r"^variant (\S+-\S+) (.*)$", (ROOT / "experiments" / "ablations.sh").read_text("utf-8"), re.M)


def variant(options):
    words = shlex.split(options)
    assert words[::2] == ["--set"] * (len(words) // 2)
    return config.read(ROOT / "experiments" / "ablations.toml", words[1::2])


def changed(experiment, base=OPEN31):
    return {name for name, value in experiment if value != getattr(base, name)}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("fewshot", {"name", "methods", "shots", "seeds"}),
        ("alldata", {"name", "methods", "shots", "seeds", "adapt"}),
        ("open31-metaprompt", {"name", "methods", "metaprompt", "sources", "seeds", "rephrase_share", "compute", "distil"}),
        (
            "ablations",
            {"name", "methods", "metaprompt", "sources", "targets", "seeds", "rephrase_share", "compute", "teach", "distil"},
        ),
        ("open31-distil", {"name", "methods", "metaprompt", "sources", "seeds", "compute", "teach", "distil"}),
    ],
)
def test_the_conditions_are_those_of_the_comparison(name, own):
    experiment = config.read(ROOT / "experiments" / f"{name}.toml")
    require_tasks(experiment)
    assert changed(experiment) == own
    assert experiment.sources in ((), METAPROMPT.sources)


def test_other_numbers_of_examples_on_smollm2_are_asked_under_the_same_conditions():
    fewshot = config.read(ROOT / "experiments" / "fewshot-smollm2.toml")
    assert changed(fewshot, SMOLLM2) == {"name", "shots", "seeds"}
    require_tasks(SMOLLM2)
    assert SMOLLM2.targets == OPEN31.targets
    assert Path(SMOLLM2.metaprompt).resolve() == registry.metaprompt_of(SMOLLM2.backbone).resolve()
    assert not set(load_prompt(Path(SMOLLM2.metaprompt)).header.tasks) & set(SMOLLM2.targets)


def test_the_metaprompt_of_the_comparison_is_the_one_in_the_package():
    assert Path(OPEN31.metaprompt).resolve() == EMBEDDED_METAPROMPT.resolve()
    assert load_prompt(EMBEDDED_METAPROMPT).header.tasks == METAPROMPT.sources
    assert METAPROMPT.targets == OPEN31.targets  # so that nothing of their tests was trained on


def test_every_variant_changes_what_it_is_named_after():
    wanted = {"sources": "sources", "length": "prompt", "rank": "prompt", "depth": "prompt"}
    assert len(VARIANTS) == 6
    for name, options in VARIANTS:
        kind, _, value = name.partition("-")
        experiment = variant(options)
        rest = changed(experiment, ABLATIONS) - {"methods"}
        assert rest == {wanted[kind]} | ({"distil", "adapt"} if kind == "depth" else set())
        if kind == "sources":
            assert len(experiment.sources) == int(value)
        else:
            assert str(getattr(experiment.prompt, kind)) == value
            assert experiment.prompt.model_copy(update={kind: getattr(OPEN31.prompt, kind)}) == OPEN31.prompt


def test_fewer_sources_are_the_first_ones_of_each_type():
    chosen = {name: variant(options).sources for name, options in VARIANTS if name.startswith("sources-")}
    kinds = {}
    for name in METAPROMPT.sources:
        kinds.setdefault(catalogue.get(name).card.type, []).append(name)
    assert chosen["sources-1"] == METAPROMPT.sources[:1]
    assert chosen["sources-5"] == tuple(names[0] for names in kinds.values())
    assert chosen["sources-10"] == tuple(name for names in kinds.values() for name in names[:2])


def test_an_own_task_is_adapted_as_the_targets_are_from_a_deep_metaprompt():
    """But for the rule by which a step is kept, where own tasks have the newer one; the published runs are not made anew."""
    own = {name: tuple(value) if isinstance(value, list) else value for name, value in own_task._DEEP.items()}
    assert own.pop("select_by") == "accuracy"
    assert {name: getattr(OPEN31.adapt, name) for name in own} == own


def test_ablations_have_a_target_of_each_type():
    kinds = [catalogue.get(name).card.type for name in ABLATIONS.targets]
    assert len(set(kinds)) == len(kinds) and set(kinds) == {catalogue.get(name).card.type for name in OPEN31.targets}
