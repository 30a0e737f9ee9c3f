"""`POST /v1/convert`: corrected answers as files of other tools, under the limits and the silence of all routes."""

from __future__ import annotations

import io
import json
import logging
import zipfile

import pytest

from mpdd.annotate.writers import formats
from mpdd.serving.audit import verify
from tests.serving.test_app import SECRET, error

NOTE = "😀 Took aspirin for acute renal\r\nfailure."
PLAIN = {"confidence": None, "unparseable": False, "ungrounded": 0, "cut_characters": 0}


def entity(text: str, label: str, **more):
    start = NOTE.index(text)
    return {"label": label, "start": start, "end": start + len(text), "text": text, **more}


ANSWERS = [
    {
        "task": "drugs",
        "type": "ner",
        **PLAIN,
        "entities": [entity("aspirin", "Drug", confidence=0.9), entity("acute", "My sign")],
    },
    {"task": "sort", "type": "classification", **PLAIN, "labels": ["urgent"]},
]
BODY = {"to": "brat", "notes": [{"id": "visit 1", "text": NOTE, "answers": ANSWERS}]}


def changed(**values):
    return {**BODY, "notes": [{**BODY["notes"][0], **values}]}


def test_brat_is_a_zip_of_the_note_and_its_annotations(client):
    response = client.post("/v1/convert", json=BODY)
    assert response.headers["content-disposition"] == 'attachment; filename="notes-brat.zip"'
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.read("visit_1.txt").decode() == NOTE
        lines = archive.read("visit_1.ann").decode().splitlines()
    assert lines[:2] == ["T1\tDrug 7 14\taspirin", "T2\tMy_sign 19 24\tacute"]


@pytest.mark.parametrize("to", sorted(set(formats()) - {"omop", "spacy"}))
def test_every_format_is_written(client, to):
    response = client.post("/v1/convert", json={**BODY, "to": to})
    assert response.status_code == 200, response.text
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["content-type"] in ("application/zip", "application/octet-stream")
    assert response.content


def test_one_file_comes_as_it_is(client):
    response = client.post("/v1/convert", json={**BODY, "to": "prodigy"})
    (row,) = map(json.loads, response.content.splitlines())
    assert row["text"] == NOTE
    assert [(span["start"], span["end"], span["label"]) for span in row["spans"]] == [(7, 14, "Drug"), (19, 24, "My sign")]


def test_conditions_are_made_of_the_labels_that_are_named(client):
    response = client.post("/v1/convert", json={**BODY, "to": "fhir", "conditions": ["My sign"]})
    kinds = [entry["resource"]["resourceType"] for entry in response.json()["entry"]]
    assert (kinds.count("Condition"), kinds.count("Observation")) == (1, 3)
    error(client.post("/v1/convert", json={**BODY, "conditions": ["My sign"]}), 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**BODY, "to": SECRET}, 422),
        ({**BODY, "to": "omop"}, 422),  # whose ids of notes are whole numbers
        (changed(answers=[{**ANSWERS[0], "entities": [{**entity("acute", "x"), "text": SECRET}]}]), 422),
        (changed(answers=[{**ANSWERS[0], "entities": [{**entity("acute", "x"), "start": -3}]}]), 422),
        (changed(answers=[{**ANSWERS[0], "entities": [{"label": "x", "start": 35, "end": 10**9, "text": NOTE[35:]}]}]), 422),
        (changed(answers=[{**ANSWERS[0], "entities": [{"label": "x", "start": 99, "end": 99, "text": ""}]}]), 422),
        (changed(answers=[{**ANSWERS[0], "entities": [{**entity("acute", "x"), "start": 1e400}]}]), 422),
        (changed(answers=[{**ANSWERS[0], "entities": [entity("acute", "x", confidence=7)]}]), 422),
        (changed(answers=[{**ANSWERS[0], "entities": {SECRET: 1}}]), 422),
        (changed(answers=[{"task": SECRET}]), 422),
        ({**changed(answers=[{**ANSWERS[0], "entities": [entity("acute", f"{SECRET}\x00")]}]), "to": "label-studio"}, 422),
        (changed(answers=[{**ANSWERS[0], "entities": [entity("acute", "x")] * 2_001}]), 413),
        (changed(text=SECRET * 10_000), 413),
        (changed(answers=SECRET), 422),
        ({**BODY, "notes": []}, 422),
        ({**BODY, SECRET: 1}, 422),
    ],
    ids=range(16),
)
def test_what_does_not_fit_is_one_sentence_without_what_was_sent(client, body, status):
    error(client.post("/v1/convert", content=json.dumps(body)), status)


def test_a_known_token_is_needed_and_nothing_of_the_note_is_logged(make, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    client = make()
    secret = changed(id=SECRET, text=SECRET, answers=[{"task": SECRET, **PLAIN, "entities": []}])
    assert client.post("/v1/convert", json=secret, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.post("/v1/convert", json=secret).status_code == 200
    assert verify(client.audit_path) >= 1
    (line,) = [json.loads(line) for line in client.audit_path.read_text().splitlines() if "/v1/convert" in line]
    assert (line["caller"], line["outcome"], line["characters"], line["tasks"]) == ("all", 200, len(SECRET), [])
    logged = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    printed = capfd.readouterr()
    everything = (logged, printed.out, printed.err, client.get("/metrics").text, client.audit_path.read_text())
    assert not [part for part in everything if SECRET in part or "Quimby" in part]


def test_items_count_as_rows_of_the_token(make):
    client = make(limits={"caller_rows": 3})
    assert client.post("/v1/convert", json=changed(answers=[])).status_code == 200
    error(client.post("/v1/convert", json=BODY), 429)
