"""The facts of a check against numbers worked out by hand."""

from mpdd.backbone.model import load
from mpdd.backbone.vocabulary import load_tokenizer
from mpdd.data.cards import card_file
from mpdd.data.cards.check import facts, percentiles, shown
from mpdd.data.passages import MAX_CHARS
from mpdd.data.types import render_input, render_target
from mpdd.data.windows import windows
from mpdd.methods.options import PromptOptions
from tests.data.cards.conftest import lines, record

SPLITS = ("train", "dev", "test")


def checked(path, tiny_folder):
    task = card_file.read(path)
    return facts(task, task.load(path.parent), *load_tokenizer(str(tiny_folder)))


def parts(kind="ner", sizes=(6, 2, 2), start=0):
    """Records for each split."""
    found = {}
    for split, size in zip(SPLITS, sizes, strict=True):
        found[split] = [record(kind, n) for n in range(start, start + size)]
        start += size
    return found


def files(rows):
    return {f"{split}.jsonl": lines(rows[split]) for split in SPLITS}


DATA = {split: f"{split}.jsonl" for split in SPLITS}


def test_the_tokenizer_alone_is_the_backbone_s(tiny_folder):
    tokenizer, context = load_tokenizer(str(tiny_folder))
    backbone = load(str(tiny_folder), device="cpu")
    assert context == backbone.context == 256
    assert tokenizer("fever, cough")["input_ids"] == backbone.tokenizer("fever, cough")["input_ids"]


def test_counts_and_labels_by_split(write, tiny_folder):
    rows = parts()
    rows["train"][0]["entities"] = []
    rows["train"].append({**rows["train"][1], "text": rows["train"][1]["text"]})
    found = checked(write(files=files(rows), data=DATA), tiny_folder)
    assert found["examples"] == {"train": 7, "dev": 2, "test": 2}
    assert found["documents"] == {"train": 6, "dev": 2, "test": 2}
    assert found["duplicates"] == {"train": 1, "dev": 0, "test": 0}
    assert found["labels"]["train"] == {"Tumour": 6, "Treatment": 6, "(none)": 1}
    assert found["labels"]["test"] == {"Tumour": 2, "Treatment": 2}
    assert found["gold"]["in_files"] == found["gold"]["read"] == 20 and found["gold"]["not_read_back"] == 0


def test_a_test_split_that_says_little_is_said(write, tiny_folder):
    few = "The test split has 2 documents: a score of 50 may be off by 69 points."
    assert checked(write(files=files(parts()), data=DATA), tiny_folder)["weak_test"] == [few]
    one_answer = "All test examples have the answer entailment, so that always saying so scores best."
    assert checked(write("nli", files(parts("nli")), DATA), tiny_folder)["weak_test"] == [few, one_answer]
    assert checked(write(files=files(parts(sizes=(2, 2, 60))), data=DATA), tiny_folder)["weak_test"] == []


def test_labels_of_choices_and_of_several_labels(write, tiny_folder):
    assert checked(write("choice", files(parts("choice")), DATA), tiny_folder)["labels"]["dev"] == {"A": 2, "B": 0, "C": 0}
    assert checked(write("nli", files(parts("nli")), DATA), tiny_folder)["labels"]["dev"] == {"entailment": 2, "neutral": 0}
    rows = parts("multiple")
    rows["dev"][0]["answer"] = []
    several = checked(write("multiple", files(rows), DATA), tiny_folder)
    assert several["labels"]["dev"] == {"I10": 1, "E11": 0, "N18": 1, "(none)": 1}
    assert checked(write("free", files(parts("free")), DATA), tiny_folder)["labels"]["dev"] == {}


def test_lengths_are_those_of_what_the_model_reads(write, tiny_folder):
    path = write("summary", files(parts("summary")), DATA, max_answer_tokens=4)
    found = checked(path, tiny_folder)["tokens"]
    tokenizer, _ = load_tokenizer(str(tiny_folder))
    task = card_file.read(path)
    splits = task.load(path.parent)
    examples = [e for split in SPLITS for e in splits[split]]
    inputs = sorted(len(tokenizer(render_input(task.card, e))["input_ids"]) for e in examples)
    answers = sorted(len(tokenizer(" " + render_target(task.card, e))["input_ids"]) + 1 for e in examples)
    assert found["input"] == {"50": inputs[4], "90": inputs[8], "99": inputs[9], "max": inputs[9]}
    assert found["answer"]["max"] == answers[9]
    assert found["input_room"] == 256 - PromptOptions().length - 4
    assert (found["answers_too_long"], found["inputs_cut"]) == (10, 0)


def test_percentiles_are_by_nearest_rank():
    assert percentiles(range(1, 101)) == {"50": 50, "90": 90, "99": 99, "max": 100}
    assert percentiles([3]) == {"50": 3, "90": 3, "99": 3, "max": 3}
    assert percentiles([]) == {}


def test_answers_past_the_context_or_across_windows_are_counted(write, tiny_folder):
    rows = parts("extractive")
    rows["train"][0]["text"] = "Nothing here, " * 20 + "but a glioma."  # above 176 tokens of the tiny tokenizer
    long = " ".join(f"Sentence {n} says little at all here." for n in range(40))
    edge = windows(long, MAX_CHARS)[0][1]
    rows["train"][1] |= {"text": long, "answer": long[edge - 20 : edge + 20]}
    found = checked(write("extractive", files(rows), DATA), tiny_folder)
    assert found["gold"] == {
        "in_files": 10, "read": 8, "kept_percent": 80.0, "not_read_back": 0,
        "lost": {"answers across a window's edge": 1, "past the context": 1},
    }  # fmt: skip
    assert found["tokens"]["inputs_cut"] >= 1
    assert found["notes"] == {"answers across a window's edge": 1}


def test_entities_and_relations_past_the_context_are_counted(write, tiny_folder):
    for kind, items in (("ner", 2), ("re", 1)):
        rows = parts(kind)
        shift = 380 - len(rows["test"][0]["text"])
        rows["test"][0]["text"] = "é" * (shift - 1) + " " + rows["test"][0]["text"]
        for place, entity in enumerate(rows["test"][0]["entities"]):
            if isinstance(entity, dict):
                entity.update(start=entity["start"] + shift, end=entity["end"] + shift)
            else:
                rows["test"][0]["entities"][place] = [entity[0] + shift, entity[1] + shift, entity[2]]
        found = checked(write(kind, files(rows), DATA), tiny_folder)["gold"]
        assert (found["in_files"], found["read"], found["lost"]) == (10 * items, 9 * items, {"past the context": items})
        assert found["kept_percent"] == 90.0


def test_leaks_between_splits_are_counted(write, tiny_folder):
    rows = parts("single")
    shared = "the ward round found her well rested and free of any pain or fever today"
    for row in (rows["train"][0], rows["test"][0], rows["test"][1]):
        row["text"] += f" Again {shared}."
    rows["train"][1]["text"] += " the ward round found her well rested and free of any pain"  # 12 words
    rows["train"][2]["text"] = rows["test"][0]["text"].upper()
    rows["train"][3] |= {"text": rows["dev"][0]["text"], "patient": 7}
    rows["dev"][1]["patient"] = 7
    for split in SPLITS:
        for n, row in enumerate(rows[split]):
            row.setdefault("patient", f"{split}{n}")
    rows["test"][1]["patient"] = "train4"
    found = checked(write("single", files(rows), {**DATA, "columns": {"document": "patient"}}), tiny_folder)
    assert found["leaks"] == {
        "train": {
            "same_document_left_out": 2,
            "same_input_left_out": 0,
            "dev_examples_sharing_runs": 0,
            "test_examples_sharing_runs": 2,
        },
        "dev": {"same_document_left_out": 0, "same_input_left_out": 0, "test_examples_sharing_runs": 0},
    }
    assert found["examples"] == {"train": 4, "dev": 2, "test": 2}


def test_examples_with_something_to_find_are_shown_first(write):
    rows = parts()
    for row in rows["train"][:4]:
        row["entities"] = []
    path = write(files=files(rows), data=DATA)
    task = card_file.read(path)
    examples = shown(task, task.load(path.parent))
    assert [e["id"] for e in examples] == ["own:train:train:5@0", "own:train:train:6@0", "own:train:train:1@0"]
    assert examples[0]["target"] == "Tumour: glioma\nTreatment: temozolomide"
    assert examples[0]["input"].endswith("\nAnswer:")
