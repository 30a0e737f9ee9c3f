"""Every mistake of a user: one line that names it, exit code 2, nothing written, and no word of a note anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import tomli_w
import torch
from safetensors.torch import save_file

from mpdd.data.task import TaskCard
from mpdd.errors import InputError
from mpdd.experiment.folder import alone_in
from mpdd.files.shard import Shard
from mpdd.prompts.store import Header, _digest, save_prompt
from tests.cli.conftest import LENGTH, SECRET
from tests.conftest import make_model

EXPERIMENT = {"name": "small", "sources": ["bc5cdr_ner", "scifact"], "targets": ["rqe"]}


def everything(folder):
    """Every path under a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture
def refused(mpdd, place):
    """Run `mpdd`, see that it refuses as it should, and give back its one line."""

    def run(*arguments, code=2):
        before = everything(place)
        ran = mpdd(*arguments)
        assert_one_line(ran.code, ran.out, ran.err, code)
        assert everything(place) == before
        return ran.err

    return run


def assert_one_line(code, out, err, wanted=2):
    assert SECRET not in out + err
    assert "Traceback" not in out + err
    assert code == wanted
    assert err.startswith("mpdd: ") and err.endswith("\n") and err.count("\n") == 1
    assert out == ""


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# The command line itself


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict"], "Missing argument 'PROMPT... INPUT...'. See `mpdd predict --help`."),
        (["predict", "drugs.safetensors"], "No notes were given; found 1 prompt file or folders of them; wanted"),
        (["run"], "Missing argument 'EXPERIMENT.toml'. See `mpdd run --help`."),
        (["inspect"], "Missing argument 'FILE'. See `mpdd inspect --help`."),
        (["report", "a", "b"], "Got unexpected extra argument(s) (b). See `mpdd report --help`."),
        (["predcit"], "No such command 'predcit'."),
        (["tasks", "--jsn"], "No such option: --jsn"),
        (["--verson"], "No such option: --verson"),
        (["predict", "note.txt", "--output"], "Option '--output' requires an argument."),
        (["data", "get"], "No task was named; wanted task names, or --all."),
        (["run", "a.toml", "--shard", "4/3"], "No such part of the cells; found 4/3; wanted i/n with i from 1 to n, for example"),
        (
            ["run", "a.toml", "--shard", "1/2", "--cell", "a/b/8/s0"],
            "--cell and --shard do not go together; wanted one of the two.",
        ),
        (["run", "a.toml", "--shard", "1/2", "--only", "rqe/*"], "--only and --shard do not go together; wanted one of the two."),
        (
            ["run", "a.toml", "--shard", "1/2", "--processes", "2"],
            "--shard and --processes do not go together; wanted one of the two.",
        ),
        (["run", "a.toml", "--processes", "0"], "Invalid value for '--processes'"),
        (["run", "a.toml", "--cell", "x", "--only", "y"], "--cell and --only do not go together; wanted one of the two."),
    ],
)
def test_a_wrong_command_line_is_one_line_with_the_way_to_help(refused, arguments, message):
    assert message in refused(*arguments)


# Tasks and experiments


@pytest.mark.parametrize("command", [["tasks"], ["data", "get"]])
def test_an_unknown_task_is_answered_with_near_names(refused, command):
    said = refused(*command, "ncbi-diseases")
    assert "There is no task called 'ncbi-diseases'; wanted perhaps ncbi_disease" in said


def test_a_mirror_that_is_no_folder_is_named(refused, place, monkeypatch):
    monkeypatch.setenv("MPDD_MIRROR", str(place / "none"))
    assert "MPDD_MIRROR is not a folder" in refused("tasks")


COMMANDS = ["check", "run", "teach", "distil", "adapt", "compare"]


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_tasks_of_an_experiment_are_all_named_before_anything_is_written(refused, place, command):
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT | {"sources": ["scifcat", "medqa"], "targets": ["meqsun"]}))
    said = refused(command, "a.toml")
    assert "'scifcat'; wanted perhaps scifact" in said
    assert "'meqsun'; wanted perhaps meqsum" in said


def test_a_part_without_what_it_starts_from_names_the_command_that_makes_it(refused, place):
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT | {"methods": ["mpdd", "shared-prompt"]}))
    said = refused("run", "a.toml", "--out", "there", "--shard", "1/8", "--set", "name='its own'")
    assert "no teacher-bc5cdr_ner, teacher-scifact, metaprompt, metaprompt-shared; wanted all of it before the first part" in said
    assert "`mpdd distil a.toml --out there --set 'name='\"'\"'its own'\"'\"''` makes it." in said


def test_a_part_under_torchrun_is_refused(refused, place, monkeypatch):
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "do not go together; found 2 processes; wanted each part" in refused("run", "a.toml", "--shard", "1/2")


def test_processes_under_torchrun_are_refused(refused, place, monkeypatch):
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "torchrun has started some; wanted one of the two" in refused("run", "a.toml", "--processes", "2")


def test_processes_on_a_gpu_are_refused(refused, place, monkeypatch):
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert "for machines without a GPU; found --processes 2" in refused("run", "a.toml", "--processes", "2")


@pytest.mark.parametrize("command", ["check", "run", "teach"])
def test_a_missing_experiment_is_named(refused, command):
    assert "no such experiment file; found none.toml" in refused(command, "none.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{SECRET} came in coughing", "a.toml is not valid TOML"),
        (f"name = '{SECRET}'\nname = 'x'", "a.toml is not valid TOML; found Cannot overwrite a value"),
        (f"# {SECRET}\n\xff".encode("latin-1"), "a.toml is not UTF-8 text; found another encoding (byte"),
        (f"name = '{SECRET}'".encode("utf-16"), "found another encoding (byte 0); wanted TOML in UTF-8. Save it as UTF-8"),
        ("", "a.toml has 3 problems: name: missing; sources: missing; targets: missing."),
    ],
)
def test_what_is_no_experiment_is_named_and_not_quoted(refused, place, content, message):
    write(place / "a.toml", content)
    assert message in refused("run", "a.toml")


def test_a_folder_is_no_experiment(refused, place):
    (place / "folder").mkdir()
    assert "folder cannot be read; found Is a directory" in refused("check", "folder")


def test_all_problems_of_an_experiment_stand_in_one_line(refused, place):
    values = EXPERIMENT | {"targets": ["scifact"], "adapt": {"mpdd": [0.1]}, "distill": {}, "teach": {"steps": 0}}
    write(place / "a.toml", f"# {SECRET}\n{tomli_w.dumps(values)}")
    said = refused("run", "a.toml")
    assert "a.toml has 4 problems: " in said
    for problem in ("scifact among the sources", "equally many rates", "distill: no such key, perhaps distil", "teach.steps: "):
        assert problem in said


def test_a_prompt_that_does_not_fit_the_backbone_is_found_by_check(refused, place, tiny_folder):
    values = EXPERIMENT | {"backbone": str(tiny_folder), "prompt": {"length": 256, "rank": 33}}
    write(place / "a.toml", tomli_w.dumps(values))
    said = refused("check", "a.toml")
    assert "prompt.length 256 leaves no room in a context of 256" in said
    assert "prompt.rank 33 is above the width 32" in said


def test_a_folder_that_is_no_model_is_named(refused, place):
    (place / "empty").mkdir()
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT | {"backbone": "empty"}))
    assert "'empty' is not a model folder; found no config.json" in refused("check", "a.toml")


@pytest.mark.parametrize("value", ["1" * 5001, "[" * 5001])
def test_a_setting_that_is_too_long_is_one_sentence(refused, place, value):
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT))
    said = refused("check", "a.toml", "--set", f"distil.steps={value}")
    assert "A setting cannot be read; found distil.steps= and 5,001 characters" in said


# Run folders


@pytest.mark.parametrize("arguments", [["run"], ["teach"], ["run", "--shard", "1/2"]])
def test_two_runs_do_not_work_in_one_folder(refused, place, arguments):
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT))
    command, *options = arguments
    with alone_in(place / "out"):
        (place / "out" / "kept").touch()
        said = refused(command, "a.toml", "--out", "out", *options)
    assert "Another process works in the run folder out; wanted one run at a time in a folder. Wait for its end, or" in said


def test_parts_of_one_run_work_side_by_side_and_none_twice(place):
    with alone_in(place / "out", Shard(1, 2)), alone_in(place / "out", Shard(2, 2)):
        for shard in (None, Shard(1, 2)):
            with pytest.raises(InputError, match="Another process works in the run folder"), alone_in(place / "out", shard):
                pytest.fail("two at a time")
    assert not (place / "out").exists()


@pytest.mark.parametrize("command", ["run", "teach", "compare"])
@pytest.mark.parametrize("out", ["note.txt", "note.txt/deeper", "/proc/mpdd"])
def test_a_run_folder_that_cannot_be_written_is_named(refused, place, command, out):
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT))
    assert f"Cannot write to the run folder {out}; found " in refused(command, "a.toml", "--out", out)


def test_a_demo_that_cannot_be_written_is_named_after_its_banner(mpdd, place):
    before = everything(place)
    ran = mpdd("demo", "--synthetic", "--quick", "--out", "note.txt")
    assert ran.err.startswith("SYNTHETIC NOTES")
    assert_one_line(ran.code, ran.out, ran.err[ran.err.index("mpdd: ") :])
    assert "Cannot write to the run folder note.txt" in ran.err
    assert everything(place) == before


def test_a_run_folder_with_another_configuration_is_kept(refused, place):
    write(place / "a.toml", tomli_w.dumps(EXPERIMENT))
    (place / "old" / "prompts").mkdir(parents=True)
    write(place / "old" / "config.toml", "name = 'other'\n")
    said = refused("run", "a.toml", "--out", "old")
    assert "The folder old holds a run with another configuration" in said
    assert "Choose another folder with --out, or delete this one." in said


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.toml"])
def test_a_damaged_run_folder_is_named(refused, place, name):
    from mpdd.experiment import config

    write(place / "a.toml", tomli_w.dumps(EXPERIMENT))
    (place / "old" / "prompts").mkdir(parents=True)
    write(place / "old" / "config.toml", config.to_toml(config.build(EXPERIMENT, "")))
    write(place / "old" / name, f"{SECRET} \xff\n")
    assert "old" in refused("run", "a.toml", "--out", "old")


@pytest.mark.parametrize("content", [None, "", f'{{"{SECRET}"', '{"rows": []}', '{"schema": 1, "rows": [{"method": 3}]}'])
def test_a_report_of_no_results_is_refused(refused, place, content):
    (place / "old").mkdir()
    if content is not None:
        write(place / "old" / "results.json", content)
    assert "results.json" in refused("report", "old")


# Notes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "The input a.txt is empty"),
        ("a.txt", " \r\n\t \n", "The input a.txt is empty"),
        ("a.txt", f"{SECRET} \xff".encode("latin-1"), "a.txt is not UTF-8 text; found another encoding on line 1 (byte 16)"),
        ("a.csv", f"id,note\n1,{SECRET}\n", "a.csv, row 1: no text; found 2 columns; wanted a column text. Perhaps --column"),
        ("a.csv", f"{SECRET} has fever\nand cough\n", "a.csv, row 1: no text"),
        ("a.csv", f"id,text\n1,{SECRET}, with a comma\n", "a.csv, row 1 (line 2) cannot be trusted; found wrong number of"),
        ("a.csv", f'id,text\n1,"{SECRET}\n2,Fine.\n', "a.csv, row 1 (line 2) cannot be trusted; found a quote that is never"),
        ("a.jsonl", f'{{"text": "{SECRET}"}}\n{{"text": "{SECRET}\n', "a.jsonl line 2: not valid JSON"),
        ("a.jsonl", f'{{"{SECRET}": "x"}}\n', "a.jsonl line 1: no text"),
        ("a.jsonl", f'"{SECRET}"\n', "a.jsonl line 1: a JSON str; wanted one JSON object on a line"),
        ("a.parquet", SECRET, "a.parquet cannot be read as parquet"),
        ("a.pdf", SECRET, "The input a.pdf has an unknown format; found .pdf; wanted .txt, .jsonl"),
        ("none.txt", None, "There is no such input file; found none.txt"),
    ],
)
def test_an_input_that_cannot_be_read_is_named_and_not_quoted(refused, place, name, content, message):
    if content is not None:
        write(place / name, content)
    assert message in refused("predict", "drugs.safetensors", name)
    assert message in refused("predict", "drugs.safetensors", name, "--output", "answers.jsonl")


def test_a_missing_column_is_named_with_the_task_that_asks_for_it(refused, place):
    write(place / "a.csv", f"id,text,{SECRET}\nn1,{SECRET},{SECRET}\n")
    said = refused("predict", "drugs.safetensors", "says.safetensors", "a.csv", "--json")
    assert "Note n1 lacks what the task says asks about" in said
    assert "wanted columns Hypothesis" in said


def test_a_question_that_leaves_no_room_is_named_by_its_note(refused, place):
    write(place / "a.jsonl", json.dumps({"id": "n1", "text": "fever", "Hypothesis": f"{SECRET} " * 400}))
    assert "Example n1@0 of says does not fit the context without its text" in refused("predict", "says.safetensors", "a.jsonl")


@pytest.mark.parametrize("output", ["drugs.safetensors/a.jsonl", ".", "/proc/mpdd/a.jsonl"])
def test_answers_that_cannot_be_written_are_not_half_written(refused, output):
    assert "Cannot write " in refused("predict", "drugs.safetensors", "note.txt", "--output", output)


def test_a_note_longer_than_the_context_is_no_mistake_but_cut_and_counted(mpdd, place):
    write(place / "long.txt", f"{SECRET} has fever and cough. " * 100)
    ran = mpdd("predict", "short.safetensors", "long.txt", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["cut_characters"] > 2000
    assert "did not fit the context and were not read" in mpdd("predict", "short.safetensors", "long.txt").out


# Prompt files


def sealed(place, tiny, **values):
    """A valid prompt file with other things than usual in its header."""
    header = Header("soft", tiny.name, tiny.fingerprint, LENGTH, tiny.width)
    return save_prompt(place / "x.safetensors", {"rows": torch.zeros(LENGTH, tiny.width)}, replace(header, **values)).path


@pytest.mark.parametrize("command", ["inspect", "predict"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "The prompt file drugs.safetensors is damaged"),
        (lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:], "drugs.safetensors was changed after it was written"),
        (lambda data: data.replace(b"List the", b"Lost the"), "drugs.safetensors was changed after it was written"),
        (lambda data: SECRET.encode(), "The prompt file drugs.safetensors is damaged"),
        (lambda data: b"", "The prompt file drugs.safetensors is damaged"),
        (None, "There is no such prompt file; found drugs.safetensors"),
    ],
)
def test_a_prompt_file_that_is_not_as_it_was_written_is_refused(refused, place, command, damage, message):
    path = place / "drugs.safetensors"
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))
    rest = ["note.txt"] if command == "predict" else []
    assert message in refused(command, "drugs.safetensors", *rest)


def test_a_prompt_for_another_backbone_names_both(refused, place, tiny):
    make_model(place / "wide", seed=1, width=16)
    said = refused("predict", "drugs.safetensors", "note.txt", "--backbone", "wide")
    assert "drugs.safetensors was made for another backbone; found wide (fingerprint " in said
    assert f"width 16); wanted {tiny.name} (fingerprint {tiny.fingerprint[:12]}, width 32)" in said


def test_a_backbone_that_is_nowhere_is_a_failure_with_a_next_step(refused):
    said = refused("predict", "drugs.safetensors", "note.txt", "--backbone", "/none/such")
    assert "There is no backbone '/none/such'; found neither a known name, nor a folder, nor " in said


def test_an_adapter_in_the_place_of_a_backbone_is_named(refused, place, monkeypatch):
    """As PEFT writes them, with or without the name of a base model, in a folder or on the hub."""
    (place / "adapter").mkdir()
    write(place / "adapter" / "adapter_config.json", '{"peft_type": "PROMPT_TUNING", "base_model_name_or_path": null}')
    said = refused("predict", "drugs.safetensors", "note.txt", "--backbone", "adapter")
    assert "'adapter' is not a model folder; found a PEFT adapter, which is none by itself; wanted a Hugging Face causal" in said

    def looked_up(name, file, **_):
        return str(place / "adapter" / file) if file == "adapter_config.json" else None

    monkeypatch.setattr("mpdd.backbone.vocabulary.cached_file", looked_up)
    said = refused("predict", "drugs.safetensors", "note.txt", "--backbone", "/none/such")
    assert "'/none/such' on the model hub is no model; found a PEFT adapter; wanted the model that it was made for" in said


def test_a_metaprompt_answers_no_task(refused):
    assert "meta.safetensors is not for one task; found kind meta" in refused("predict", "meta.safetensors", "note.txt")
    assert "meta.safetensors is not for one task" in refused("predict", "drugs.safetensors", "meta.safetensors", "note.txt")


def test_a_note_in_the_place_of_a_prompt_is_named_and_not_quoted(refused):
    said = refused("predict", "note.txt", "note.txt")
    assert "note.txt is a note or a table of notes, and no prompt file was given; wanted one or more prompt files, then" in said


def test_labels_that_cannot_be_told_apart_are_refused(refused, place, tiny):
    sealed(place, tiny, card=TaskCard("same", "nli", "Say.", labels=("yes", " YES")))
    assert "found card: the labels are missing or cannot be told apart" in refused("predict", "x.safetensors", "note.txt")


def test_a_task_card_of_an_unknown_type_is_refused(refused, place, tiny):
    sealed(place, tiny, card=TaskCard("odd", "poetry", "Rhyme."))
    assert "found card.type: should be 'ner', 're'" in refused("predict", "x.safetensors", "note.txt")


def test_a_task_card_with_an_unknown_key_is_refused(refused, place, tiny):
    card = {"name": "odd", "type": "ner", "instruction": "List.", "labelz": ["Drug"]}
    header = {"kind": "soft", "backbone": "", "fingerprint": "", "length": 1, "width": 1, "card": card, "format": 1}
    rows = {"rows": torch.zeros(1, 1)}
    described = json.dumps({**header, "digest": _digest(header, rows)})
    save_file(rows, place / "x.safetensors", metadata={"mpdd": described})
    assert "found card: a key that this version of mpdd does not know" in refused("inspect", "x.safetensors")


# The real program

HEAVY = {
    "accelerate", "fastapi", "matplotlib", "pandas", "peft", "pyarrow", "ray", "scipy", "sklearn", "spacy", "torch._dynamo",
    "torch._inductor", "torch.distributed.checkpoint", "torch.distributed.fsdp", "torch.distributed.tensor", "torch.onnx",
}  # fmt: skip
AT_ITS_END = """
import atexit, os, sys
atexit.register(lambda: open(os.environ["LOADED"], "w").write(" ".join(sys.modules)))
"""


def test_the_program_itself_says_no_more_than_that_line_and_loads_nothing_that_it_does_not_need(place, tmp_path_factory):
    """Once as a process of its own: no library's bar, notice or warning around the line, the exit code of a shell, and of the
    libraries only what answers notes, after the backbone was loaded and tried."""
    make_model(place / "wide", seed=1, width=16)
    spy = tmp_path_factory.mktemp("spy")
    (spy / "sitecustomize.py").write_text(AT_ITS_END)
    command = [sys.executable, "-m", "mpdd", "predict", "drugs.safetensors", "note.txt", "--backbone", "wide"]
    path = os.pathsep.join([str(spy), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "LOADED": str(spy / "loaded")}
    before = everything(place)
    ran = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert_one_line(ran.returncode, ran.stdout, ran.stderr)
    assert "was made for another backbone" in ran.stderr
    assert everything(place) == before
    loaded = set((spy / "loaded").read_text().split())
    assert {"torch", "transformers.modeling_utils", "mpdd.backbone.model"} <= loaded
    assert not loaded & HEAVY
