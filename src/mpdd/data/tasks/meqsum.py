"""MeQSum and MEDIQA-QS: consumers' health questions shortened to one; train is MeQSum, dev and test MEDIQA 2021."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mpdd.data import splits
from mpdd.data.readers.base import Notes, Record, build, check_columns, complete, read_bytes, texts, usable
from mpdd.data.readers.compressed import require_modest
from mpdd.data.task import Answer, Example, Splits, Task, TaskCard
from mpdd.errors import InputError, in_words

TASK_1 = "mediqa2021_qs/Task1/MEDIQA2021-Task1-"
TRAIN = "meqsum/MeQSum_ACL2019_BenAbacha_Demner-Fushman.xlsx"
DEV = f"{TASK_1}QuestionSummarization-ValidationSet.xlsx"
TEST = f"{TASK_1}TestSet-ReferenceSummaries.xlsx"


def read_examples(path: Path, source: str, columns: tuple[str, str, str], notes: Notes) -> list[Example]:
    """Return the questions of a workbook; `columns` are those of the id, the question and the summary."""

    def example(record: Record) -> Example:
        name = f"{source}:{record[columns[0]]}"
        return Example(name, name, record.text(columns[1]), Answer(text=record.text(columns[2])))

    return build(read_workbook(path, columns, notes), example, notes)


def load(root: Path) -> Splits:
    """Return MeQSum as train, the MEDIQA-QS validation set as dev and its 100 test questions as test."""
    notes = Notes()
    train = read_examples(root / TRAIN, "meqsum", ("File", "CHQ", "Summary"), notes)
    dev, test = (read_examples(root / file, "mediqa-qs", ("q_id", "NLM Question", "Summary"), notes) for file in (DEV, TEST))
    return splits.make(train, dev, test, notes)


def read_workbook(path: Path, columns: Sequence[str], notes: Notes) -> list[Record]:
    """Return the rows as text, cells of `columns` filled; rows that are blank throughout are passed over.

    Raise `InputError` if the file is missing, empty, no workbook, or lacks a column.
    """
    rows = _rows(path, columns)
    records = []
    for number, cells in enumerate(rows, 2):
        if any(cells):
            record = Record(f"{path} row {number}", dict(zip(columns, cells, strict=True)))
            if complete(record, texts(columns), notes):
                records.append(record)
    return usable(path, records)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yield the cells of `columns`, row by row below the header."""
    import openpyxl

    content = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        require_modest(path, len(content), unpacked)
        sheet = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets[0]
        rows = [[_text(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
    except InputError:
        raise
    except Exception as error:  # the library raises its own, zipfile's and xml's errors alike
        raise InputError(
            f"The file {path} is not a readable Excel workbook", found=in_words(error), wanted="an .xlsx file"
        ) from None
    header = rows[0] if rows else []
    check_columns(path, header, columns)
    places = [header.index(name) for name in columns]
    for row in rows[1:]:
        yield [row[place] if place < len(row) else "" for place in places]


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


TASK = Task(
    card=TaskCard(
        name="meqsum",
        type="summarization",
        instruction="Summarize the health question in one short question.",
        text_field="Question",
        max_answer_tokens=48,
    ),
    role="target",
    files=(TRAIN, DEV, TEST),
    load=load,
    licence="CC BY 4.0",
    citation="Ben Abacha and Demner-Fushman 2019, MeQSum, ACL P19-1215; Ben Abacha et al. 2021, ACL 2021.bionlp-1.8",
)
