"""Prompt packs: what finished runs have goes into one folder, halved, with score and licence; what is there is not made again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mpdd.api import pack as packs
from mpdd.api.hub import scores_of
from mpdd.api.pack import may_publish, pack
from mpdd.data import catalogue
from mpdd.data.task import Answer, Example, Splits
from mpdd.errors import InputError
from mpdd.experiment import config
from mpdd.inference.engines.local import Local
from mpdd.progress import Silent
from mpdd.prompts.meta import MetaPrompt
from mpdd.prompts.store import Header, load_prompt, load_tasks, save_prompt

LENGTH = 4
WITHOUT_LICENCE = {"cochrane_auto", "indiana_radiology", "nli4ct"}
TARGETS = ("rqe", "nli4ct", "phee")


class Runs:
    """Makes run folders as `mpdd run` leaves them, for a tiny backbone."""

    def __init__(self, tiny, folder: Path) -> None:
        self.tiny, self.folder = tiny, folder
        torch.manual_seed(0)
        self.meta = MetaPrompt(torch.randn(LENGTH, tiny.width), ["a", "b"])

    def make(self, name="run", targets=TARGETS, shots=(8,), seeds=(0,), cells=None, meta=None, test_from="test") -> Path:
        run, meta = self.folder / name, meta or self.meta
        values = {
            "name": name, "backbone": str(self.tiny.name), "methods": ["mpdd"], "metaprompt": "meta.safetensors",
            "targets": list(targets), "shots": list(shots), "seeds": list(seeds), "limits": {"test_from": test_from},
        }  # fmt: skip
        (run / "cells").mkdir(parents=True)
        (run / "config.toml").write_text(config.to_toml(config.build(values, "test")), encoding="utf-8")
        header = Header("meta", self.tiny.name, self.tiny.fingerprint, LENGTH, self.tiny.width, rank=1, tasks=meta.tasks)
        tensors = {"shared": meta.shared, "u": meta.u, "v": meta.v}
        (run / "prompts").mkdir()
        saved = save_prompt(run / "prompts" / "metaprompt.safetensors", tensors, header)
        for target, shot, seed in cells or [(target, shots[0], 0) for target in targets]:
            self._cell(run, saved.header, target, shot, seed)
        return run

    def _cell(self, run: Path, meta: Header, target: str, shots: int, seed: int) -> None:
        task = catalogue.get(target)
        header = replace(meta, kind="task", tasks=(target,), card=task.card, metaprompt=meta.digest, provenance={"seed": seed})
        factors = {"u": torch.randn(1, 1, LENGTH), "v": torch.randn(1, 1, self.tiny.width)}
        save_prompt(run / "prompts" / f"{target}-mpdd-{shots}-s{seed}.safetensors", factors, header)
        row = {
            "metric": task.headline, "value": 40.123, "ci_low": 30.0, "ci_high": 50.0, "chance": 12.5, "n_examples": 20,
        }  # fmt: skip
        cell = {"row": row, "commit": "abc", "best_step": 60, "train_examples": shots, "test_examples": 230}
        (run / "cells" / f"{target}--mpdd--{shots}--s{seed}.json").write_text(json.dumps(cell), encoding="utf-8")


@pytest.fixture
def runs(tiny, tmp_path) -> Runs:
    return Runs(tiny, tmp_path)


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Each file of a pack: when it was written, and what it holds."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("*.safetensors")}


def test_a_pack_holds_each_prompt_with_its_score_licence_and_training(runs, tmp_path):
    run = runs.make()
    packed = pack([run], tmp_path / "pack", Silent())
    assert set(packed.prompts) == {"rqe", "phee"}
    assert packed.left_out == {"nli4ct": f"licence: {catalogue.get('nli4ct').licence}"}
    header = load_prompt(tmp_path / "pack" / "rqe.safetensors").header
    assert header.licence == catalogue.get("rqe").licence
    assert header.score == {
        "metric": "macro_f1", "value": 40.12, "low": 30.0, "high": 50.0, "baseline": 12.5, "examples": 20, "test_examples": 230,
    }  # fmt: skip
    assert header.training == {"method": "mpdd", "examples": 8, "steps": 60}
    assert header.provenance["seed"] == 0 and header.provenance["commit"] == "abc"
    (score,) = scores_of(load_prompt(tmp_path / "pack" / "rqe.safetensors"))  # for the card of a model repository
    assert (score.target, score.metric, score.value, score.ci_low, score.ci_high) == ("rqe", "macro_f1", 40.12, 30.0, 50.0)
    assert (score.n_examples, score.shots) == (20, 8)
    page = (tmp_path / "pack" / "README.md").read_text(encoding="utf-8")
    assert "| rqe | nli | macro_f1 | 40.1 | 30.0 to 50.0 | 12.5 | 20 of 230 | 8 | 60 | mpdd | CC BY 4.0 (train, dev)" in page
    assert "Left out" in page and "- nli4ct: licence: not stated" in page
    assert str(tmp_path) not in page


def test_prompts_of_a_pack_are_those_of_the_run_in_half_the_bytes(runs, tmp_path):
    run = runs.make()
    pack([run], tmp_path / "pack", Silent())
    loaded = {prompt.header.card.name: prompt for prompt in load_tasks([tmp_path / "pack"])}
    assert set(loaded) == {"rqe", "phee"}
    for name, prompt in loaded.items():
        before = load_prompt(run / "prompts" / f"{name}-mpdd-8-s0.safetensors")
        torch.testing.assert_close(prompt.rows(), before.rows(), rtol=4e-3, atol=1e-3)
        assert all(torch.equal(tensor, before.tensors[key].half().float()) for key, tensor in prompt.tensors.items())
    written = [tensor for path in (tmp_path / "pack").glob("*.safetensors") for tensor in load_file(path).values()]
    assert len(written) == 7 and {tensor.dtype for tensor in written} == {torch.float16}


def test_what_is_there_is_not_made_again(runs, tmp_path):
    run, folder = runs.make(), tmp_path / "pack"
    pack([run], folder, Silent())
    before = files(folder)
    (folder / "phee.safetensors").unlink()
    pack([run], folder, Silent())
    after = files(folder)
    assert {name: content for name, (_, content) in after.items()} == {name: content for name, (_, content) in before.items()}
    assert (
        after["rqe.safetensors"] == before["rqe.safetensors"]
        and after["metaprompt.safetensors"] == before["metaprompt.safetensors"]
    )
    other = runs.make("later", targets=("mts_dialog",))
    assert set(pack([other], folder, Silent()).prompts) == {"rqe", "phee", "mts_dialog"}


def test_a_killed_scoring_goes_on_with_the_prompt_that_it_was_at(runs, tiny, tmp_path, monkeypatch):
    """Each prompt is scored as it is in the pack, and the header says on how many of the test examples."""
    run, folder, scored = runs.make(), tmp_path / "pack", []
    examples = tuple(Example(f"e{n}", f"d{n}", "aspirin", Answer(choice=n % 2), (("Question", "aspirin"),)) for n in range(3))
    monkeypatch.setattr(catalogue, "load", lambda name: Splits((), (), examples if name == "rqe" else ner_like))
    ner_like = tuple(Example(f"e{n}", f"d{n}", "aspirin", Answer()) for n in range(3))
    monkeypatch.setattr(packs, "open_engine", lambda *_, **__: Local(tiny))
    score = packs.score_examples

    def score_one(prompt, chosen, *rest, **more):
        scored.append((prompt.header.card.name, len(chosen)))
        if len(scored) == 2:
            raise KeyboardInterrupt
        return score(prompt, chosen, *rest, **more)

    monkeypatch.setattr(packs, "score_examples", score_one)
    with pytest.raises(KeyboardInterrupt):
        pack([run], folder, Silent(), test_examples=2)
    assert load_prompt(folder / "rqe.safetensors").header.score["examples"] == 2
    assert not (folder / "phee.safetensors").exists()
    pack([run], folder, Silent(), test_examples=2)
    pack([run], folder, Silent(), test_examples=2)
    assert scored == [("rqe", 2), ("phee", 2), ("phee", 2)]
    pack([run], folder, Silent(), test_examples=0)
    assert scored[3:] == [("rqe", 3), ("phee", 3)]
    header = load_prompt(folder / "rqe.safetensors").header
    assert (header.score["examples"], header.score["test_examples"], header.score["metric"]) == (3, 3, "macro_f1")
    pack([run], folder, Silent())  # scores of the whole test are not given up for those of the run
    assert load_prompt(folder / "rqe.safetensors").header == header and len(scored) == 5


def test_most_examples_and_the_first_seed_are_taken_and_never_the_best_score(runs, tmp_path):
    cells = [("rqe", 8, 1), ("rqe", 8, 0), ("rqe", 32, 2), ("rqe", 32, 1)]
    run = runs.make(targets=("rqe",), shots=(32, 8), seeds=(0, 1, 2), cells=cells)
    header = pack([run], tmp_path / "pack", Silent()).prompts["rqe"].header
    assert header.training["examples"] == 32 and header.provenance["seed"] == 1


def test_what_cannot_be_packed_is_said(runs, tmp_path):
    run, folder = runs.make(), tmp_path / "pack"
    pack([run], folder, Silent())
    other = runs.make("other", meta=MetaPrompt(torch.randn(LENGTH, runs.tiny.width), ["a", "b"]))
    before = files(folder)
    with pytest.raises(InputError, match="has another metaprompt"):
        pack([other], folder, Silent())
    with pytest.raises(InputError, match="adapted from several metaprompts"):
        pack(
            [run, runs.make("half", targets=("mts_dialog",), meta=MetaPrompt(torch.randn(LENGTH, runs.tiny.width), ["a"]))],
            folder,
            Silent(),
        )
    with pytest.raises(InputError, match="not a run folder; found no config.toml"):
        pack([tmp_path], folder, Silent())
    with pytest.raises(InputError, match="no finished prompt of the method lora"):
        pack([run], folder, Silent(), method="lora")
    with pytest.raises(InputError, match="was scored on dev examples"):
        pack([runs.make("dev", test_from="dev")], folder, Silent())
    assert files(folder) == before


def test_tasks_of_one_name_several_backbones_and_nothing_at_all_are_refused(runs, tmp_path):
    run, folder = runs.make(targets=("rqe",)), tmp_path / "pack"
    renamed = runs.make("renamed", targets=("rqe",))
    path = renamed / "prompts" / "rqe-mpdd-8-s0.safetensors"
    file = load_prompt(path)
    save_prompt(path, file.tensors, replace(file.header, card=replace(file.header.card, instruction="Another question?")))
    with pytest.raises(InputError, match="different tasks called rqe; found .*run and .*renamed"):
        pack([run, renamed], folder, Silent())
    save_prompt(path, file.tensors, replace(file.header, fingerprint="f" * 64))
    pack([run], folder, Silent())
    (folder / "metaprompt.safetensors").rename(tmp_path / "kept")
    (folder / "rqe.safetensors").rename(folder / "first.safetensors")
    other = runs.make("other", targets=("phee",))
    file = load_prompt(other / "prompts" / "phee-mpdd-8-s0.safetensors")
    save_prompt(file.path, file.tensors, replace(file.header, fingerprint="f" * 64))
    with pytest.raises(InputError, match="The prompts are for several backbones"):
        pack([other], folder, Silent())
    with pytest.raises(InputError, match="No prompt may be in the pack; found left out: nli4ct"):
        pack([runs.make("closed", targets=("nli4ct",))], tmp_path / "none", Silent())
    assert not (tmp_path / "none").exists()


def test_a_run_whose_card_is_elsewhere_says_where_to_go(runs, tmp_path):
    run = runs.make(targets=("rqe",))
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.replace('"rqe"', '"ward/own.toml"'), encoding="utf-8")
    with pytest.raises(InputError, match="found no file ward/own.toml; .* in the folder where `mpdd adapt` was run"):
        pack([run], tmp_path / "pack", Silent())


def test_data_without_a_stated_licence_is_left_out_of_the_pack_of_smollm2():
    experiment = config.read(Path(__file__).parents[2] / "experiments" / "pack-smollm2.toml")
    tasks = [catalogue.get(name) for name in experiment.targets]
    assert len(tasks) == 31 and {task.role for task in tasks} == {"source", "target"}
    assert {task.name for task in tasks if not may_publish(task)} == WITHOUT_LICENCE
    assert may_publish(replace(tasks[0], role="user", licence="not stated"))
