"""`mpdd task`: cards from options, from answers and from ready ones, and the report on their data."""

from __future__ import annotations

import io
import json
import re
import sys
import tomllib
from collections import Counter

import pytest

from mpdd.backbone import vocabulary
from mpdd.data.cards import new
from mpdd.data.task import SPLITS
from tests.cases import CASES
from tests.cli.conftest import SECRET
from tests.data.cards.conftest import CARDS, lines, record, table

NER = ["--name", "own", "--type", "ner", "--instruction", "List.", "--labels", "Tumour, Treatment", "--train", "a.jsonl"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with entities, a brat folder, and a table whose columns have other names."""
    (tmp_path / "a.jsonl").write_text(lines([record("ner", n) for n in range(10)]))
    rows = [{"note": record("nli", n)["text"], "sentence2": f"It is {n}.", "gold_label": "e", "patient_id": n} for n in range(10)]
    (tmp_path / "nli.csv").write_text(table(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def typed(monkeypatch):
    """Answer questions with these lines, as if typed."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def typed(*answers, is_terminal=True):
        text = "".join(f"{answer}\n" for answer in answers)
        monkeypatch.setattr(sys, "stdin", Terminal(text) if is_terminal else io.StringIO(text))

    return typed


def refused(ran):
    """The one line with which a command was refused."""
    assert ran.code == 2
    assert SECRET not in ran.out + ran.err and "zebra" not in ran.out + ran.err
    assert "Traceback" not in ran.err and ran.err.endswith("\n")
    return ran.err.splitlines()[-1]


def read(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))


# new


def test_a_card_with_all_that_is_needed_asks_nothing(mpdd, folder, typed):
    typed(is_terminal=False)
    ran = mpdd("task", "new", *NER)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "Recognised the data as JSON lines.\nWrote own.toml.\nFound 7 train, 1 dev and 2 test examples.\n"
    assert read(folder / "own.toml") == {
        "name": "own",
        "type": "ner",
        "instruction": "List.",
        "labels": ["Tumour", "Treatment"],
        "text_field": "Text",
        "max_answer_tokens": 160,
        "data": {"format": "jsonl", "train": "a.jsonl"},
    }


def test_columns_are_proposed_from_the_first_record_and_options_go_first(mpdd, folder):
    options = ["--name", "own", "--type", "nli", "--instruction", "Entails?", "--labels", "entailment,neutral"]
    ran = mpdd("task", "new", *options, "--train", "nli.csv", "--value", "e=entailment", "--column", "id=patient_id")
    assert (ran.code, ran.err) == (0, "")
    card = read(folder / "own.toml")
    assert card["data"]["columns"] == {"text": "note", "Hypothesis": "sentence2", "answer": "gold_label", "id": "patient_id"}
    assert card["data"]["labels"] == {"e": "entailment"}
    assert (card["fields"], card["text_field"], card["data"]["format"]) == (["Hypothesis"], "Premise", "csv")


@pytest.mark.parametrize("kind", CARDS)
def test_every_type_can_be_made_by_options(kind, mpdd, folder):
    card = CARDS[kind]
    (folder / "b.jsonl").write_text(lines([record(kind, n) for n in range(10)]))
    options = ["--name", "own", "--type", card["type"], "--instruction", "Do it.", "--train", "b.jsonl"]
    options += ["--labels", ",".join(card["labels"])] if "labels" in card else []
    options += ["--form", card["form"]] if "form" in card else []
    options += ["--fields", ",".join(card["fields"])] if "fields" in card else []
    ran = mpdd("task", "new", *options)
    assert (ran.code, ran.err) == (0, "")
    assert "Found 7 train, 1 dev and 2 test examples." in ran.out


def test_what_is_left_out_is_asked_for(mpdd, folder, typed):
    typed("own", "nil", "nli", "Entails?", "entailment,neutral", "", "", "nli.csv", "", "", "", "", "", "", "", "")
    ran = mpdd("task", "new", "--value", "e=entailment")
    assert ran.code == 0
    assert "Found 7 train, 1 dev and 2 test examples." in ran.out
    card = read(folder / "own.toml")
    assert (card["type"], card["labels"], card["fields"]) == ("nli", ["entailment", "neutral"], ["Hypothesis"])
    assert card["data"]["columns"]["document"] == "patient_id"
    assert "The first record has note, sentence2, gold_label, patient_id." in ran.err


def test_a_note_in_the_place_of_the_header_is_not_shown(mpdd, folder, typed):
    note = "The patient came with a fever that had lasted for nine days"
    (folder / "bare.csv").write_text("".join(f"{note} {n},neutral\n" for n in range(9)))
    typed("own", "nli", "Entails?", "entailment,neutral", "", "", "bare.csv", *[""] * 9)
    ran = mpdd("task", "new")
    assert "2 columns, with names too long to show" in ran.err
    assert "nine days" not in ran.err + ran.out


def test_a_question_that_nobody_can_answer_names_its_option(mpdd, folder, typed):
    typed("own", is_terminal=False)
    said = refused(mpdd("task", "new", "--type", "ner"))
    assert "Nobody answered 'Instruction to the model'. Give it as --instruction." in said
    assert not list(folder.glob("*.toml"))


def test_paths_are_kept_as_they_are_found_from_the_card(mpdd, folder):
    assert mpdd("task", "new", *NER, "--out", "cards/one.toml").code == 0
    assert read(folder / "cards" / "one.toml")["data"]["train"] == "../a.jsonl"
    (folder / "b.jsonl").write_text(lines([record("ner", n) for n in range(20, 30)]))
    assert mpdd("task", "new", *NER, "--train", folder / "b.jsonl", "--force").code == 0
    assert read(folder / "own.toml")["data"]["train"] == ["a.jsonl", str(folder / "b.jsonl")]


def test_a_card_is_not_overwritten_unless_forced(mpdd, folder):
    assert mpdd("task", "new", *NER).code == 0
    before = (folder / "own.toml").read_bytes()
    assert "own.toml is there already" in refused(mpdd("task", "new", *NER, "--text-field", "Note"))
    assert (folder / "own.toml").read_bytes() == before
    assert mpdd("task", "new", *NER, "--text-field", "Note", "--force").code == 0
    assert read(folder / "own.toml")["text_field"] == "Note"


def test_an_export_is_recognised_and_named_in_the_card(mpdd, folder):
    drugs = ["--name", "own", "--type", "ner", "--instruction", "List.", "--labels", "Drug,Problem"]
    ran = mpdd("task", "new", *drugs, "--train", CASES / "label_studio" / "ls.csv")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(
        "Recognised the data as Label Studio.\nWrote own.toml.\nFound 9 train, 2 dev and 3 test examples.\n"
    )
    assert "      14 records recognised as Label Studio\n" in ran.out
    data = read(folder / "own.toml")["data"]
    assert (data["format"], "columns" in data) == ("label-studio", False)


def test_exports_of_several_tools_make_one_task(mpdd, folder):
    drugs = ["--name", "own", "--type", "ner", "--instruction", "List.", "--labels", "Drug,Problem"]
    parts = {"train": "label_studio/ls.json", "dev": "prodigy/prodigy.jsonl", "test": "doccano/seq.jsonl"}
    ran = mpdd("task", "new", *drugs, *(word for split, name in parts.items() for word in (f"--{split}", CASES / name)))
    assert ran.out.startswith("Recognised the data as of several formats, each by itself.\nWrote own.toml.\n")
    assert "Found 14 train, 6 dev and 14 test examples." in ran.out
    assert "format" not in read(folder / "own.toml")["data"]


def test_a_format_that_is_given_overrules_what_the_content_says(mpdd, folder):
    drugs = ["--name", "own", "--type", "ner", "--instruction", "List.", "--labels", "Drug,Problem"]
    ran = mpdd(
        "task", "new", *drugs, "--train", CASES / "label_studio" / "ls.csv", "--format", "table", "--column", "entities=label"
    )
    assert (ran.code, "ecognised" in ran.out) == (0, False)
    assert "Found 9 train, 2 dev and 3 test examples." in ran.out
    assert read(folder / "own.toml")["data"]["format"] == "table"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--type", "nerr"], "type: input should be 'ner'"),
        (["--format", "jsom"], "data.format: wanted one of jsonl"),
        (["--train", "none.jsonl"], "train: there is no file or folder"),
        (["--form", "single"], "answers of this form"),
        (["--column", "text"], "--column names two things"),
        (["--column", "txt=note"], "columns.txt: no such column, perhaps text"),
        (["--value", "T=Tumor"], "labels.T: 'Tumor' is no label of the card, perhaps Tumour"),
        (["--name", "rq/e"], "name: "),
        (["--name", "rqe"], "name: the catalogue has a task of this name"),
        (["--name", "n" * 300], "File name too long"),
        (["--train", ""], "data.train.1: string should have at least 1 character"),
        (["--train", "x" * 300], "train: there is no file or folder"),
        (["--value", "T"], "--value names two things; found one, or nothing; wanted --value theirs=ours"),
        (["--out", "card"], "The name of a card ends in .toml; found 'card'. Choose another with --out."),
    ],
)
def test_a_card_that_would_be_wrong_is_not_written(mpdd, folder, more, message):
    assert message in refused(mpdd("task", "new", *NER, *more))
    assert not list(folder.rglob("*.toml"))


def test_no_card_is_written_for_data_that_cannot_be_used(mpdd, folder):
    ran = mpdd("task", "new", *NER, "--column", "text=note")
    assert ran.out == ""
    assert "a.jsonl lacks columns; found entities, text; wanted note." in refused(ran)
    assert not list(folder.rglob("*.toml"))


def test_content_that_cannot_be_told_is_said_where_nobody_can_answer(mpdd, folder, typed):
    (folder / "a.bin").write_text("zebra\n\n\nzebra zebra\n")
    typed(is_terminal=False)
    ran = mpdd("task", "new", *NER, "--train", "a.bin")
    assert (
        "What is in a.bin cannot be told by its content; found a file of no known kind; wanted --format, one of jsonl"
        in refused(ran)
    )


def test_what_was_skipped_is_said_at_once(mpdd, folder):
    (folder / "a.jsonl").write_text((folder / "a.jsonl").read_text() + '{"text": "zebra\n')
    assert f"       1 skipped: not valid JSON (truncated?) ({folder / 'a.jsonl'} line 11)\n" in mpdd("task", "new", *NER).out


def test_data_is_not_overwritten_by_its_card(mpdd, folder):
    before = (folder / "a.jsonl").read_bytes()
    assert "The name of a card ends in .toml" in refused(mpdd("task", "new", *NER, "--out", "a.jsonl", "--force"))
    assert (folder / "a.jsonl").read_bytes() == before


# Ready cards


def test_ready_cards_are_listed_and_copied(mpdd, folder):
    listed = mpdd("task", "new", "--list").out
    assert [line.split()[0] for line in listed.splitlines()] == list(new.presets())
    name = next(iter(new.presets()))
    ran = mpdd("task", "new", "--like", name)
    assert ran.code == 0
    assert ran.out.startswith(f"Wrote {name}.toml.\nIts data was not read: {name}.toml has 1 problem: data: train: there is no")
    assert (folder / f"{name}.toml").read_bytes() == new.presets()[name].encode()
    assert "is there already" in refused(mpdd("task", "new", "--like", name))
    assert "no ready card called 'zzz'" in refused(mpdd("task", "new", "--like", "zzz"))


def test_a_ready_card_with_a_wrong_option_is_not_written(mpdd, folder):
    assert "l.toml has 1 problem: type: " in refused(mpdd("task", "new", "--like", "mednli", "--type", "nil", "--out", "l.toml"))
    assert not (folder / "l.toml").exists()


def test_a_ready_card_for_data_elsewhere(mpdd, folder):
    (folder / "data").mkdir()
    rows = [{"sentence1": f"It is {n}.", "sentence2": "It is.", "gold_label": "neutral", "pairID": n} for n in range(10)]
    (folder / "data" / "all.jsonl").write_text(lines(rows))
    for split in ("dev", "test"):
        (folder / f"{split}.jsonl").write_text(lines([rows[0] | {"sentence1": f"Of {split}."}]))
    data = ["--train", "data/all.jsonl", "--dev", "dev.jsonl", "--test", "test.jsonl"]
    ran = mpdd("task", "new", "--like", "mednli", "--name", "mine", *data)
    assert (ran.code, ran.out) == (0, "Wrote mine.toml.\nFound 10 train, 1 dev and 1 test examples.\n")
    assert read(folder / "mine.toml")["citation"].startswith("Romanov")


# check


@pytest.fixture
def card(mpdd, folder):
    assert mpdd("task", "new", *NER).code == 0
    return folder / "own.toml"


def test_check_prints_facts_and_three_examples(mpdd, card, tiny_folder):
    ran = mpdd("task", "check", card, "--backbone", tiny_folder)
    assert (ran.code, ran.err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in ran.out.splitlines() if len(line.split()) in (4, 5)}
    assert (rows["examples"], rows["Tumour"]) == (["7", "1", "2"], ["7", "1", "2", "10"])
    assert "Of 20 gold items in the files 20 stand in what the model reads.\n" in ran.out
    assert "A trivial answer has strict_f1 0.0 on test." in ran.out
    assert ran.out.count("Answer: Tumour: glioma\n") == 3
    hidden = mpdd("task", "check", card, "--backbone", tiny_folder, "--no-examples")
    assert "skipped, cut or left out" not in hidden.out
    assert "glioma" not in hidden.out and "zebra" not in hidden.out


def test_check_as_json_gives_the_same(mpdd, card, tiny_folder):
    found = json.loads(mpdd("task", "check", card, "--json", "--backbone", tiny_folder).out)
    assert found["examples"] == {"train": 7, "dev": 1, "test": 2}
    assert found["chance"] == {"metric": "strict_f1", "test": 0.0}
    assert len(found["shown"]) == 3 and found["tokens"]["context"] == 256
    found = json.loads(mpdd("task", "check", card, "--json", "--no-examples", "--backbone", tiny_folder).out)
    assert found["shown"] == []


def test_check_counts_in_the_embedded_backbone_s_tokens_unless_told_otherwise(mpdd, card):
    assert json.loads(mpdd("task", "check", card, "--json").out)["tokens"]["context"] == vocabulary.load().context != 256


def test_check_tells_what_was_read_in_another_way_from_what_is_lost(mpdd, card, folder, tiny_folder):
    text = "\N{CRYING FACE} has glioma."
    entity = {"start": 7, "end": 13, "label": "Tumour", "text": "glioma"}
    lines = [json.dumps({"text": f"{text} {n}", "entities": [entity]}) for n in range(10)]
    (folder / "a.jsonl").write_text("\n".join([*lines, '{"text": "zebra"}', ""]))
    out = mpdd("task", "check", card, "--backbone", tiny_folder, "--no-examples").out
    read, lost = out.split("read, and nothing lost")[1].split("skipped, cut or left out")
    assert "mentions with offsets in UTF-16 units" in read and "skipped: field 'entities' is missing" in lost
    assert "First one skipped (field 'entities' is missing): " in lost


def test_strict_stops_at_the_first_bad_record(mpdd, card, folder, tiny_folder):
    (folder / "a.jsonl").write_text((folder / "a.jsonl").read_text() + '{"text": "zebra"}\n')
    found = json.loads(mpdd("task", "check", card, "--json", "--backbone", tiny_folder).out)
    assert found["notes"] == {"skipped: field 'entities' is missing": 1}
    said = refused(mpdd("task", "check", card, "--strict"))
    assert "a.jsonl line 11: field 'entities' is missing" in said


@pytest.mark.parametrize("arguments", [["none.toml"], ["a.jsonl"], ["own.toml", "--backbone", "cards"]])
def test_check_refuses_in_one_line(mpdd, card, folder, arguments):
    (folder / "cards").mkdir()
    assert refused(mpdd("task", "check", *arguments)).startswith("mpdd: ")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_the_terminal_cannot_show_is_escaped(more, mpdd, card, folder, tiny_folder, monkeypatch):
    (folder / "a.jsonl").write_text(
        (folder / "a.jsonl").read_text().replace("zebra", "zébra \N{GRINNING FACE}"), encoding="utf-8"
    )
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert mpdd("task", "check", card, "--backbone", tiny_folder, *more).code == 0
    sys.stdout.flush()
    said = raw.getvalue().decode()
    assert json.loads(said)["shown"][0]["input"].count("\N{GRINNING FACE}") == 1 if more else "\\U0001f600" in said


def test_the_catalogue_s_commands_take_a_card(mpdd, card):
    assert mpdd("tasks", "own.toml").code == 0


# A corpus whose gold is counted by hand: all of it is read, or lost for a reason that is said

SENTENCES = 40  # of each document, some 3,000 characters
IN_EACH = {  # how many are lost of each document, where no window and no context matters
    "ner": {"discontinuous": 5, "label not on the card": 1, "repeated": 1, "mention that its offsets do not give": 1,
            "mention cut short or malformed": 1},
    "re": {"discontinuous": 5, "label not on the card": 2, "repeated": 1, "relation without two known arguments": 1,
           "event with an unknown argument": 1, "group with an unknown member": 1},
}  # fmt: skip
ELSE = {"ner": {"in a later split too"}, "re": {"in a later split too", "across the edge of a window"}}


def long_document(number):
    """A long invented note, with the lines of its annotations in brat."""
    places, text = [], f"Visit {number}.\n"
    for n in range(SENTENCES):
        places.append(len(text))
        text += f"On day {n} drug{number}x{n} was given for ache{number}x{n} in the left arm, with rest.\n"
    found = []

    def mention(label, sentence, *words, place=None):
        starts = [] if place else [text.index(word, places[sentence]) for word in words]
        spans = place or ";".join(f"{start} {start + len(word)}" for start, word in zip(starts, words, strict=True))
        found.append(f"T{len(found) + 1}\t{label} {spans}\t{' '.join(words)}")
        return f"T{len(found)}"

    drugs = [mention("Drug", n, f"drug{number}x{n}") for n in range(SENTENCES)]
    aches = [mention("Ache", n, f"ache{number}x{n}") for n in range(SENTENCES)]
    apart = [mention("Ache", n, f"ache{number}x{n}", "arm") for n in range(0, SENTENCES, 8)]
    arm = mention("Place", 3, "arm")
    mention("Drug", 5, f"drug{number}x5")
    mention("Drug", 6, "nowhere", place="10 17")
    mention("Drug", 7, "rest", place="1;2")
    pairs = [("treats", drugs[n], aches[n]) for n in range(0, SENTENCES, 2)]
    pairs += [("treats", drugs[n], drugs[-1 - n]) for n in range(3)] + [("causes", drugs[0], end) for end in apart]
    pairs += [("likes", drugs[4], aches[4]), ("treats", drugs[0], aches[0]), ("causes", drugs[1], "T999")]
    found += [f"R{n}\t{label} Arg1:{head} Arg2:{tail}" for n, (label, head, tail) in enumerate(pairs)]
    found += [f"E1\tDrug:{drugs[8]} causes:{aches[8]} treats:{aches[9]} where:{arm} causes2:T999"]
    found += [f"*\tcauses {aches[10]} {aches[11]} {aches[12]}", f"*\ttreats {aches[10]} T999", f"A1\tNegated {aches[1]}"]
    return text, "".join(f"{line}\n" for line in found)


def gold_of(files, task_type):
    """The gold in brat files by label, counted line by line: entities; or pairs of relations, of events and of groups."""
    counts = Counter()
    for line in "".join(files).splitlines():
        key, words = line.split("\t")[0], line.split("\t")[1].split()
        if task_type == "ner" and key.startswith("T"):
            counts["(not readable)" if words[1] == "1;2" else words[0]] += 1
        elif task_type == "re" and key.startswith("R"):
            counts[words[0]] += 1
        elif task_type == "re" and key.startswith("E"):
            counts.update(role.partition(":")[0].rstrip("0123456789") for role in words[1:])
        elif task_type == "re" and key == "*":
            counts[words[0]] += len(words) - 2
    return counts


@pytest.mark.parametrize(
    ("more", "backbone", "reason"),
    [
        ("", "embedded", None),
        ("window = 1500\n", "tiny", "past the context"),
        ("max_answer_tokens = 20\n", "tiny", "past the longest answer"),
    ],
)
@pytest.mark.parametrize(("task_type", "labels"), [("ner", ["Drug", "Ache"]), ("re", ["treats", "causes"])])
def test_what_check_says_adds_up_to_the_gold_of_the_files(
    task_type, labels, more, backbone, reason, mpdd, tmp_path, tiny_folder, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    documents = {("train", n): long_document(n) for n in range(8)} | {("dev", 8): long_document(8), ("test", 9): long_document(9)}
    documents["train", 9] = documents["test", 9]  # a document that stands in two splits
    for (split, number), (text, lines_of) in documents.items():
        (tmp_path / split).mkdir(exist_ok=True)
        (tmp_path / split / f"{number}.txt").write_text(text)
        (tmp_path / split / f"{number}.ann").write_text(lines_of)
    data = "".join(f'{split} = "{split}"\n' for split in SPLITS)
    card = f'name = "own"\ntype = "{task_type}"\ninstruction = "List."\nlabels = {json.dumps(labels)}\n{more}[data]\n{data}'
    (tmp_path / "own.toml").write_text(card)
    options = ["task", "check", "own.toml", "--no-examples", "--backbone", tiny_folder if backbone == "tiny" else backbone]
    report = json.loads(mpdd(*options, "--json").out)
    wanted, gold = gold_of([lines_of for _, lines_of in documents.values()], task_type), report["gold"]
    assert {label: found["in_files"] for label, found in gold["labels"].items()} == dict(wanted)
    assert all(found["in_files"] == found["read"] + sum(found["lost"].values()) for found in gold["labels"].values())
    assert gold["in_files"] == gold["read"] + sum(gold["lost"].values()) == wanted.total()
    assert {label: sum(report["labels"][split][label] for split in SPLITS) for label in labels} == {
        label: gold["labels"][label]["read"] for label in labels
    }
    known = IN_EACH[task_type]
    assert {name: gold["lost"][name] for name in known} == {name: number * len(documents) for name, number in known.items()}
    assert set(gold["lost"]) - set(known) >= ELSE[task_type] | ({reason} if reason else set())
    assert set(gold["lost"]) - set(known) - ELSE[task_type] <= {"past the context", "past the longest answer"} and gold["read"]
    assert set(gold["labels_not_on_card"]) == set(wanted) - set(labels) - {"(not readable)"}
    printed = " ".join(mpdd(*options).out.split())
    ((in_files, read, lost),) = re.findall(
        r"Of (\d+) gold items in the files (\d+) stand in what the model reads([^.]*)\.", printed
    )
    assert int(in_files) == wanted.total() == int(read) + sum(map(int, re.findall(r", (\d+) ", lost)))


# What cards may say of columns and labels, as options


SINGLE = ["--name", "own", "--type", "classification", "--instruction", "Which?", "--labels", "benign,malignant"]


def test_a_table_without_names_and_a_split_with_other_columns(mpdd, folder):
    rows = [record("single", n) for n in range(20)]
    (folder / "a.csv").write_text(table(rows[:15]).partition("\r\n")[2])
    (folder / "b.csv").write_text(table([{"id": n, **row} for n, row in enumerate(rows[15:])]).partition("\r\n")[2])
    columns = ["--column", "answer=1", "--column", "text=2", "--column", "test.answer=2", "--column", "test.text=3"]
    ran = mpdd("task", "new", *SINGLE, "--train", "a.csv", "--test", "b.csv", "--headerless", *columns)
    assert (ran.code, ran.err) == (0, "")
    assert "Found 13 train, 2 dev and 5 test examples." in ran.out
    data = read(folder / "own.toml")["data"]
    assert data["columns"] == {"answer": "1", "text": "2", "test": {"answer": "2", "text": "3"}} and data["headerless"] is True


def test_the_columns_of_train_are_proposed_and_those_of_test_given(mpdd, folder):
    rows = [{"note": record("single", n)["text"], "label": "BENIGN"} for n in range(15)]
    (folder / "a.csv").write_text(table(rows))
    (folder / "b.csv").write_text(table([{"report": row["note"] + " Seen.", "code": "Malignant"} for row in rows]))
    more = ["--test", "b.csv", "--column", "test.text=report", "--column", "test.answer=code"]
    assert "is no label of the card: 'BENIGN', not 'benign'" in refused(mpdd("task", "new", *SINGLE, "--train", "a.csv", *more))
    ran = mpdd("task", "new", *SINGLE, "--train", "a.csv", *more, "--ignore-case")
    assert (ran.code, ran.err) == (0, "") and "and 15 test examples." in ran.out
    data = read(folder / "own.toml")["data"]
    assert data["columns"] == {"text": "note", "answer": "label", "test": {"text": "report", "answer": "code"}}
    assert data["ignore_case"] is True


def test_line_aligned_files(mpdd, folder):
    for column in ("text", "answer"):
        (folder / f"train.{column}").write_text("".join(f"{record('summary', n)[column]}\n" for n in range(10)))
    options = ["--name", "own", "--type", "summarization", "--instruction", "Short.", "--format", "lines"]
    ran = mpdd("task", "new", *options, "--train", "train.text", "--train", "train.answer")
    assert (ran.code, ran.err) == (0, "") and "Found 7 train, 1 dev and 2 test examples." in ran.out
    assert read(folder / "own.toml")["data"] == {"format": "lines", "train": ["train.text", "train.answer"]}


@pytest.mark.parametrize("columns", [["question", "context"], ["question"]])
def test_a_question_without_a_context_is_the_text(columns, mpdd, folder):
    rows = [{"question": f"What {n}?", "context": f"Rest {n} helps.", "answer": "Rest."} for n in range(10)]
    (folder / "qa.jsonl").write_text(lines([{name: row[name] for name in (*columns, "answer")} for row in rows]))
    ran = mpdd(
        "task", "new", "--name", "own", "--type", "qa", "--form", "free", "--instruction", "Answer.", "--train", "qa.jsonl"
    )
    assert (ran.code, ran.err) == (0, "") and "Found 7 train" in ran.out
    card = read(folder / "own.toml")
    wanted = (["Question"], "Text", "context") if "context" in columns else (None, "Question", "question")
    assert (card.get("fields"), card["text_field"], card["data"]["columns"]["text"]) == wanted
