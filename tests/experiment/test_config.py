"""Experiments: every problem of a file in one sentence, defaults filled in, and the written form reads back the same."""

from __future__ import annotations

import tomllib

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from mpdd.errors import InputError
from mpdd.experiment import config
from mpdd.experiment.check import require_tasks
from mpdd.experiment.config import Experiment, build, read, to_toml
from tests.conftest import tries

LEAST = {"name": "small", "sources": ["bc5cdr_ner", "scifact"], "targets": ["rqe"]}


def problems(**values):
    """What `build` says of the least experiment with these values, one item for each problem."""
    with pytest.raises(InputError) as caught:
        build(LEAST | values, "a.toml")
    said, found = str(caught.value).removesuffix(".").split(": ", 1)
    listed = found.split("; ")
    assert said == f"a.toml has {len(listed)} problem{'s' if len(listed) > 1 else ''}"
    return listed


def test_the_least_experiment_gets_the_defaults():
    made = build(LEAST, "a.toml")
    assert made.sources == ("bc5cdr_ner", "scifact")
    assert (made.backbone, made.seeds, made.shots) == ("embedded", (0,), ("all",))
    assert made.limits == config.Limits(train=1000, dev=64, test=500)
    assert made.prompt == config.PromptOptions(length=16, rank=1, start="vocabulary")
    assert {"zero-shot", "prompt-tuning", "lora", "mpdd"} <= set(made.methods)
    assert len(made.adapt.prompt_tuning) == len(made.adapt.mpdd) == len(made.adapt.lora)


def test_a_file_is_read_and_given_values_replace_defaults(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(tomli_w.dumps(LEAST | {"shots": [4, "all"], "adapt": {"steps": 7}}), encoding="utf-8")
    made = read(path)
    assert made.shots == (4, "all")
    assert made.adapt == config.Adapt(steps=7)


def test_settings_take_the_place_of_the_files(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(tomli_w.dumps(LEAST | {"shots": [4], "adapt": {"steps": 7}}), encoding="utf-8")
    made = read(path, ["adapt.steps=9", "shots=[16, 32]", "prompt.depth=all", "adapt.factor_start = 'kind'"])
    assert (made.adapt.steps, made.shots, made.prompt.depth, made.adapt.factor_start) == (9, (16, 32), "all", "kind")
    assert read(path).shots == (4,)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("steps", "A setting is not understood; found steps"),
        ("=3", "A setting is not understood"),
        ("adapt.=3", "A setting is not understood"),
        ("name.length=3", "name is none"),
        ("adapt.stepz=3", "adapt.stepz: no such key, perhaps steps"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, setting, problem):
    path = tmp_path / "a.toml"
    path.write_text(tomli_w.dumps(LEAST), encoding="utf-8")
    with pytest.raises(InputError, match=problem):
        read(path, [setting])


def test_all_problems_come_in_one_sentence():
    found = problems(
        targets=["scifact"],
        methods=["lorra"],
        seeds=[-1],
        shots=[0, "al"],
        stepz=3,
        limits={"train": 0},
        prompt={"length": 2, "rank": 3},
        teach={"lrs": []},
        adapt={"mpdd": [0.1]},
    )
    assert sorted(problem.split(": ")[0] for problem in found) == [
        "adapt", "limits.train", "methods.0", "prompt", "seeds.0", "shots.0", "shots.1", "stepz", "targets", "teach.lrs",
    ]  # fmt: skip


def test_keys_and_methods_of_earlier_versions_are_refused_with_the_present_ones():
    with pytest.raises(InputError, match=r"^a.toml has keys of an earlier version; found adapt.mode: gone; .*mpdd-full"):
        build(LEAST | {"adapt": {"mode": "factors"}}, "a.toml")
    former = {"vary": 0.5, "adapt": {"race": 5}, "distil": {"strange": 0.1}}
    with pytest.raises(InputError, match="adapt.halving_steps now; distil.strange: .*held_out_share now; vary: .*rephrase_share"):
        build(LEAST | former, "a.toml")
    (problem,) = problems(methods=["mpdd-factors"])
    assert "mpdd-factors is called mpdd" in problem


def test_the_configuration_of_an_earlier_run_is_read_as_what_it_was(tmp_path):
    for mode, methods in {"all": ("mpdd-full", "mpdd"), "factors": ("mpdd",)}.items():
        path = tmp_path / mode / "config.toml"
        path.parent.mkdir()
        former = {"vary": 0.5, "adapt": {"mode": mode, "race": 5}, "distil": {"strange": 0.1}}
        path.write_text(tomli_w.dumps(LEAST | {"methods": ["mpdd", "mpdd-factors"]} | former))
        made = config.read_written(path)
        assert (made.rephrase_share, made.adapt.halving_steps, made.distil.held_out_share) == (0.5, 5, 0.1)
        assert (made.methods, made.loss_per) == (methods, "example")
        with pytest.raises(InputError, match="adapt.mode"):
            read(path)


def test_missing_keys_are_named_together():
    with pytest.raises(InputError, match=r"^a.toml has 3 problems: name: missing; sources: missing; targets: missing\.$"):
        build({}, "a.toml")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"adapt": {"stepz": 5}}, "adapt.stepz: no such key, perhaps steps"),
        ({"target": ["rqe"]}, "target: no such key, perhaps targets"),
        ({"xyzzy": 1}, "xyzzy: no such key"),
    ],
)
def test_unknown_keys_are_named_with_near_ones(values, problem):
    assert problems(**values) == [problem]


@pytest.mark.parametrize("name", ["prompt_tuning", "mpdd", "lora"])
def test_an_unfair_tuning_budget_is_refused(name):
    (found,) = problems(adapt={"prompt_tuning": [0.1, 0.2], "mpdd": [0.1, 0.2], "lora": [0.1, 0.2]} | {name: [0.1]})
    assert found.startswith("adapt: every method must try equally many rates")
    assert f"1 for {name}" in found


def test_equal_tuning_budgets_of_any_size_are_taken():
    made = build(LEAST | {"adapt": {"prompt_tuning": [0.1], "mpdd": [0.2], "lora": [0.3]}}, "a.toml")
    assert (made.adapt.prompt_tuning, made.adapt.mpdd, made.adapt.lora) == ((0.1,), (0.2,), (0.3,))


def test_a_target_among_the_sources_is_refused_by_name():
    (found,) = problems(targets=["rqe", "scifact"])
    assert found == "targets: scifact among the sources too, a target must be held out"


@pytest.mark.parametrize(
    ("key", "values", "twice"),
    [
        ("sources", ["medqa", "scifact", "medqa"], "medqa"),
        ("targets", ["rqe", "rqe"], "rqe"),
        ("methods", ["mpdd", "mpdd"], "mpdd"),
        ("seeds", [3, 4, 3], "3"),
        ("shots", ["all", 8, "all"], "all"),
    ],
)
def test_what_stands_twice_is_refused_before_it_costs_a_run(key, values, twice):
    assert problems(**{key: values}) == [f"{key}: {twice} stands there more than once"]


def test_a_rate_that_stands_twice_is_no_second_trial():
    (found,) = problems(adapt={"prompt_tuning": [0.1, 0.2], "mpdd": [0.1, 0.2], "lora": [0.1, 0.1]})
    assert found.startswith("adapt.lora: 0.1 stands there more than once")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("distil", "kl", float("nan")),
        ("distil", "kl", float("inf")),
        ("distil", "lr_shared", float("inf")),
        ("distil", "temperature", 0),
        ("adapt", "factor_ratio", float("nan")),
        ("teach", "batch_size", 0),
        ("teach", "lrs", []),
        ("adapt", "lora_rank", 1.5),
        ("limits", "test", -1),
        ("prompt", "start", "words"),
    ],
)
def test_values_that_no_run_could_use_are_refused(section, key, value):
    (found,) = problems(**{section: {key: value}})
    assert found.startswith(f"{section}.{key}: ")
    assert "found" in found


@pytest.mark.parametrize("name", ["", "..", "../other", "a/b", ".hidden", "/tmp/x"])
def test_a_name_that_would_lead_out_of_the_runs_folder_is_refused(name):
    (found,) = problems(name=name)
    assert found.startswith("name: ")


def test_rates_without_any_value_are_refused_for_all_methods_at_once():
    found = problems(adapt={"prompt_tuning": [], "mpdd": [], "lora": []})
    assert [problem.split(":")[0] for problem in found] == ["adapt.prompt_tuning", "adapt.mpdd", "adapt.lora"]


def test_an_unfit_item_is_not_reported_as_a_missing_one_too():
    assert len(problems(seeds=[-1])) == 1
    assert len(problems(seeds=[])) == 1


def test_unknown_tasks_are_all_named_with_near_names():
    made = build(LEAST | {"sources": ["bc5cdr-ner", "scifact"], "targets": ["pubmed_qa"]}, "a.toml")
    with pytest.raises(InputError, match=r"'bc5cdr-ner'; wanted perhaps bc5cdr_ner.* 'pubmed_qa'; wanted perhaps pubmedqa"):
        require_tasks(made)
    require_tasks(build(LEAST, "a.toml"))


def test_the_packaged_demo_is_a_valid_experiment_in_both_sizes():
    from mpdd.experiment.demo import on_synthetic_notes, read_demo

    whole, quick = read_demo(quick=False), read_demo(quick=True)
    for made in (whole, quick, on_synthetic_notes(whole)):
        require_tasks(made)
        assert build(tomllib.loads(to_toml(made)), "again") == made
    assert quick.adapt.steps * 5 <= whole.adapt.steps


NO_TOML = r"^a\.toml is not valid TOML; found "


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", NO_TOML),
        (b"\xff\xfe", r"^a\.toml is not UTF-8 text; found another encoding \(byte 0\); "),
        (b"[a]\n[a]\n", NO_TOML),
        (b"a = 1\na = 2\n", NO_TOML),
        (b"ZZPATIENTNAMEZZ came in today, coughing", NO_TOML),
    ],
)
def test_a_file_that_is_not_toml_is_named_and_not_quoted(tmp_path, content, message):
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "ZZPATIENTNAMEZZ" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_said_to_be_so(tmp_path):
    with pytest.raises(InputError, match="no such experiment file; found .*none.toml"):
        read(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot be read; found Is a directory"):
        read(tmp_path)


rates = st.floats(1e-6, 10, allow_nan=False)
names = st.lists(st.from_regex(r"[a-z_0-9]{1,9}", fullmatch=True), min_size=3, max_size=8, unique=True)


@st.composite
def experiments(draw):
    listed, tries = draw(names), draw(st.integers(1, 4))
    cut = draw(st.integers(2, len(listed) - 1))
    length = draw(st.integers(1, 200))
    lrs = {
        method: draw(st.lists(rates, min_size=tries, max_size=tries, unique=True)) for method in ("prompt_tuning", "mpdd", "lora")
    }
    return {
        "name": draw(st.from_regex(r"[A-Za-zéß0-9_][A-Za-zéß0-9_. -]{0,9}", fullmatch=True)),
        "backbone": draw(st.text(st.characters(codec="utf-8"), max_size=20)),
        "sources": listed[:cut],
        "targets": listed[cut:],
        "seeds": draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3, unique=True)),
        "shots": draw(st.lists(st.just("all") | st.integers(1, 10**6), min_size=1, max_size=3, unique=True)),
        "prompt": {"length": length, "rank": draw(st.integers(1, length))},
        "distil": {"kl": draw(st.floats(0, 1e6)), "stochastic": draw(st.booleans())},
        "adapt": {"factor_ratio": draw(rates), **lrs},
    }


@settings(max_examples=tries(50), deadline=None)
@given(experiments())
def test_what_is_written_reads_back_equal(values):
    made = build(values, "a.toml")
    text = to_toml(made)
    again = build(tomllib.loads(text), "a.toml")
    assert again == made
    assert to_toml(again) == text
    assert isinstance(again, Experiment)
    assert again.adapt.lora == tuple(values["adapt"]["lora"])


def test_paths_in_a_file_are_its_own_and_those_on_the_command_line_are_as_typed(tmp_path):
    path = tmp_path / "experiments" / "one.toml"
    path.parent.mkdir()
    path.write_text('name = "one"\nmetaprompt = "meta.safetensors"\ntargets = ["own.toml", "rqe"]\n')
    found = read(path)
    assert found.metaprompt == str(path.parent / "meta.safetensors")
    assert found.targets == (str(path.parent / "own.toml"), "rqe")
    typed = read(path, ['metaprompt="runs/meta.safetensors"', 'targets=["cards/own.toml"]'])
    assert (typed.metaprompt, typed.targets) == ("runs/meta.safetensors", ("cards/own.toml",))
    path.write_text('name = "one"\ntargets = ["rqe"]\nmetaprompt = 3\n')
    with pytest.raises(InputError, match="metaprompt"):
        read(path)
