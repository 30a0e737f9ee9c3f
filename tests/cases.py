"""Small invented files as users have them, and exports as annotation tools write them: made anew for each process in `CASES`."""

from __future__ import annotations

import atexit
import csv
import gzip
import io
import json
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

TIMES = range(14)  # examples of an export: enough that all three splits have some


def json_lines(rows, **options):
    return "".join(json.dumps(row, **options) + "\n" for row in rows)


# Notes to answer

SPACINGS = {
    "space": "breast cancer", "wrap": "breast\ncancer", "crlf": "breast\r\ncancer", "nbsp": "breast\u00a0cancer",
    "two": "breast  cancer", "tab": "breast\tcancer", "zw": "breast\u200b cancer", "soft": "breast can\u00adcer",
}  # fmt: skip
SPACED = {
    **{name: f"She was treated for {words} in May." for name, words in SPACINGS.items()},
    "lig": "She has cystic \ufb01brosis and breast cancer.",
    "ff": "She was treated for\fbreast cancer in May.",
    "deid": "[**Name**] was seen on [**2150-1-1**] for breast cancer. ___ declined.",
    "html": "<p>She was treated for breast cancer &amp; asthma.</p>",
    "cjk": "\u60a3\u8005\u56e0\u4e73\u817a\u764c\u5165\u9662\u3002" * 400,
    "table": "breast cancer|" * 300,
}
NOTE_EVENTS = 'ROW_ID,SUBJECT_ID,CATEGORY,TEXT\n1,10,Radiology,"Has breast\ncancer."\n'
NOTES = {
    "whitespace/n.jsonl": json_lines({"id": name, "text": text} for name, text in SPACED.items()),
    "inputs/NOTEEVENTS.csv": NOTE_EVENTS,
    "inputs/NOTEEVENTS.csv.gz": gzip.compress(NOTE_EVENTS.encode()),
    "inputs/cp.csv": "id,text\n1,M\u00e9ni\u00e8re disease.\n".encode("cp1252"),
    "inputs/u16.csv": b"\xff\xfe" + "id,text\n1,Has breast cancer.\n".encode("utf-16-le"),
    "inputs/n.json": '[{"id": 1, "text": "Has breast cancer."}]',
    "inputs/n.tsv": "id\ttext\n1\tHas breast cancer.\n",
    "inputs/semi.csv": "id;text\n1;Has breast cancer.\n",
    "inputs/notes/a.txt": "Has breast cancer.\n",
    "inputs/notes/b.txt": "Has asthma.\n",
    "rows/n.csv": "id,text\n1,Has breast cancer.\n2,\n3,Known asthma.\n",
    "rows/n.jsonl": json_lines(
        {"id": number, "text": text} for number, text in enumerate(("Has breast cancer.", None, "Known asthma."), 1)
    ),
    "csv/spark.csv": 'id,text\n1,"Seen for \\"flu\\" and breast cancer."\n2,"Has colorectal cancer."\n',
    "csv/unclosed.csv": (
        'id,text\n1,Has breast cancer.\n2,"Ankle wound and ovarian cancer.\n3,Known colorectal cancer.\n'
        "4,Family history of breast cancer.\n"
    ),
    "csv/train.csv": "id,text,answer\n"
    + "".join('10,"Ankle wound.,a\n' if n == 10 else f"{n},Note {n} on the ward.,{'ba'[n % 2]}\n" for n in range(25)),
}


# Exports of annotation tools

EMOJI = "\U0001f622 "


def label_studio(number):
    """The text and the marks of a record; offsets count UTF-16 units, so that the two of an emoji shift them."""
    text = f"Note {number}. {EMOJI if number % 2 else ''}Takes lisinopril for hypertension."
    units = text.encode("utf-16-le")
    marks = []
    for label, words in (("Drug", "lisinopril"), ("Problem", "hypertension")):
        start = units.index(words.encode("utf-16-le")) // 2
        marks.append({"start": start, "end": start + len(words), "text": words, "labels": [label]})
    return text, marks


def label_studio_json(number):
    text, marks = label_studio(number)
    named = {"from_name": "label", "to_name": "text", "type": "labels"}
    result = [{"value": mark, "id": f"r{place}", **named} for place, mark in enumerate(marks)]
    return {"id": number, "data": {"text": text}, "annotations": [{"id": number, "result": result}]}


def label_studio_table(delimiter):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerow(("id", "text", "label", "annotator", "annotation_id", "lead_time"))
    writer.writerows((n, text, json.dumps(marks), 1, n, 3.2) for n in TIMES for text, marks in (label_studio(n),))
    return buffer.getvalue()


def doccano(number, relations):
    text = {"id": number, "text": f"Note {number}. Rash after amoxicillin was seen."}
    start = len(f"Note {number}. ")
    ends = [(start, start + 4, "Problem"), (start + 11, start + 22, "Drug")]
    if not relations:
        return {**text, "label": ends, "Comments": []}
    entities = [
        {"id": 100 * number + k, "start_offset": first, "end_offset": last, "label": label}
        for k, (first, last, label) in enumerate(ends)
    ]
    causes = {"id": number, "from_id": 100 * number + 1, "to_id": 100 * number, "type": "causes"}
    return {**text, "entities": entities, "relations": [causes], "Comments": []}


def prodigy(number, kind):
    text = f"Case {number}. Fever treated with ibuprofen at home."
    start, words, token = (text.index("ibuprofen"), "ibuprofen", 5) if number % 3 == 0 else (text.index("Fever"), "Fever", 2)
    span = {"start": start, "end": start + len(words), "label": "Drug", "token_start": token, "token_end": token}
    answer = {"answer": ("accept", "reject", "ignore")[number % 3], "_input_hash": number, "_task_hash": number}
    if kind == "spans":
        return {"text": text, "spans": [span], **answer, "_view_id": "ner_manual"}
    return {"text": text, "label": "urgent", **answer}


def lighttag(number):
    start = len(f"Case {number}: ")
    mark = {"start": start, "end": start + 9, "tag_name": "Medicine", "value": "ibuprofen"}
    return {"id": str(number), "content": f"Case {number}: ibuprofen caused ulcers.", "annotations": [mark]}


def pubtator(number):
    start = len(f"Case {number} ")
    head = f"{number}|t|Case {number}\n{number}|a|Ibuprofen caused ulcers.\n"
    return f"{head}{number}\t{start}\t{start + 9}\tIbuprofen\tChemical\tD007052\n\n"


EXPORTS = {
    "label_studio/ls.json": json.dumps([label_studio_json(n) for n in TIMES], indent=1),
    "label_studio/ls.csv": label_studio_table(","),
    "label_studio/ls.tsv": label_studio_table("\t"),
    "doccano/seq.jsonl": json_lines(doccano(n, relations=False) for n in TIMES),
    "doccano/rel.jsonl": json_lines(doccano(n, relations=True) for n in TIMES),
    "prodigy/prodigy.jsonl": json_lines(prodigy(n, "spans") for n in range(18)),
    "prodigy/textcat.jsonl": json_lines(prodigy(n, "classes") for n in range(18)),
    "other/corona.json": json.dumps({"examples": [{**lighttag(n), "classifications": []} for n in TIMES]}, indent=1),
    "other/corona.jsonl": json_lines({**lighttag(n), "classifications": []} for n in TIMES),
    "other/docs.pubtator": "".join(map(pubtator, TIMES)),
    "other/iob.conll": "".join(f"Case\tO\n{n}\tO\nibuprofen\tB-Drug\n\n" for n in TIMES),
}


# Parquet


def big_bio(number):
    text, part = f"Case {number} has asthma.", {"id": "p", "type": "abstract"}
    start = text.index("asthma")
    entity = {"id": f"e{number}", "type": "Disease", "text": ["asthma"], "offsets": [[start, start + 6]], "normalized": []}
    passage = {**part, "text": [text], "offsets": [[0, 20]]}
    return {"id": str(number), "document_id": str(number), "passages": [passage], "entities": [entity], "relations": []}


def class_names(names):
    """The schema metadata in which Hugging Face datasets name the classes of `ner_tags`."""
    features = {"ner_tags": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


TABLES = {
    "rows/n.parquet": [{"id": 1, "text": "Has breast cancer."}, {"id": 2, "text": None}, {"id": 3, "text": "Known asthma."}],
    "rows/floatid.parquet": [
        {"id": 1.0, "text": "Has breast cancer."}, {"id": None, "text": "Fine."}, {"id": 3.0, "text": "Known asthma."},
    ],
    "parquet/ner.parquet": [
        {"id": str(n), "tokens": ["Case", str(n), "has", "cystic", "fibrosis", "."], "ner_tags": [0, 0, 0, 1, 2, 0]}
        for n in TIMES
    ],
    "parquet/nli.parquet": [
        {"premise": f"Patient {n} has a fever.", "hypothesis": "He is ill.", "label": n % 4 if n % 4 < 3 else -1} for n in TIMES
    ],
    "parquet/squad.parquet": [
        {
            "id": str(n), "title": "x", "context": f"Case {n} received 5 mg of warfarin.", "question": "Which dose?",
            "answers": {"text": ["5 mg"], "answer_start": [len(f"Case {n} received ")]},
        }
        for n in TIMES
    ],
    "parquet/medqa.parquet": [
        {
            "question": f"Case {n}: drug of choice?",
            "options": [{"key": "A", "value": "aspirin"}, {"key": "B", "value": "heparin"}],
            "answer_idx": "B", "answer": "heparin",
        }
        for n in TIMES
    ],
    "parquet/kb.parquet": [big_bio(n) for n in TIMES],
}  # fmt: skip


def made():
    """The folder with all files, which lasts as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="mpdd-cases-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in (*NOTES, *EXPORTS, *TABLES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for name, content in {**NOTES, **EXPORTS}.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for name, rows in TABLES.items():
        table = pa.Table.from_pylist(rows)
        if name == "parquet/ner.parquet":
            table = table.replace_schema_metadata(class_names(["O", "B-Disease", "I-Disease"]))
        parquet.write_table(table, folder / name)
    return folder


CASES = made()
