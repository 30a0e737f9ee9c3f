"""Reads the pretraining text, drops what leaks from the benchmark's targets, and drops repeats.

Leak rule: a document that shares any 13-word run (lower-cased, alphanumeric words) with any file of a target
dataset, whatever the split, is dropped whole. Repeat rule: a document whose first 30 words were seen is dropped. From
the third backbone on, a document that holds a whole answer of the mts_dialog tests, 6 words or more, is not trained on.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from mpdd.data import catalogue
from mpdd.data.leaks import RUN, folder_runs, runs, words

SOURCES = ("trials", "medquad", "mtsamples", "case_reports", "nursing")
TARGET_FOLDERS = (
    "ncbi_disease", "maccrobat2020", "phee", "chemprot_scibert", "headqa_en", "pubmedqa", "mediqa2019_rqe",
    "check_covid", "meqsum", "mediqa2021_qs", "mts_dialog", "aci_bench",
)  # fmt: skip


SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z0-9])|\n+")  # what stands between two sentences


@dataclass(frozen=True)
class Document:
    """One pretraining text with the few fields that text-to-text tasks are made from."""

    id: str
    source: str
    text: str
    title: str = ""
    question: str = ""

    @cached_property
    def sentences(self) -> list[str]:
        """The text's sentences, as far as a rule can tell; found once."""
        return [s for s in SENTENCE.split(self.text) if s]


def read(folder: Path) -> Iterator[Document]:
    """All documents of the five corpora, in file order."""
    for source in SOURCES:
        with lzma.open(folder / f"{source}.jsonl.xz", "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                title = record.get("title") or record.get("description") or ""
                yield Document(record["id"], source, _tidy(record["text"]), _tidy(title), record.get("question", ""))


def save(documents: Iterable[Document], path: Path) -> None:
    """Keep documents as JSON lines in xz, so that a recipe can go on where the corpora and the benchmark's files are not."""
    with lzma.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(asdict(document), ensure_ascii=False) + "\n" for document in documents)


def load(path: Path) -> list[Document]:
    """What `save` kept."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return [Document(**json.loads(line)) for line in lines]


def target_runs(data: Path) -> set[int]:
    """Every 13-word run in every text-like file of the target datasets."""
    return folder_runs(data, TARGET_FOLDERS)


def clean(documents: Iterable[Document], banned: set[int]) -> tuple[list[Document], dict[str, dict[str, int]]]:
    """Keep documents that neither leak nor repeat; also count, by source, what was kept and dropped."""
    kept: list[Document] = []
    counts = {source: {"kept": 0, "leaked": 0, "repeated": 0, "words": 0} for source in SOURCES}
    seen: set[tuple[str, ...]] = set()
    for document in documents:
        tokens, tally = words(document.text + " " + document.question), counts[document.source]
        head = tuple(tokens[:30])
        if head in seen:
            tally["repeated"] += 1
        elif not banned.isdisjoint(runs(tokens)):
            tally["leaked"] += 1
        else:
            seen.add(head)
            kept.append(document)
            tally["kept"] += 1
            tally["words"] += len(tokens)
    return kept, counts


def without_answers(documents: Iterable[Document], task: str) -> list[Document]:
    """The documents that hold no whole answer of the task's test of 6 to 12 words, which the leak rule does not see.

    These were written from the very texts of MTSamples. To be applied to what is trained on, so that what is held out
    stays the same from backbone to backbone.
    """
    answers = {tuple(words(example.gold.text)) for example in catalogue.load(task).test}
    short = {length: {hash(a) for a in answers if len(a) == length} for length in range(6, RUN)}

    def holds(document: Document) -> bool:
        tokens = words(document.text)
        return any(found and not found.isdisjoint(runs(tokens, length)) for length, found in short.items())

    return [document for document in documents if not holds(document)]


def _tidy(text: str) -> str:
    text = re.sub(r"(?<=[.:]),\s*(?=[A-Z0-9])|,(?=[A-Z][A-Z ]+:)", "\n", text)  # MTSamples lost its line ends to commas
    return re.sub(r"\n\s*\n\s*", "\n", re.sub(r"[ \t]+", " ", text)).strip()
