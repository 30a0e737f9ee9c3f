"""Folders of tasks for lm-evaluation-harness, without the harness: the YAML, the rows, and scores that equal ours."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import tomli_w
import yaml

from mpdd.data import catalogue
from mpdd.data.mixture import few_shot
from mpdd.data.types import candidates, parse, render_input, render_target
from mpdd.errors import InputError
from mpdd.evaluation.harness.scoring import EXAMPLE, rows_of
from mpdd.evaluation.harness.tasks import Exporting, row_of, write
from mpdd.evaluation.metrics import metrics_for, score
from mpdd.inference.predict import Request, ask
from tests.data.cards.conftest import CARDS, lines, record


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """The path of a card of each kind of task, with its invented data."""
    folder = tmp_path_factory.mktemp("cards")
    for kind, card in CARDS.items():
        (folder / f"{kind}.jsonl").write_text(lines([record(kind, n) for n in range(40)]))
        data = {"format": "jsonl", "train": f"{kind}.jsonl"}
        (folder / f"{kind}.toml").write_text(tomli_w.dumps({"name": kind, "instruction": "Do it.", **card, "data": data}))
    return [str(folder / f"{kind}.toml") for kind in CARDS]


@pytest.fixture(scope="module")
def exported(cards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "harness"
    write(cards, folder)
    return folder


@pytest.fixture(scope="module")
def utils(exported):
    """The module that the YAML files of the folder name, loaded as the harness loads it."""
    spec = importlib.util.spec_from_file_location("utils", exported / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_yaml(path, utils):
    """A task's file as the harness reads it, its functions taken from the folder's module."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda _, node: getattr(utils, node.value.removeprefix("utils.")))
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


@pytest.mark.parametrize("kind", CARDS)
def test_the_file_of_a_task(kind, exported, utils, cards):
    task = catalogue.get(cards[list(CARDS).index(kind)])
    values = read_yaml(exported / f"mpdd_{kind}.yaml", utils)
    assert (values["task"], values["tag"]) == (f"mpdd_{kind}", ["mpdd"])
    assert (values["training_split"], values["validation_split"], values["test_split"]) == ("train", "dev", "test")
    assert values["custom_dataset"] is utils.load and values["process_results"] is utils.process_results
    assert [metric["metric"] for metric in values["metric_list"]] == [metric.name for metric in metrics_for(task.card)]
    assert values["metric_list"][0]["metric"] == task.headline and all(callable(m["aggregation"]) for m in values["metric_list"])
    if kind in ("choice", "fixed", "nli", "single"):
        assert values["output_type"] == "multiple_choice"
        assert (values["doc_to_choice"], values["doc_to_target"], values["target_delimiter"]) == ("options", "label", " ")
    else:
        assert values["output_type"] == "generate_until" and values["doc_to_target"] == "target"
        assert values["generation_kwargs"] == {"until": [], "do_sample": False, "max_gen_toks": task.card.max_answer_tokens}


@pytest.mark.parametrize("kind", CARDS)
def test_rows_are_our_splits_inputs_and_targets(kind, exported, cards):
    path = cards[list(CARDS).index(kind)]
    card, splits = catalogue.get(path).card, catalogue.load(path)
    for split in ("train", "dev", "test"):
        rows = list(rows_of(exported, f"{kind}.{split}.jsonl"))
        assert [EXAMPLE.validate_json(row["example"]) for row in rows] == list(splits[split]) and rows
        for row, example in zip(rows, splits[split], strict=True):
            assert (row["input"], row["target"]) == (render_input(card, example), render_target(card, example))
            if (options := candidates(card, example)) is not None:
                assert row["options"] == list(options) and options[row["label"]] == row["target"]


@pytest.mark.parametrize("kind", CARDS)
def test_scores_are_ours(kind, exported, utils, cards):
    """Every second answer is wrong; a likelihood is such that the option wanted wins only with the right divisor."""
    path = cards[list(CARDS).index(kind)]
    card, examples = catalogue.get(path).card, catalogue.load(path).test
    rows = list(rows_of(exported, f"{kind}.test.jsonl"))
    wanted, counts = [], []
    for number, (example, row) in enumerate(zip(examples, rows, strict=True)):
        options = candidates(card, example)
        if options is None:
            output = render_target(card, example) if number % 2 else "none of it; glioma: nothing at all"
            results = [f" {output}\n"]
        else:
            output = options[(row["label"] + number) % len(options)]
            scores = [-1.0 if option == output else -1.1 for option in options]
            results = [(value * length, False) for value, length in zip(scores, row["lengths"], strict=True)]
        wanted.append(parse(card, example, output))
        counts.append(utils.process_results(row, results))
    values = {name: getattr(utils, name)([one[name] for one in counts]) for name in counts[0]}
    assert values == score(card, examples, wanted).values
    assert json.loads(json.dumps(counts)) == counts


def test_as_one_backbone_is_asked(cards, tiny, tmp_path):
    """Options closed by its end token, compared by the token where an example brings its own, and texts cut to its context."""
    write(cards, tmp_path / "made", Exporting({"train": 0, "dev": 1, "test": 3}, tiny.vocabulary))
    record_of = json.loads((tmp_path / "made" / "tasks.json").read_text())
    assert record_of["backbone"]["fingerprint"] == tiny.fingerprint
    assert record_of["tasks"]["nli"]["examples"] == {"dev": 1, "test": 3}
    assert "training_split" not in (tmp_path / "made" / "mpdd_nli.yaml").read_text()
    for path in cards:
        card, splits = catalogue.get(path).card, catalogue.load(path)
        (row, *_) = rows = list(rows_of(tmp_path / "made", f"{card.name}.test.jsonl"))
        if card.window is None and card.type not in ("ner", "re"):
            assert [EXAMPLE.validate_json(row["example"]) for row in rows] == list(few_shot(splits.test, 3, 0))
        if "options" in row:
            asked = ask(tiny.vocabulary, Request(card, EXAMPLE.validate_json(row["example"])))
            assert row["options"] == [f"{option}<end>" for option in asked.options]
            assert row["lengths"] == ([len(way) for way in asked.continuations] if card.name == "choice" else [1, 1])
    long = EXAMPLE.validate_json(row["example"])
    cut = row_of(card, type(long)(**{**vars(long), "text": "glioma " * 400}), tiny.vocabulary)
    assert len(cut["input"]) < 1000 and cut["input"].endswith("\nAnswer:") and cut["input"].startswith("Do it.")
    assert len(EXAMPLE.validate_json(cut["example"]).text) == 2800  # scored against the whole text


def test_what_is_refused(cards, tmp_path):
    for names, message in (
        ([], "The tasks cannot be exported; found no task"),
        ([cards[0], cards[0]], "The tasks cannot be exported; found ner, ner"),
        (["ncbi_diseases"], "There is no task called 'ncbi_diseases'"),
    ):
        with pytest.raises(InputError, match=message):
            write(names, tmp_path / "made")
    with pytest.raises(InputError, match="has nothing to score on"):
        write(cards[:1], tmp_path / "made", Exporting({"dev": 0, "test": 0}))
    assert not list(Path(tmp_path).iterdir())


def test_the_command(cards, tmp_path):
    from typer.testing import CliRunner

    from mpdd.cli.app import app

    made = tmp_path / "made"
    done = CliRunner().invoke(app, ["data", "export", *cards[:2], "--test", "2", "--out", str(made)])
    assert done.exit_code == 0 and f"lm_eval --include_path {made}" in done.output
    assert {path.name for path in made.glob("*.yaml")} == {"mpdd_ner.yaml", "mpdd_re.yaml"}
    assert len(list(rows_of(made, "ner.test.jsonl"))) == 2
    again = CliRunner().invoke(app, ["data", "export", cards[0], "--out", str(made)])
    assert isinstance(again.exception, InputError) and "is there already" in str(again.exception)
    nothing = CliRunner().invoke(app, ["data", "export", "--out", str(tmp_path / "other")])
    assert isinstance(nothing.exception, InputError) and "No task was named" in str(nothing.exception)
