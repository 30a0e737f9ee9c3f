"""Indiana University chest X-ray reports: write the impression from the findings.

Both collections, the one of MEDIQA 2021 and a larger one, hold mostly the same reports; each is used once. Words that
were blanked out (`XXXX`, `____`) become `XXXX` in findings; a report with one in its impression is dropped. Findings that
are those of an earlier report but for case, punctuation and blanks are dropped. Cut 70/10/20 by rule.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from mpdd.data import splits
from mpdd.data.readers import csv_table, json_files
from mpdd.data.readers.base import Notes, Record, build, tidy
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard

FILES = ("indiana_radiology/indiana_reports.csv", "indiana_radiology/indiana_dev.json")
GAP = re.compile(r"X{4,}|_{2,}")


def read_reports(root: Path, notes: Notes) -> list[Record]:
    """Return the reports that have findings and an impression, the first of each id."""
    parts = ("findings", "impression")
    table = csv_table.read(root / FILES[0], ("uid",), notes, optional=parts)
    items = json_files.load_list(root / FILES[1])
    more = json_files.read_entries(
        root / FILES[1], [(str(n), item) for n, item in enumerate(items)], dict.fromkeys(parts, str), notes
    )
    named = [(record["uid"], record) for record in table] + [(record["study_id"], record) for record in more]
    first: dict[str, Record] = {}
    for uid, record in named:
        first.setdefault(uid, Record(record.where, {**record.values, "uid": uid}))
    notes.count("reports of both collections", len(named) - len(first))
    whole = [record for record in first.values() if all(record[part].strip() for part in parts)]
    notes.count("reports without findings or impression", len(first) - len(whole))
    return whole


def example(record: Record) -> Example:
    """Return one report; the document is the wording of its findings."""
    findings = record["findings"]
    return Example(
        id=f"indiana:{record['uid']}",
        document=f"indiana:{splits.fingerprint(GAP.sub(' ', findings))}",
        text=tidy(GAP.sub("XXXX", findings)),
        gold=Answer(text=record.text("impression")),
    )


def distinct(examples: Iterable[Example], notes: Notes) -> list[Example]:
    """Return the first report of each document whose impression has no gap."""
    first: dict[str, Example] = {}
    for report in examples:
        if GAP.search(report.gold.text):
            notes.count("reports with a gap in the impression")
        elif first.setdefault(report.document, report) is not report:
            notes.count("reports with the findings of an earlier one")
    return list(first.values())


def load(root: Path) -> Splits:
    """Return the reports, cut by the rule in `splits`."""
    notes = Notes()
    train, dev, test = splits.cut(distinct(build(read_reports(root, notes), example, notes), notes), (70, 10, 20))
    return splits.make(train, dev, test, notes)


TASK = Task(
    card=TaskCard(
        name="indiana_radiology",
        type="summarization",
        instruction="Write the impression of the chest X-ray report.",
        text_field="Findings",
        max_answer_tokens=96,
    ),
    role="source",
    files=FILES,
    load=load,
    licence="not stated",
    citation="Demner-Fushman et al. 2016, JAMIA, doi:10.1093/jamia/ocv080; Ben Abacha et al. 2021, ACL 2021.bionlp-1.8",
)
