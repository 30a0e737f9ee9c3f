"""Correcting on the page in a headless Chromium: accept, reject, relabel, add, undo, and what is downloaded."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from mpdd.data.readers import brat
from mpdd.data.readers.base import Notes
from tests.serving import test_page
from tests.serving.test_page import IN_CHROMIUM, NOTE, TASKS, Stub, Tab, span

stub, tab = test_page.stub, test_page.tab
pytestmark = IN_CHROMIUM
GIVEN = [
    ("Chemical", "aspirin", 0), ("Disease", "acute renal\nfailure", 0), ("Sign", "renal\nfailure, then", 0),
    ("Sign", "e\u0301lan", 0), ("Chemical", "aspirin", 1),
]  # fmt: skip


def entities(*items: tuple[str, str, int]) -> list[dict[str, Any]]:
    """Entities as a line of our own JSON has them."""
    return [{"label": label, **span(text, which)} for label, text, which in items]


def units(text: str) -> int:
    """The length of a text as JavaScript counts."""
    return len(text.encode("utf-16-le")) // 2


def line(path: Path) -> dict[str, Any]:
    (only,) = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return dict(only)


def marks(tab: Tab) -> Any:
    return tab.run("all('mark').map((mark) => [mark.textContent, mark.dataset.tag, mark.className])")


def test_a_sole_task_is_chosen_and_instructions_are_shown(tab: Tab, stub: Stub) -> None:
    stub.tasks = [{**TASKS[0], "instruction": "List the drugs of the note."}]
    tab.sign_in()
    assert tab.run("all('#tasks :checked').map((box) => box.value)") == ["drugs"]
    assert tab.run("all('#tasks small').map((line) => line.textContent)") == [
        "List the drugs of the note.", "Chemical, Disease, Sign",
    ]  # fmt: skip
    stub.tasks = TASKS
    tab.run("$('forget').click()")
    tab.sign_in()
    assert tab.run("all('#tasks :checked').length") == 1  # as before, although there are more to choose from
    assert "Summaries" in tab.run("$('tasks').textContent")


def test_the_threshold_makes_doubtful_marks_pale(tab: Tab) -> None:
    tab.annotate("drugs")
    assert "Negation is not read" in tab.run("$('negation').textContent")
    assert tab.run("all('mark.pale').length") == 0
    tab.run("$('threshold').value = 95, $('threshold').dispatchEvent(new Event('input'))")
    assert tab.run("[$('below').textContent, all('mark.pale').map((mark) => mark.textContent)]") == ["95\u202f%", ["aspirin"]]
    tab.decide("aspirin", "accept")
    assert tab.run("all('mark.pale').length") == 0  # a person has decided


def test_accept_reject_relabel_and_undo(tab: Tab, tmp_path: Path) -> None:
    tab.annotate("drugs")
    assert tab.run("$('undo').disabled")
    tab.decide("aspirin", "accept")
    assert tab.run("document.activeElement.getAttribute('aria-label')") == "Accept aspirin"  # which keeps the focus
    tab.decide("renal\nfailure, then", "reject")
    tab.relabel("e\u0301lan", "Disease")
    assert marks(tab)[0] == ["aspirin", "Chemical \u2713", "accepted"]
    assert ["e\u0301lan", "Disease \u2713", "accepted"] in marks(tab)
    assert [", then", "Sign \u2715", "rejected"] in marks(tab)
    assert tab.run("$('checked').textContent") == "3 of 5 marks checked"
    assert tab.run("all('.legend button').map((button) => button.textContent)") == ["Chemical 2", "Disease 2"]
    assert line(tab.download(tmp_path, "jsonl drugs")) == {
        "text": NOTE, "entities": entities(*GIVEN[:2], ("Disease", "e\u0301lan", 0), GIVEN[4]),
    }  # fmt: skip
    for _ in range(3):
        tab.run("$('undo').click()")
    assert tab.run("$('undo').disabled && all('.accepted, .rejected').length === 0")
    assert line(tab.download(tmp_path, "jsonl drugs")) == {"text": NOTE, "entities": entities(*GIVEN)}


def test_all_of_it_works_with_the_keyboard(tab: Tab) -> None:
    tab.annotate("drugs")
    tab.run("document.querySelector('.list .go').focus()")

    def press(key: str, modifiers: int = 0) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            tab.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=modifiers)

    press("a")
    press("ArrowDown")
    press("r")
    assert tab.run("all('.list li').map((row) => row.className)") == ["accepted", "rejected", "", "", ""]
    press("z", modifiers=2)
    assert tab.run("all('.list li').map((row) => row.className)") == ["accepted", "", "", "", ""]
    press("a")
    press("a")  # the same again takes it back
    press("ArrowUp")
    press("r")
    assert tab.run("all('.list li').map((row) => row.className)") == ["rejected", "", "", "", ""]
    tab.type("words", "headache")  # in any case, without the mouse
    tab.ask("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    assert tab.status() == "Added as Chemical."
    assert tab.run("all('.list li.accepted .go').map((row) => row.textContent)") == ["Headache added"]


def test_a_mark_leads_to_its_row(tab: Tab) -> None:
    tab.annotate("drugs")
    tab.run("document.querySelector('.list').closest('details').open = false, all('mark').at(-1).click()")
    assert tab.run("document.activeElement.dataset.key") == "4 go"


def test_words_are_added_where_they_were_selected(tab: Tab, tmp_path: Path) -> None:
    tab.annotate("drugs")
    start = units(NOTE[: NOTE.index("Headache") - 3])  # behind the emoji, which JavaScript counts twice
    tab.select(start, units(NOTE[: NOTE.index("Headache") + 8]))
    assert tab.run("$('words').value") == "<b>Headache"
    tab.select(start + 3, start + 11)
    tab.add("Sign")
    tab.run("$('words').value = ''")
    second = NOTE.index("aspirin", 20)
    tab.select(units(NOTE[:second]) - 1, units(NOTE[: second + 7]))  # with the space before it
    tab.add("Disease")
    tab.add("Disease")
    assert tab.status() == "Marked as Disease already."
    tab.run("$('words').value = 'nowhere'")
    tab.add("Disease")
    assert tab.status() == "These words do not stand in the note."
    found = line(tab.download(tmp_path, "jsonl drugs"))["entities"]
    added = [entity for entity in found if entity not in entities(*GIVEN)]
    assert added == entities(("Sign", "Headache", 0), ("Disease", "aspirin", 1))
    tab.run("$('undo').click()")
    assert [mark for mark in marks(tab) if mark[2] == "accepted"] == [["Headache", "Sign \u2713", "accepted"]]


def test_offsets_in_a_file_of_windows_count_its_line_ends(tab: Tab, tmp_path: Path) -> None:
    tab.sign_in()
    tab.choose("drugs")
    text = NOTE + "\r\nSecond line, \U0001f48a cough."
    tab.run(f"""{{ const data = new DataTransfer(); data.items.add(new File([{json.dumps(text)}], 'visit 7.txt'));
        $('tasks').dispatchEvent(new DragEvent('drop', {{ dataTransfer: data, bubbles: true, cancelable: true }})); }}""")
    tab.wait("$('note').value !== ''")
    tab.run("$('go').click()")
    tab.wait("!$('results').hidden")
    start = units(text[: text.index("cough")])
    tab.select(start, start + 5)
    tab.add("Sign")
    tab.run("$('words').value = 'second line'")
    tab.add("Disease")
    found = line(tab.download(tmp_path, "jsonl drugs"))
    assert (found["id"], found["text"]) == ("visit 7", text)
    assert all(text[entity["start"] : entity["end"]] == entity["text"] for entity in found["entities"])
    assert [entity["text"] for entity in found["entities"][-2:]] == ["Second line", "cough"]


def test_label_studio_and_brat_hold_the_corrected_note(tab: Tab, tmp_path: Path) -> None:
    tab.annotate("drugs", "effects")
    tab.decide("renal\nfailure, then", "reject")
    tab.relabel("e\u0301lan", "Disease")
    (task,) = json.loads(tab.download(tmp_path, "label-studio").read_text(encoding="utf-8"))
    assert task["data"] == {"text": NOTE, "note_id": "note-1"}
    (annotation,) = task["annotations"]
    *regions, relation = annotation["result"]
    as_utf16 = NOTE.encode("utf-16-le")
    for region in regions:
        value = region["value"]
        assert as_utf16[2 * value["start"] : 2 * value["end"]].decode("utf-16-le") == value["text"]
    assert [region["value"]["labels"] for region in regions] == [
        ["Chemical"],
        ["Disease"],
        ["Disease"],
        ["Chemical"],
        ["Argument"],
    ]
    assert (relation["labels"], relation["from_id"], relation["to_id"]) == (["Adverse effect"], "T4", "T5")

    archive = tab.download(tmp_path, "brat")
    assert archive.name == "notes-brat.zip"
    with zipfile.ZipFile(archive) as files:
        assert files.read("note-1.txt").decode() == NOTE
        written = files.read("note-1.ann").decode().splitlines()
    tab.run("$('copy-brat').click()")
    tab.wait("copied.length === 1")
    pieces = [{row.split("\t", 1)[1] for row in rows if row[0] == "T"} for rows in (written, tab.run("copied[0]").splitlines())]
    assert pieces[0] == pieces[1]  # our writer and the page's agree on labels, places and words
    (document,) = brat.read(archive, Notes())
    assert len(document.mentions) == 5 and len(document.relations) == 1
    tab.run("$('copy-json').click()")
    tab.wait("copied.length === 2")
    (drugs, _) = json.loads(tab.run("copied[1]"))["results"]
    assert [entity["label"] for entity in drugs["entities"]] == ["Chemical", "Disease", "Disease", "Chemical"]
    assert drugs["entities"][2]["confidence"] is None  # the model's was for another label


def test_relations_are_rejected_and_downloaded_with_their_ends(tab: Tab, tmp_path: Path) -> None:
    tab.annotate("drugs", "effects")
    assert line(tab.download(tmp_path, "jsonl effects")) == {
        "text": NOTE,
        "entities": [
            {"id": "T1", "label": "Chemical", **span("aspirin", 1)},
            {"id": "T2", "label": "Argument", **span("Headache")},
        ],
        "relations": [{"label": "Adverse effect", "head": "T1", "tail": "T2"}],
    }
    tab.run("all('.list [data-key$=reject]').at(-1).click()")
    assert line(tab.download(tmp_path, "jsonl effects")) == {"text": NOTE, "entities": [], "relations": []}


def test_corrections_are_not_dropped_unasked(tab: Tab, stub: Stub) -> None:
    tab.annotate("drugs")
    tab.run("$('go').click()")
    tab.wait("$('go').textContent === 'Annotate'")
    assert (len(stub.asked), tab.run("confirmed.length")) == (2, 0)  # nothing was corrected
    tab.decide("aspirin", "reject")
    tab.run("$('go').click(), $('clear').click()")
    assert (len(stub.asked), tab.run("confirmed.length"), tab.run("$('results').hidden")) == (2, 2, False)
    assert tab.run("dispatchEvent(new Event('beforeunload', { cancelable: true }))") is False
    tab.run("$('undo').click(), $('clear').click()")
    assert tab.run("$('results').hidden && dispatchEvent(new Event('beforeunload', { cancelable: true }))")


def test_a_download_of_one_task_saves_that_task_alone(tab: Tab, tmp_path: Path) -> None:
    leaves = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    tab.annotate("drugs", "effects")
    tab.decide("aspirin", "reject")
    tab.download(tmp_path, "jsonl drugs")
    assert tab.run(leaves) is False
    tab.download(tmp_path, "jsonl effects")
    assert tab.run(leaves) is True
    tab.decide("aspirin", "accept")
    tab.download(tmp_path, "jsonl effects")
    assert tab.run(leaves) is False
    tab.download(tmp_path, "label-studio")
    assert tab.run(leaves) is True


def test_a_note_that_is_annotated_again_keeps_its_other_tasks(tab: Tab, tmp_path: Path) -> None:
    tab.annotate("drugs")
    tab.decide("e\u0301lan", "reject")
    tab.run("$('next').click()")
    tab.choose("drugs", "effects")  # drugs no more
    tab.type("note", NOTE)
    tab.run("$('go').click()")
    tab.wait("!$('results').hidden")
    (task,) = json.loads(tab.download(tmp_path, "label-studio").read_text(encoding="utf-8"))
    words = [region["value"]["text"] for region in task["annotations"][0]["result"] if "value" in region]
    assert words == ["aspirin", "acute renal\nfailure", "renal\nfailure, then", "aspirin", "Headache"]


def test_a_refused_conversion_is_one_sentence(tab: Tab, stub: Stub) -> None:
    tab.annotate("drugs")
    stub.refusal = 413, "answers: too many items.", {}
    tab.run("$('format').value = 'brat', $('download').click()")
    tab.wait("$('status').textContent === 'answers: too many items.'")


def test_corrected_notes_become_a_task(tab: Tab, tmp_path: Path) -> None:
    """From the page to a file to a card: what the person said is what the card's data holds."""
    texts = [f"{NOTE} Visit {number}." for number in range(12)]
    tab.sign_in()
    tab.choose("drugs")
    for number, text in enumerate(texts):
        tab.type("note", text)
        tab.run("$('go').click()")
        tab.wait("!$('results').hidden")
        tab.decide("renal\nfailure, then", "reject")
        tab.relabel("e\u0301lan", "Disease")
        tab.run("$('words').value = 'Headache'")
        tab.add("Sign")
        if number + 1 < len(texts):
            tab.run("$('next').click()")
            tab.wait("$('results').hidden")
    assert tab.run("$('checked').textContent") == "3 of 6 marks checked · 11 notes kept before"
    file = tab.download(tmp_path, "jsonl drugs")
    lines = [json.loads(row) for row in file.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in lines] == texts

    def mpdd(*arguments: str) -> str:
        command = [sys.executable, "-m", "mpdd", *arguments]
        ran = subprocess.run(command, cwd=file.parent, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    options = ["--name", "own", "--type", "ner", "--labels", "Chemical,Disease,Sign", "--instruction", "List them."]
    assert "Found 8 train, 1 dev and 3 test examples." in mpdd("task", "new", *options, "--train", file.name)
    report = json.loads(mpdd("task", "check", "own.toml", "--no-examples", "--json"))
    (file.parent / "report.json").write_text(json.dumps(report))
    assert json.dumps(report).count('"Sign"')
