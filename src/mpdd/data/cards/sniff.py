"""How a file or folder is written, told by its content; whose export its records are is for `exports` to say."""

from __future__ import annotations

import json
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from mpdd.data.readers import (
    apart,
    conll,
    container,
    docbin,
    json_files,
    pubtator,
    saved_dataset,
    xmi,
)
from mpdd.errors import InputError

_HEAD = 1 << 20  # bytes that are looked at
_LINES = 200
_BY_SUFFIX = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
    ".parquet": "parquet", ".arrow": "arrow", ".spacy": "docbin", ".ann": "brat",
    xmi.SUFFIX: "xmi",
    ".con": "i2b2-2010", ".rel": "i2b2-2010", ".pubtator": "pubtator",
    **dict.fromkeys(conll.SUFFIXES, "conll"),
}  # fmt: skip
_BY_XML = {  # what stands in the first lines of an XML file
    re.compile("ClinicalNarrativeTemporalAnnotation"): "i2b2-2012",
    re.compile(r"BioC\.dtd|<collection[\s>]"): "bioc-xml",
    re.compile(r"http://www\.omg\.org/XMI"): "xmi",
}
_BESIDE_TEXTS = ("brat", "i2b2-2010")  # formats of several files for one text
_IN_FOLDERS = (*_BESIDE_TEXTS, "arrow", "xmi")  # formats of which one file tells that of a folder


def all_written_as(paths: Sequence[Path]) -> list[str]:
    """Return the format of each path; folders of plain texts belong to the annotations of another folder among them."""
    told = [written_as(path) for path in paths]
    beside = next((name for name in told if name in _BESIDE_TEXTS), "")
    return [name or beside for name in told]


def written_as(path: Path) -> str:
    """Return the format of a file, an archive or a folder, before any export is looked for; "" if unknown.

    A file that is missing, empty or unreadable is told by its ending: its reader says what is wrong.
    """
    if os.path.isdir(path):
        return _of_several(path, container.inside(path))
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        head = b""
    return _archived(path) or _by_content(path, head) or _BY_SUFFIX.get(path.suffix.lower(), "")


def _of_several(folder: Path, files: list[Path]) -> str:
    by_name = _by_names(str(file.relative_to(folder.parent)) for file in files)
    known = (written_as(file) for file in files if file.suffix.lower() != ".txt")
    told = by_name or next((name for name in known if name), "") or next(filter(None, map(written_as, files)), "")
    names = [file.name for file in files]
    return told or ("brat" if apart.sibling_with(folder, names, apart.ANNOTATIONS) else "")


def _by_names(names: Iterable[str]) -> str:
    listed = [Path(name) for name in names]
    if {path.name for path in listed} >= saved_dataset.ABOUT:
        return "arrow"
    if xmi.is_project(str(path) for path in listed):
        return "xmi"
    suffixes = {_BY_SUFFIX.get(path.suffix.lower()) for path in listed}
    return next((name for name in _IN_FOLDERS if name in suffixes), "")


def _archived(path: Path) -> str:
    """Return the format of the files that an archive holds; "" for another file, or a damaged one."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _by_names(archive.namelist())
        if path.suffix.lower() in (".tar", ".gz", ".tgz", ".bz2", ".xz"):
            with tarfile.open(path) as tar:
                return _by_names(tar.getnames())
    except (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile):
        pass
    return ""


def _by_content(path: Path, head: bytes) -> str:
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(saved_dataset.STARTS):
        return "arrow"
    if docbin.is_docbin(head):
        return "docbin"
    lines = [line for line in head.decode("utf-8-sig", errors="replace").split("\n") if line.strip()]
    if not lines:
        return ""
    if lines[0].lstrip()[0] in "[{":
        return _json(path, lines)
    if lines[0].lstrip().startswith("<"):
        return _xml(lines[:_LINES])
    if pubtator.is_title(lines[0]):
        return "pubtator"
    rows = [conll.token_and_tag(line) for line in lines[:_LINES]]
    if all(row is not None for row in rows) and any(row and row[1] != "O" for row in rows):
        return "conll"
    return ""


def _xml(lines: Sequence[str]) -> str:
    return next((name for mark, name in _BY_XML.items() if any(mark.search(line) for line in lines)), "")


def _json(path: Path, lines: list[str]) -> str:
    """Tell JSON lines from one document, and SQuAD's document from others."""
    try:
        first = json.loads(lines[0])
    except (ValueError, RecursionError):
        first = None
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return "jsonl" if not isinstance(first, list) else "json"
    is_record = isinstance(first, dict) and (isinstance(first.get("text"), str) or "passages" in first)
    if isinstance(first, dict) and (len(lines) > 1 or is_record or not json_files.holds_records(first)):
        return "jsonl"
    try:
        content = json_files.load_any(path)
    except InputError:
        return "json"
    return "squad" if isinstance(content, dict) and _is_squad(content.get("data")) else "json"


def _is_squad(articles: object) -> bool:
    listed = articles if isinstance(articles, list) else []
    return any(isinstance(article, dict) and "paragraphs" in article for article in listed)
