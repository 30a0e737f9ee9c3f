"""Correcting answers to whole notes on the page, in a headless Chromium: classes, extracted answers, words, and downloads."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpdd.data.cards.card_file import read
from tests.cli.conftest import Ran, mpdd  # noqa: F401  a fixture
from tests.serving import test_page
from tests.serving.test_page import IN_CHROMIUM, NOTE, Stub, Tab, span

stub, tab = test_page.stub, test_page.tab
pytestmark = IN_CHROMIUM


def card(task: str, selector: str) -> str:
    """The script expression for a control in the card of a task."""
    own = f"all('.card').find((c) => c.querySelector('h3').textContent === {json.dumps(task)})"
    return f"{own}.querySelector({json.dumps(selector)})"


def press(tab: Tab, task: str, verdict: str) -> None:
    tab.run(f"{{ const button = {card(task, f'[data-key$={verdict}]')}; button.focus(); button.click(); }}")


def choose_class(tab: Tab, task: str, name: str) -> None:
    control = card(task, "select")
    tab.run(f"{{ const c = {control}; c.focus(); c.value = {json.dumps(name)}; c.dispatchEvent(new Event('change')); }}")


def type_over(tab: Tab, task: str, words: str) -> None:
    """Type in place of all that is there."""
    tab.run(f"{{ const area = {card(task, 'textarea')}; area.focus(); area.select(); }}")
    tab.ask("Input.insertText", text=words)


def annotate(tab: Tab, *tasks: str, question: str = "Which?") -> None:
    tab.sign_in()
    tab.type("note", NOTE)
    tab.choose(*tasks)
    for number, words in enumerate([question, "one\ntwo"]):
        tab.run(f"{{ const area = all('.fields textarea')[{number}]; if (area) area.value = {json.dumps(words)}; }}")
    tab.run("$('go').click()")
    tab.wait("!$('results').hidden")


def lines(tab: Tab, folder: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in tab.download(folder, f"jsonl {task}").read_text(encoding="utf-8").splitlines()]


def nothing(tab: Tab, task: str) -> bool:
    """Whether there is no line to download."""
    tab.run(f"$('format').value = 'jsonl {task}', $('download').click()")
    return tab.status() == f"No note has an answer of {task} that is not rejected."


def test_another_class_is_chosen_and_taken_back(tab: Tab, tmp_path: Path) -> None:
    annotate(tab, "urgency", "infer")
    assert tab.run(f"{card('urgency', '.answer')}.className") == "answer pale"  # a confidence of 30 %
    assert tab.run("[$('adding').hidden, $('negation').hidden, $('undo').disabled]") == [True, True, True]
    assert lines(tab, tmp_path, "urgency") == [{"text": NOTE, "answer": "urgent"}]
    choose_class(tab, "urgency", "routine")
    assert tab.run("document.activeElement.getAttribute('aria-label')") == "Answer of urgency"  # which keeps the focus
    assert tab.run(f"{card('urgency', '.answer')}.className") == "answer accepted"
    assert tab.run(f"{card('urgency', '.origin')}.textContent") == "was urgent"
    assert tab.run("$('checked').textContent") == "1 of 2 items checked"
    assert lines(tab, tmp_path, "urgency") == [{"text": NOTE, "answer": "routine"}]
    tab.run("$('copy-json').click()")
    tab.wait("copied.length === 1")
    (urgency, infer) = sorted(json.loads(tab.run("copied[0]"))["results"], key=lambda result: -len(result["task"]))
    assert (urgency["answer"], urgency["confidence"]) == ("routine", None)  # the model's was for another class
    assert infer["answer"] == "yes"
    press(tab, "infer", "reject")
    assert tab.run("document.activeElement.getAttribute('aria-label')") == "Reject the answer of infer"
    assert nothing(tab, "infer")
    tab.run("$('undo').click(), $('undo').click()")
    assert tab.run("$('undo').disabled")
    assert [row["answer"] for task in ("urgency", "infer") for row in lines(tab, tmp_path, task)] == ["urgent", "yes"]


def test_several_classes_are_ticked(tab: Tab, tmp_path: Path) -> None:
    annotate(tab, "sort")
    assert lines(tab, tmp_path, "sort") == [{"text": NOTE, "answer": ["b"]}]
    tab.run("all('.classes input')[2].focus(), all('.classes input')[2].click()")
    assert tab.run("document.activeElement === all('.classes input')[2]")
    assert lines(tab, tmp_path, "sort") == [{"text": NOTE, "answer": ["b", "c"]}]
    tab.run("all('.classes input')[1].click()")
    tab.run("all('.classes input')[2].click()")
    assert tab.run(f"{card('sort', '.origin')}.textContent") == "was b"
    assert lines(tab, tmp_path, "sort") == [{"text": NOTE, "answer": []}]  # none of them is an answer, too
    press(tab, "sort", "reject")
    assert nothing(tab, "sort")


def test_an_answer_that_could_not_be_read_is_gold_only_when_a_person_gives_it(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(test_page.RESULTS, "sort", {"type": "classification", "labels": [], "unparseable": True})
    annotate(tab, "sort", "pick", "sum")
    assert all(nothing(tab, task) for task in ("sort", "pick", "sum"))
    press(tab, "sort", "accept")
    choose_class(tab, "pick", "two")
    type_over(tab, "sum", "Kidneys failed.")
    assert lines(tab, tmp_path, "sort") == [{"text": NOTE, "answer": []}]
    assert lines(tab, tmp_path, "pick") == [{"text": NOTE, "Question": "Which?", "choices": ["one", "two"], "answer": "two"}]
    assert lines(tab, tmp_path, "sum") == [{"text": NOTE, "answer": "Kidneys failed."}]


def test_words_are_edited_as_one_correction(tab: Tab, tmp_path: Path) -> None:
    annotate(tab, "free", "sum")
    type_over(tab, "free", "A ")
    tab.ask("Input.insertText", text="migraine.")  # the field is the same, with its caret behind what was typed
    assert tab.run(f"{card('free', '.origin')}.textContent") == "edited"
    assert tab.run(f"{card('free', '[data-key$=accept]')}.getAttribute('aria-pressed')") == "true"
    assert lines(tab, tmp_path, "free") == [{"text": NOTE, "answer": "A migraine."}]
    button = f"{card('free', '[data-key$=reject]')}.getBoundingClientRect()"
    tab.run(f"{card('free', 'textarea')}.focus(), $('cards').scrollIntoView()")
    place = tab.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({button})")
    for kind in ("mousePressed", "mouseReleased"):  # a click of the mouse, while the field has the focus
        tab.ask("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)
    assert tab.run(f"{card('free', '.answer')}.className") == "answer rejected"
    tab.run("$('undo').click(), $('undo').click()")
    assert tab.run(f"[{card('free', 'textarea')}.value, $('undo').disabled]") == ["A headache.", True]


def test_an_extracted_answer_is_edited_or_selected_in_the_note(tab: Tab, tmp_path: Path) -> None:
    marked = "all('mark').map((mark) => [mark.textContent, mark.dataset.tag])"
    annotate(tab, "ask", "lost")
    assert tab.run(marked) == [["acute", "Answer 50\u202f%"]]
    assert tab.run(f"{card('lost', '.origin')}.textContent") == "these words do not stand in the note"
    type_over(tab, "ask", "renal failure")  # over a line end
    assert tab.run(marked) == [["renal\nfailure", "Answer \u2713"]]
    assert tab.run("all('.lit').length") == 0
    asked = {"text": NOTE, "Question": "Which?"}
    assert lines(tab, tmp_path, "ask") == [{**asked, "answer": "renal\nfailure", "answer_start": span("renal")["start"]}]
    type_over(tab, "ask", "no such words")
    assert tab.run(marked) == []
    assert tab.run(f"{card('ask', '.origin')}.textContent") == "edited · these words do not stand in the note"
    second = NOTE.index("aspirin", 20)
    start = len(NOTE[:second].encode("utf-16-le")) // 2
    tab.select(start, start + 7)
    tab.run(f"{card('ask', '.row button:last-of-type')}.click()")
    assert tab.run(marked) == [["aspirin", "Answer \u2713"]]
    assert lines(tab, tmp_path, "ask") == [{**asked, "answer": "aspirin", "answer_start": second}]
    with zipfile.ZipFile(tab.download(tmp_path, "csv")) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("answers.csv").decode())))
    assert [(row["answer"], row["start"]) for row in rows] == [("aspirin", str(second)), ("elsewhere", "")]
    tab.run("all('mark')[0].click()")
    assert tab.run("document.activeElement.value") == "aspirin"


def test_formats_say_which_tasks_they_leave_out(tab: Tab, tmp_path: Path) -> None:
    annotate(tab, "drugs", "urgency", "free")
    offered = dict(tab.run("[...$('format').options].map((option) => [option.value, option.textContent])"))
    assert offered["brat"] == "brat (.txt and .ann, zip), without free, urgency"
    assert offered["doccano"] == "doccano, without free"
    assert offered["label-studio"] == "Label Studio"
    choose_class(tab, "urgency", "routine")
    leaves = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    (row,) = map(json.loads, tab.download(tmp_path, "doccano").read_text(encoding="utf-8").splitlines())
    assert (row["label"], len(row["entities"])) == (["routine"], 5)
    assert tab.run(leaves) is False  # the download has not all of it
    (task,) = json.loads(tab.download(tmp_path, "label-studio").read_text(encoding="utf-8"))
    said = {result["from_name"]: result["value"] for result in task["annotations"][0]["result"] if result["type"] != "labels"}
    assert said == {"urgency": {"choices": ["routine"]}, "free": {"text": ["A headache."]}}
    assert tab.run(leaves) is True


def test_formats_that_cannot_be_chosen_say_why(tab: Tab, stub: Stub, tmp_path: Path) -> None:
    stub.formats = ["brat", "csv", "omop"]
    annotate(tab, "drugs", "urgency")
    every = "Object.fromEntries([...$('format').options].map((option) => [option.value, [option.textContent, option.disabled]]))"
    offered = tab.run(every)
    assert offered["inception"] == ["INCEpTION (zip) (not installed on this server)", True]
    assert offered["spacy"] == ["spaCy DocBin (not installed on this server)", True]
    assert offered["omop"] == ["OMOP NOTE_NLP (names of notes must be whole numbers)", True]
    assert offered["label-studio"] == ["Label Studio", False]  # the page itself writes it
    tab.run("$('opened').textContent = '4711.txt'")  # as when a file of this name was opened
    tab.run("$('go').click()")
    tab.wait("[...$('format').options].some((option) => option.value === 'omop' && !option.disabled)")
    assert tab.run(every)["omop"] == ["OMOP NOTE_NLP, without urgency", False]
    (row, *_) = csv.DictReader(io.StringIO(tab.download(tmp_path, "omop").read_text(encoding="utf-8")))
    assert row["note_id"] == "4711"


@pytest.mark.parametrize("to", ["bioc-json", "bioc-xml", "csv", "fhir", "html", "prodigy"])
def test_the_server_writes_what_was_corrected(tab: Tab, tmp_path: Path, to: str) -> None:
    annotate(tab, "urgency", "infer")
    choose_class(tab, "urgency", "routine")
    press(tab, "infer", "reject")
    file = tab.download(tmp_path, to)
    content = zipfile.ZipFile(file).read("answers.csv") if to == "csv" else file.read_bytes()
    assert b"routine" in content and b"yes" not in content


def test_two_questions_about_a_note_are_two_lines(tab: Tab, tmp_path: Path) -> None:
    annotate(tab, "ask", "urgency")
    tab.run("$('next').click()")
    tab.type("note", NOTE)
    tab.run("all('.fields textarea')[0].value = 'Where?', $('go').click()")
    tab.wait("!$('results').hidden")
    choose_class(tab, "urgency", "routine")
    assert [row["Question"] for row in lines(tab, tmp_path, "ask")] == ["Which?", "Where?"]
    assert [row["answer"] for row in lines(tab, tmp_path, "urgency")] == ["routine"]  # which no question tells apart


@pytest.mark.parametrize(
    ("task", "options", "corrected", "gold"),
    [
        ("urgency", ["--type", "classification", "--labels", "urgent,routine"], "routine", 1),
        ("sort", ["--type", "classification", "--form", "multiple", "--labels", "a,b,c"], ["b", "c"], (1, 2)),
        ("ask", ["--type", "qa", "--form", "extractive", "--fields", "Question"], "renal\nfailure", "renal\nfailure"),
        ("sum", ["--type", "summarization"], "Kidneys failed.", "Kidneys failed."),
    ],
    ids=["single", "multiple", "extractive", "summary"],
)
@pytest.mark.parametrize("form", ["jsonl", "label-studio"])
def test_corrected_answers_become_a_task(
    tab: Tab, mpdd: Callable[..., Ran], tmp_path: Path, task: str, options: list[str], corrected: Any, gold: Any, form: str,  # noqa: F811
) -> None:  # fmt: skip
    """From the page to a file to a card: what the person said is what the card's data holds."""
    annotate(tab, task)
    for number in range(6):
        if number:
            tab.run("$('next').click()")
            tab.type("note", f"{NOTE} Visit {number}.")
            tab.run("{ const area = all('.fields textarea')[0]; if (area) area.value = 'Which?'; } $('go').click()")
            tab.wait("!$('results').hidden")
        if task == "urgency":
            choose_class(tab, task, corrected)
        elif task == "sort":
            tab.run("all('.classes input')[2].click()")
        else:
            type_over(tab, task, corrected)
    file = tab.download(tmp_path, f"jsonl {task}" if form == "jsonl" else form)
    own = tmp_path / "own.toml"
    ran = mpdd("task", "new", "--name", "own", *options, "--instruction", "Answer.", "--train", file, "--out", own)
    assert ran.code == 0, ran.err
    splits = read(own).load(Path())
    examples = [*splits.train, *splits.dev, *splits.test]
    assert len(examples) == 6
    found = {"urgency": lambda a: a.choice, "sort": lambda a: a.labels}.get(task, lambda a: a.text)
    assert {found(example.gold) for example in examples} == {gold}
