"""What a writer is: how annotated notes become the files of another tool."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mpdd import __version__
from mpdd.annotate.answers.types import AnnotatedNote
from mpdd.files import distinct_names

File = tuple[str, bytes]  # a path within the output folder ("" for an output that is one file), and its content
_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST = 150  # bytes of a file's name
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Origin:
    """What made the annotations, and when; formats that have a place for it name it."""

    model_version: str = f"mpdd {__version__}"
    when: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))


@dataclass(frozen=True)
class Writer:
    """A format. `files` gives the files of annotated notes one by one; `suffix` is the ending of the one file that there is,
    empty where the output is a folder. `lost` says in a phrase what the format does not hold. `with_conditions`, where the
    format knows diagnoses, gives the writer that makes such candidates of entities with the labels that it gets. `needs` is
    the module of another package that it writes with, which an extra of mpdd brings; empty where there is none."""

    title: str
    suffix: str
    files: Callable[[Sequence[AnnotatedNote], Origin], Iterator[File]]
    lost: str
    with_conditions: Callable[[Collection[str]], Writer] | None = None
    needs: str = ""


def json_lines(rows: Iterable[Any]) -> bytes:
    """Rows as JSON lines in UTF-8."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def json_document(content: Any) -> bytes:
    """One JSON document in UTF-8."""
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def file_names(ids: Sequence[str]) -> list[str]:
    """A distinct, safe file name for each id: unusual characters become `_`, repeated names get a number."""
    plain = (_UNSAFE.sub("_", note).strip(".") or "note" for note in ids)
    return distinct_names(name.encode()[:_LONGEST].decode(errors="ignore") for name in plain)


def without_spaces(labels: Iterable[str]) -> dict[str, str]:
    """A distinct name without white space for each label, for formats that allow none: `Side effect` is `Side_effect`."""
    each = list(dict.fromkeys(labels))
    return dict(zip(each, distinct_names(("_".join(label.split()) or "label" for label in each), "_", str), strict=True))


def legal_xml(text: str) -> str:
    """A text of the same length whose characters that XML 1.0 cannot hold (most control characters) are spaces."""
    return _NOT_XML.sub(" ", text)
