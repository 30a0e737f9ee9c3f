"""The page as the real server gives it, over the embedded backbone: paste a note, choose tasks, see
the highlights, copy, correct, download.

With MPDD_SCREENSHOT=FILE.png it leaves a picture of the page (docs/page.png was made so).
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import httpx
import pytest

from mpdd.backbone import vocabulary
from mpdd.data.task import TaskCard
from mpdd.prompts.soft import from_vocabulary
from mpdd.prompts.store import Header, save_prompt
from tests.e2e.conftest import serving
from tests.serving.test_page import Browser, Tab, needs_chromium
from tests.serving.test_page_answers import choose_class

pytestmark = [pytest.mark.e2e, needs_chromium]
NOTE = """Mrs Example, 71, came with fever, cough and confusion 😀. She has diabetes, asthma and hypertension.
She took ibuprofen 600 mg for headache; it was stopped, and insulin was continued."""
CARDS = (
    TaskCard("diseases", "ner", "List the diseases named in the text.", labels=("Disease",), max_answer_tokens=48),
    TaskCard("drugs", "ner", "List the drugs named in the text.", labels=("Drug",), max_answer_tokens=32),
    TaskCard("urgent", "classification", "Does the text speak of fever, yes or no?", labels=("yes", "no"), form="single"),
)


@pytest.fixture
def served(world):
    """Address and token of a server on the embedded backbone."""
    folder, words = world.folder / "page-prompts", vocabulary.load()
    folder.mkdir(exist_ok=True)
    for card in CARDS:
        rows = from_vocabulary(words, 1, 0)
        header = Header("soft", words.name, words.fingerprint, 1, words.width, tasks=(card.name,), card=card)
        save_prompt(folder / f"{card.name}.safetensors", {"rows": rows}, header)
    with serving(world, "--prompts", folder, python=True) as (_, url, token):
        yield url, token


@pytest.fixture
def tab(served, tmp_path):
    browser = Browser(tmp_path)
    made = Tab(browser, served[0])
    made.ask("Emulation.setDeviceMetricsOverride", width=1180, height=960, deviceScaleFactor=1, mobile=False)
    yield made
    assert made.run("problems") == []
    browser.close()


def test_a_note_is_pasted_answered_highlighted_corrected_and_copied(served, tab, world, tmp_path):
    url, token = served
    tab.sign_in(token)
    tab.type("note", NOTE)
    tab.choose("diseases", "drugs", "urgent")
    tab.run("$('go').click()")
    tab.wait("!$('results').hidden")
    body = {"text": NOTE, "tasks": ["diseases", "drugs", "urgent"]}
    asked = httpx.post(f"{url}v1/annotate", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=60).json()
    entities = [entity for result in asked["results"] for entity in result.get("entities", ())]
    assert entities
    assert all(entity["text"] == NOTE[entity["start"] : entity["end"]] for entity in entities)
    assert tab.run("$('text').textContent") == NOTE
    marked = tab.run("all('mark').filter((m) => !m.parentElement.closest('mark')).map((m) => m.textContent)")
    assert marked and {word for text in marked for word in text.split()} == {w for e in entities for w in e["text"].split()}
    tab.run("$('copy-json').click(), $('copy-brat').click()")
    tab.wait("copied.length === 2")
    as_json, as_brat = tab.run("copied")
    assert json.loads(as_json)["results"] == asked["results"]
    assert all(f"{e['label']} {e['start']} {e['end']}\t" in as_brat for e in entities)
    tab.run("$('words').value = 'diabetes'")
    tab.add("Disease")
    tab.run("document.querySelector('.list [data-key$=accept]').click()")
    tab.run("all('.cards section')[0].querySelectorAll('.list [data-key$=reject]')[1].click()")
    before = tab.run("document.querySelector('.answer select').value")
    other = {"yes": "no", "no": "yes"}[before]
    choose_class(tab, "urgent", other)
    if picture := os.environ.get("MPDD_SCREENSHOT"):
        tab.wait("$('copy-json').textContent === 'Copy as JSON' && $('copy-brat').textContent === 'Copy as brat'")
        tab.run("document.activeElement.blur(), $('results').scrollIntoView()")
        Path(picture).write_bytes(base64.b64decode(tab.ask("Page.captureScreenshot")["data"]))
    file = tab.download(tmp_path, "jsonl diseases")
    corrected = json.loads(file.read_text(encoding="utf-8"))
    assert "diabetes" in [entity["text"] for entity in corrected["entities"]]
    assert all(NOTE[entity["start"] : entity["end"]] == entity["text"] for entity in corrected["entities"])
    adapted_with(world, file, CARDS[0], lambda split: {"entities": [[12 + len(split), 18 + len(split), "Disease"]]})
    file = tab.download(tmp_path, "jsonl urgent")
    assert json.loads(file.read_text(encoding="utf-8")) == {"text": NOTE, "answer": other}
    adapted_with(world, file, CARDS[2], lambda split: {"answer": before})


def adapted_with(world, train, card, answer):
    """A corrected note, as it was downloaded, is what a task is adapted to; `answer` gives the gold of the other splits."""
    for split in ("dev", "test"):
        row = {"text": f"Notes for {split}: asthma.", **answer(split)}
        (world.folder / f"page-{split}.jsonl").write_text(json.dumps(row) + "\n")
    name = f"paged_{card.name}"
    data = ["--train", train, "--dev", "page-dev.jsonl", "--test", "page-test.jsonl"]
    named = ["--name", name, "--type", card.type, "--labels", ",".join(card.labels), "--instruction", card.instruction]
    assert "Found 1 train, 1 dev and 1 test examples." in world.run("task", "new", *named, *data)[0]
    out, _ = world.run("adapt", f"{name}.toml", "--backbone", world.backbone, "--steps", 2, "--out", name)
    assert list((world.folder / name / "prompts").glob(f"{name}-*.safetensors")), out
